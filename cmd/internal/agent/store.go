package agent

import (
	"context"
	"log/slog"
	"path/filepath"

	"weft/lease/embedded"
	"weft/lease/etcd"
)

// Open returns a client of the etcd that the options name. It connects at its first use.
func (s *StoreOptions) Open(log *slog.Logger) (*etcd.Store, error) {
	return etcd.New(etcd.Options{
		Endpoints: s.Endpoints,
		Prefix:    s.Prefix,
		CertFile:  s.CertFile,
		KeyFile:   s.KeyFile,
		CAFile:    s.CAFile,
		Username:  s.Username,
		Password:  s.Password,
		TTL:       s.TTL,
		Log:       log,
	})
}

// An openedStore is a client, and the server it talks to where that runs in this process.
type openedStore struct {
	*etcd.Store
	server *embedded.Server // nil for an etcd elsewhere
}

// openStore makes both; nothing is connected or listened on before it is used or run.
func openStore(o StoreOptions, stateDir string, log *slog.Logger) (openedStore, error) {
	var s openedStore
	if o.Kind == "embedded" {
		o.Embedded.Log = log
		if o.Embedded.DataDir == "" {
			o.Embedded.DataDir = filepath.Join(stateDir, "etcd")
		}
		var err error
		if s.server, err = embedded.New(o.Embedded); err != nil {
			return s, err
		}
		o.Endpoints = s.server.Endpoints()
	}
	var err error
	s.Store, err = o.Open(log)
	return s, err
}

// Run serves, where there is something to serve, until ctx ends.
func (s openedStore) Run(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	return s.server.Run(ctx)
}

// ready waits until the server in this process answers; one elsewhere is waited for with its remedy
// by awaitConfig.
func (s openedStore) ready(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	return s.server.WaitReady(ctx)
}
