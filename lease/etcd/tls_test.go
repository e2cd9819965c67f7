package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
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
)

// A pki is a certificate authority and two certificates of its own, as PEM files.
type pki struct {
	ca                     string
	serverCert, serverKey  string
	clientCert, clientKey  string
	strangerCert, stranger string // made by another authority
}

func newPKI(t *testing.T) pki {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	ca, caKey := authority(t)
	other, otherKey := authority(t)
	p := pki{ca: filepath.Join(dir, "ca.pem")}
	writePEM(t, p.ca, "CERTIFICATE", ca.Raw)
	p.serverCert, p.serverKey = issue(t, dir, "server", ca, caKey)
	p.clientCert, p.clientKey = issue(t, dir, "client", ca, caKey)
	p.strangerCert, p.stranger = issue(t, dir, "stranger", other, otherKey)
	return p
}

func authority(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return sign(t, template, nil, nil)
}

func sign(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func issue(t *testing.T, dir, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, key := sign(t, template, ca, caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	writePEM(t, certFile, "CERTIFICATE", cert.Raw)
	writePEM(t, keyFile, "EC PRIVATE KEY", der)
	return certFile, keyFile
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// debianEtcd starts the distribution's server with TLS and client certificates, for the time of the
// test, and returns its endpoint.
func debianEtcd(t *testing.T, p pki) string {
	t.Helper()
	path, err := exec.LookPath("etcd")
	if err != nil {
		if os.Getenv("REQUIRE_ROOT") != "" {
			t.Fatal("etcd is missing: apt-get install etcd-server")
		}
		t.Skip("etcd is missing: apt-get install etcd-server")
	}
	endpoint, peer := "https://"+leasetest.FreeAddr(t), "http://"+leasetest.FreeAddr(t)
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", endpoint,
		"--advertise-client-urls", endpoint, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer, "--cert-file", p.serverCert, "--key-file", p.serverKey,
		"--trusted-ca-file", p.ca, "--client-cert-auth", "--bcrypt-cost", "4", "--logger", "zap", "--log-outputs", "stderr")
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
	p := newPKI(t)
	o := Options{Endpoints: []string{debianEtcd(t, p)}, CAFile: p.ca, CertFile: p.clientCert, KeyFile: p.clientKey}
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
			"a stranger's":       {func(o *Options) { o.CertFile, o.KeyFile = p.strangerCert, p.stranger }, []string{o.Endpoints[0], "certificate"}},
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
	p := newPKI(t)
	server := embedded.Options{DataDir: t.TempDir(), ListenClientURLs: []string{"https://" + leasetest.FreeAddr(t)},
		ListenPeerURLs: []string{"http://" + leasetest.FreeAddr(t)},
		ClientTLS:      embedded.TLS{CertFile: p.serverCert, KeyFile: p.serverKey, CAFile: p.ca, RequireClientCert: true}}
	leasetest.StartEtcd(t, server)
	o := Options{Endpoints: server.ListenClientURLs, CAFile: p.ca, CertFile: p.clientCert, KeyFile: p.clientKey}
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
