package embedded_test

import (
	"strings"
	"testing"

	"weft/lease/embedded"
	"weft/lease/leasetest"
)

// TestWrongCombinationsAreRefused: each names what is wrong and what to do, before anything starts.
func TestWrongCombinationsAreRefused(t *testing.T) {
	p := leasetest.NewPKI(t)
	good := embedded.Options{DataDir: t.TempDir(), Name: "a",
		ListenPeerURLs: []string{"http://10.0.0.1:2380"}, ListenClientURLs: []string{"http://10.0.0.1:2379"},
		InitialCluster: "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380"}
	if _, err := embedded.New(good); err != nil {
		t.Fatal(err)
	}
	server := embedded.TLS{CertFile: p.ServerCert, KeyFile: p.ServerKey}
	for name, c := range map[string]struct {
		change func(*embedded.Options)
		want   []string
	}{
		"own name missing": {func(o *embedded.Options) { o.Name = "d" },
			[]string{`name "d" is not in initial-cluster`, "a, b, c", "add d=http://10.0.0.1:2380"}},
		"default name": {func(o *embedded.Options) { o.Name = "" }, []string{`name "default" is not in initial-cluster`}},
		"peer URL mismatch": {func(o *embedded.Options) { o.ListenPeerURLs = []string{"http://10.0.0.9:2380"} },
			[]string{"a=http://10.0.0.1:2380", "tells others http://10.0.0.9:2380", "initial-advertise-peer-urls", "make the two the same"}},
		"wildcard told to nobody": {func(o *embedded.Options) { o.ListenPeerURLs = []string{"http://0.0.0.0:2380"} },
			[]string{"initial-advertise-peer-urls", "127.0.0.1"}},
		"member without a URL": {func(o *embedded.Options) { o.InitialCluster = "a=http://10.0.0.1:2380,b" },
			[]string{`"b"`, "NAME=http://"}},
		"member with a bad URL": {func(o *embedded.Options) { o.InitialCluster = "a=http://10.0.0.1:2380,b=10.0.0.2" },
			[]string{"member b", `"10.0.0.2"`, "write it as"}},
		"one URL twice": {func(o *embedded.Options) { o.InitialCluster += ",d=http://10.0.0.3:2380" },
			[]string{"http://10.0.0.3:2380 to c and to d"}},
		"http beside https": {func(o *embedded.Options) { o.InitialCluster += ",d=https://10.0.0.4:2380" },
			[]string{"mixes http and https", "d=https://10.0.0.4:2380"}},
		"joining what": {func(o *embedded.Options) { o.InitialCluster, o.ClusterState = "", "existing" },
			[]string{"existing needs the cluster to join"}},
		"certificate alone": {func(o *embedded.Options) { o.ClientTLS.CertFile = p.ServerCert },
			[]string{"clients: cert-file without key-file"}},
		"key alone": {func(o *embedded.Options) { o.PeerTLS.KeyFile = p.ServerKey },
			[]string{"peers: peer-key-file without peer-cert-file"}},
		"authority alone": {func(o *embedded.Options) { o.PeerTLS.CAFile = p.CA },
			[]string{"need a certificate", "peer-cert-file and peer-key-file"}},
		"client certificates of whom": {func(o *embedded.Options) { o.ClientTLS = server; o.ClientTLS.RequireClientCert = true },
			[]string{"client-cert-auth without trusted-ca-file"}},
		"certificates that nobody uses": {func(o *embedded.Options) { o.ClientTLS = server },
			[]string{"http://10.0.0.1:2379 would be served without TLS", "https://10.0.0.1:2379"}},
		"https without a certificate": {func(o *embedded.Options) {
			o.ListenPeerURLs, o.InitialCluster = []string{"https://10.0.0.1:2380"}, "a=https://10.0.0.1:2380"
		}, []string{"https://10.0.0.1:2380 needs a certificate", "peer-cert-file"}},
		"no history": {func(o *embedded.Options) { o.Compaction = -1 }, []string{"use 1h"}},
	} {
		o := good
		c.change(&o)
		_, err := embedded.New(o)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}

// TestHostNamesMayDiffer: what two names mean is for etcd to look up.
func TestHostNamesMayDiffer(t *testing.T) {
	o := embedded.Options{DataDir: t.TempDir(), Name: "a", ListenPeerURLs: []string{"http://127.0.0.1:2380"},
		InitialCluster: "a=http://localhost:2380"}
	if _, err := embedded.New(o); err != nil {
		t.Error(err)
	}
}
