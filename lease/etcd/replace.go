package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// ReplaceConfig writes the config where the present one still is that of a revision, as ConfigRaw
// returned it: ErrChanged otherwise. What lease.ParseConfig refuses is not written.
func (s *Store) ReplaceConfig(ctx context.Context, raw []byte, revision int64) error {
	const doing = "writing network config"
	if _, err := lease.ParseConfig(raw); err != nil {
		return err
	}
	client, err := s.connect(ctx)
	if err != nil {
		return s.explain(ctx, doing, err)
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Txn(limited).
		If(clientv3.Compare(clientv3.ModRevision(s.keys.config()), "=", revision)).
		Then(clientv3.OpPut(s.keys.config(), string(raw))).Commit()
	if err == nil && !resp.Succeeded {
		return fmt.Errorf("%s: %w", doing, ErrChanged)
	}
	return s.explain(ctx, doing, err)
}
