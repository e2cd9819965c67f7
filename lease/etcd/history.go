package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// A ConfigRevision is the network config as it was from one revision of the store on.
type ConfigRevision struct {
	Revision int64
	Raw      []byte // as stored, valid or not
}

// A ConfigHistory is what etcd still has of the network config.
type ConfigHistory struct {
	Revisions []ConfigRevision // newest first; at least one

	// Created: the oldest of Revisions made the key. Before it there was no config, or one that had
	// been deleted; etcd isn't asked for that, since it would have to read all its history.
	Created bool
	// Compacted is the revision before which etcd has forgotten everything, if the history ends for
	// that reason; else 0.
	Compacted int64
}

// ConfigHistory goes back through the revisions of the config, at most limit of them, at the price
// of one request each. ErrNoConfig when there is none now.
func (s *Store) ConfigHistory(ctx context.Context, limit int) (ConfigHistory, error) {
	const doing = "reading history of the network config"
	client, err := s.connect(ctx)
	if err != nil {
		return ConfigHistory{}, s.explain(ctx, doing, err)
	}
	var h ConfigHistory
	at := int64(0) // the newest
	for len(h.Revisions) < limit {
		resp, err := s.configAt(ctx, client, at)
		switch {
		case errors.Is(err, rpctypes.ErrCompacted) && len(h.Revisions) > 0:
			h.Compacted, err = s.compacted(ctx, client)
			return h, s.explain(ctx, doing, err)
		case err != nil:
			return ConfigHistory{}, s.explain(ctx, doing, err)
		case len(resp.Kvs) == 0:
			return ConfigHistory{}, fmt.Errorf("%s: %w", s.keys.config(), lease.ErrNoConfig)
		}
		kv := resp.Kvs[0]
		h.Revisions = append(h.Revisions, ConfigRevision{Revision: kv.ModRevision, Raw: kv.Value})
		if kv.Version == 1 {
			h.Created = true
			return h, nil
		}
		at = kv.ModRevision - 1
	}
	return h, nil
}

// ErrCompacted: etcd has forgotten that revision.
var ErrCompacted = errors.New("revision compacted away")

// ErrFuture: the store hasn't come to that revision yet.
var ErrFuture = errors.New("revision not reached yet")

// ConfigAt returns the config that was in force at a revision of the store; 0 is the newest.
// ErrNoConfig when there was none then, ErrCompacted and ErrFuture where etcd can't tell.
func (s *Store) ConfigAt(ctx context.Context, revision int64) (ConfigRevision, error) {
	doing := "reading network config"
	if revision != 0 {
		doing += fmt.Sprintf(" at revision %d", revision)
	}
	client, err := s.connect(ctx)
	if err != nil {
		return ConfigRevision{}, s.explain(ctx, doing, err)
	}
	resp, err := s.configAt(ctx, client, revision)
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return ConfigRevision{}, fmt.Errorf("%s: %w", doing, ErrCompacted)
	case errors.Is(err, rpctypes.ErrFutureRev):
		return ConfigRevision{}, fmt.Errorf("%s: %w", doing, ErrFuture)
	case err != nil:
		return ConfigRevision{}, s.explain(ctx, doing, err)
	case len(resp.Kvs) == 0:
		return ConfigRevision{}, fmt.Errorf("%s: %s: %w", doing, s.keys.config(), lease.ErrNoConfig)
	}
	return ConfigRevision{Revision: resp.Kvs[0].ModRevision, Raw: resp.Kvs[0].Value}, nil
}

func (s *Store) configAt(ctx context.Context, client *clientv3.Client, revision int64) (*clientv3.GetResponse, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	return client.Get(limited, s.keys.config(), clientv3.WithRev(revision))
}

// compacted asks for the oldest revision that etcd has. A watch from the beginning is refused at
// once, and the refusal names it.
func (s *Store) compacted(ctx context.Context, client *clientv3.Client) (int64, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	for resp := range client.Watch(limited, s.keys.config(), clientv3.WithRev(1)) {
		if resp.CompactRevision != 0 {
			return resp.CompactRevision, nil
		}
		if err := resp.Err(); err != nil {
			return 0, err
		}
	}
	return 0, context.Cause(limited)
}
