package embedded

import (
	"errors"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// TLS is a set of PEM files. All empty: plain connections. Members show each other the same
// certificate as server and as client, so theirs must be good for both uses.
type TLS struct {
	CertFile, KeyFile string
	CAFile            string // of the other side's certificates
	RequireClientCert bool
}

// A side is one of the two sets of connections that a server has.
type side struct {
	what   string // "clients" or "peers", for errors
	prefix string // of etcd's names for this side's files: "" or "peer-"
	tls    TLS
	listen []url.URL
}

// info checks the set, and reads the files once, so that what is wrong with them is known before
// anything starts: etcd reads them when it already counts as started.
func (s side) info() (transport.TLSInfo, error) {
	t := s.tls
	info := transport.TLSInfo{CertFile: t.CertFile, KeyFile: t.KeyFile, TrustedCAFile: t.CAFile,
		ClientCertAuth: t.RequireClientCert}
	errs := s.contradictions()
	if errs == nil && t != (TLS{}) {
		if _, err := info.ServerConfig(); err != nil {
			errs = fmt.Errorf("embedded etcd: TLS for %s with certificate %q, key %q, authority %q: "+
				"%w: check the files", s.what, t.CertFile, t.KeyFile, t.CAFile, err)
		}
	}
	return info, errs
}

// contradictions finds what etcd would ignore or stumble over later: above all certificates that
// nobody uses because the URLs are plain, which looks safe and isn't.
func (s side) contradictions() error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("embedded etcd: TLS for "+s.what+": "+format, args...))
	}
	t := s.tls
	name := func(flag string) string { return s.prefix + flag }
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		fail("%s without %s: give both or neither", name("cert-file"), name("key-file"))
	case t.CertFile == "" && t.KeyFile != "":
		fail("%s without %s: give both or neither", name("key-file"), name("cert-file"))
	case t.CertFile == "" && t != (TLS{}):
		fail("%s and %s need a certificate: give %s and %s", name("trusted-ca-file"), name("client-cert-auth"),
			name("cert-file"), name("key-file"))
	}
	if t.RequireClientCert && t.CAFile == "" {
		fail("%s without %s: name the authority whose certificates let in", name("client-cert-auth"), name("trusted-ca-file"))
	}
	for _, u := range s.listen {
		switch {
		case u.Scheme == "https" && t.CertFile == "":
			fail("%s needs a certificate: give %s and %s", u.String(), name("cert-file"), name("key-file"))
		case u.Scheme == "http" && t != (TLS{}):
			fail("%s would be served without TLS: write it as https://%s, or give no certificates", u.String(), u.Host)
		}
	}
	return errors.Join(errs...)
}
