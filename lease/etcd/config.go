package etcd

import (
	"context"
	"fmt"

	"weft/lease"
)

// Config reads the network config once.
func (s *Store) Config(ctx context.Context) (lease.Config, error) {
	raw, _, err := s.ConfigRaw(ctx)
	if err != nil {
		return lease.Config{}, err
	}
	c, err := lease.ParseConfig(raw)
	if err != nil {
		return lease.Config{}, fmt.Errorf("key %s: %w", s.keys.config(), err)
	}
	return c, nil
}

// ConfigRaw returns the config as it is stored, valid or not, and the revision of its last change.
// The error is ErrNoConfig if there is none.
func (s *Store) ConfigRaw(ctx context.Context) (raw []byte, revision int64, err error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, 0, s.explain(ctx, "reading network config", err)
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Get(limited, s.keys.config())
	if err != nil {
		return nil, 0, s.explain(ctx, "reading network config", err)
	}
	if len(resp.Kvs) == 0 {
		return nil, 0, fmt.Errorf("%s: %w", s.keys.config(), lease.ErrNoConfig)
	}
	return resp.Kvs[0].Value, resp.Kvs[0].ModRevision, nil
}

// SetConfig writes the config, byte for byte as given. What lease.ParseConfig refuses is not
// written, and its error returned. Replaced without a look at what was there before.
func (s *Store) SetConfig(ctx context.Context, raw []byte) error {
	if _, err := lease.ParseConfig(raw); err != nil {
		return err
	}
	client, err := s.connect(ctx)
	if err != nil {
		return s.explain(ctx, "writing network config", err)
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	_, err = client.Put(limited, s.keys.config(), string(raw))
	return s.explain(ctx, "writing network config", err)
}

// List returns the present state once. Unlike the snapshots of Watch its leases have their
// Expiry, at the price of one request for each; one that ended since the list has none.
func (s *Store) List(ctx context.Context) (*lease.Snapshot, error) {
	st, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	snapshot := st.snapshot()
	timings, err := s.Timings(ctx, snapshot.Leases)
	for i, t := range timings {
		snapshot.Leases[i].Expiry = t.Expiry
	}
	return snapshot, err
}
