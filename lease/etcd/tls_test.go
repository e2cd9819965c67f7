package etcd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/embedded"
	"weft/lease/leasetest"
	"weft/perf/netlab/labtest"
)

// debianEtcd starts the distribution's server with TLS and client certificates, for the time of the
// test, and returns its endpoint.
func debianEtcd(t *testing.T, p leasetest.PKI) string {
	t.Helper()
	path := labtest.NeedProgram(t, "etcd", "etcd-server")
	endpoint, peer := "https://"+leasetest.FreeAddr(t), "http://"+leasetest.FreeAddr(t)
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", endpoint,
		"--advertise-client-urls", endpoint, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer, "--cert-file", p.ServerCert, "--key-file", p.ServerKey,
		"--trusted-ca-file", p.CA, "--client-cert-auth", "--bcrypt-cost", "4", "--logger", "zap", "--log-outputs", "stderr")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return endpoint
}

// enableAuth makes a root user, and one who may only use the tests' prefix, and switches
// authentication on.
func enableAuth(t *testing.T, o Options) {
	t.Helper()
	c := admin(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const prefix = "/weft-test/"
	for { // the server may still be starting
		if _, err := c.UserAdd(ctx, "root", "secret"); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	_, err := c.UserGrantRole(ctx, "root", "root")
	must(err)
	_, err = c.RoleAdd(ctx, "fabric")
	must(err)
	_, err = c.RoleGrantPermission(ctx, "fabric", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = c.UserAdd(ctx, "weft", "thread")
	must(err)
	_, err = c.UserGrantRole(ctx, "weft", "fabric")
	must(err)
	_, err = c.AuthEnable(ctx)
	must(err)
}

// TestDebiansServerWithTLSAndUsers runs the whole suite as a user that may do no more than it must.
func TestDebiansServerWithTLSAndUsers(t *testing.T) {
	t.Parallel()
	p := leasetest.NewPKI(t)
	o := Options{Endpoints: []string{debianEtcd(t, p)}, CAFile: p.CA, CertFile: p.ClientCert, KeyFile: p.ClientKey}
	enableAuth(t, o)
	o.Username, o.Password = "weft", "thread"
	leasetest.Run(t, func(t *testing.T) leasetest.Network { return network(t, o) })

	t.Run("wrong credentials", func(t *testing.T) {
		for name, c := range map[string]struct {
			change func(*Options)
			want   []string
		}{
			"password":           {func(o *Options) { o.Password = "wrong" }, []string{`refuses user "weft"`, "check user name, password"}},
			"no user":            {func(o *Options) { o.Username, o.Password = "", "" }, []string{`refuses user ""`}},
			"another prefix":     {func(o *Options) { o.Prefix = "/else" }, []string{`refuses user "weft"`, "/else/"}},
			"no certificate":     {func(o *Options) { o.CertFile, o.KeyFile = "", "" }, []string{o.Endpoints[0], "certificate"}},
			"a stranger's":       {func(o *Options) { o.CertFile, o.KeyFile = p.StrangerCert, p.StrangerKey }, []string{o.Endpoints[0], "certificate"}},
			"no authority known": {func(o *Options) { o.CAFile = "" }, []string{o.Endpoints[0], "certificate"}},
		} {
			o := o
			o.Prefix, o.Timeout = "/weft-test/9/network", time.Second
			c.change(&o)
			_, err := open(t, o).Config(t.Context())
			for _, want := range c.want {
				if err == nil || errors.Is(err, lease.ErrNoConfig) || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", name, err, want)
				}
			}
		}
	})
}

// TestEmbeddedServerWithTLS: what the embedded one serves is the same.
func TestEmbeddedServerWithTLS(t *testing.T) {
	t.Parallel()
	p := leasetest.NewPKI(t)
	server := embedded.Options{DataDir: t.TempDir(), ListenClientURLs: []string{"https://" + leasetest.FreeAddr(t)},
		ListenPeerURLs: []string{"http://" + leasetest.FreeAddr(t)},
		ClientTLS:      embedded.TLS{CertFile: p.ServerCert, KeyFile: p.ServerKey, CAFile: p.CA, RequireClientCert: true}}
	leasetest.StartEtcd(t, server)
	o := Options{Endpoints: server.ListenClientURLs, CAFile: p.CA, CertFile: p.ClientCert, KeyFile: p.ClientKey}
	s := open(t, o)
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	f := follow(t, s)
	if _, err := s.Acquire(t.Context(), req("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 1 })
	o.CertFile, o.KeyFile, o.Timeout = "", "", time.Second
	if _, err := open(t, o).Config(t.Context()); !errors.Is(err, lease.ErrUnavailable) {
		t.Errorf("without a certificate: %v", err)
	}
}
