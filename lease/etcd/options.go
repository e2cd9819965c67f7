package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"

	"weft/lease"
)

// Defaults, as flannel has them.
const (
	DefaultPrefix = "/coreos.com/network"
	DefaultTTL    = 24 * time.Hour // pkg/subnet/etcd/local_manager.go, subnetTTL
)

// defaultTimeout bounds one request. It is longer than an election (a second or so).
const defaultTimeout = 5 * time.Second

// Options says where the store is and how to talk to it.
type Options struct {
	Endpoints []string // URLs; the client goes to another one when one fails
	Prefix    string   // empty: DefaultPrefix

	// PEM files. CAFile alone verifies the server; CertFile and KeyFile together show who we are.
	CertFile, KeyFile, CAFile string

	Username, Password string

	TTL     time.Duration // of the leases, whole seconds; 0: DefaultTTL
	Timeout time.Duration // of one request; 0: five seconds
	Log     *slog.Logger  // nil: nothing is logged

	Pool *Pool // nil but where many agents run in one process
}

// New returns a store. It reads the TLS files but does not connect, so that an agent can start
// before its etcd. The error joins everything that is wrong with the options.
func New(o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	tlsConfig, err := o.tls()
	if err = errors.Join(o.check(), err); err != nil {
		return nil, err
	}
	s := &Store{opts: o, tls: tlsConfig, large: largeNetwork, keys: layout{dir: strings.TrimSuffix(path.Clean(o.Prefix), "/")}}
	s.connecting = make(chan struct{}, 1)
	if o.Pool != nil {
		s.place = o.Pool.join()
	}
	return s, nil
}

func (o Options) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.Endpoints) == 0 {
		fail("etcd: no endpoints: name at least one, such as http://127.0.0.1:2379")
	}
	secure := 0
	for _, e := range o.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			fail("etcd: endpoint %q is no URL: write it as http://host:2379 or https://host:2379", e)
		} else if u.Scheme == "https" {
			secure++
		}
	}
	if secure > 0 && secure < len(o.Endpoints) {
		// The client decides once, by the first endpoint, and would fail on the others.
		fail("etcd: endpoints mix http and https: use one of the two for all")
	}
	if secure == 0 && o.CertFile+o.KeyFile+o.CAFile != "" && len(o.Endpoints) > 0 {
		fail("etcd: certificate files are given, but the endpoints are plain: write them as https://")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		fail("etcd: certificate %q and key %q: give both or neither", o.CertFile, o.KeyFile)
	}
	if (o.Username == "") != (o.Password == "") {
		fail("etcd: user name and password: give both or neither")
	}
	if o.TTL < time.Second || o.TTL%time.Second != 0 {
		fail("etcd: lease time %s: use whole seconds", o.TTL)
	}
	return errors.Join(errs...)
}

// tls reads the files; nil without any, when https is verified by the system's authorities.
func (o Options) tls() (*tls.Config, error) {
	if o.CertFile == "" && o.KeyFile == "" && o.CAFile == "" {
		return nil, nil
	}
	info := transport.TLSInfo{CertFile: o.CertFile, KeyFile: o.KeyFile, TrustedCAFile: o.CAFile}
	config, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd: reading certificate %q, key %q, authority %q: %w",
			o.CertFile, o.KeyFile, o.CAFile, err)
	}
	return config, nil
}

var _ lease.Store = (*Store)(nil)
