package etcd

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/connectivity"

	"weft/lease"
)

// Reachable says why no endpoint can be reached now; nil when one can, or nobody has tried. etcd's
// client makes its connection, and the watches on it, anew by itself, so that a Watch says nothing of
// an outage; lease.Follower asks here. It asks nothing of the server.
func (s *Store) Reachable(ctx context.Context) error {
	client, err := s.connect(ctx)
	if err != nil {
		return s.explain(ctx, "looking at the connection", err)
	}
	if state := client.ActiveConnection().GetState(); state != connectivity.Ready && state != connectivity.Idle {
		return fmt.Errorf("%w: no connection to etcd at %s; trying again and again", lease.ErrUnavailable, strings.Join(s.opts.Endpoints, ","))
	}
	return nil
}
