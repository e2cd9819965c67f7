package agent

import (
	"fmt"
	"sync/atomic"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/lease"
	"weft/routes"
)

// A table is the routes to peers as the forwarder reads them, made of one snapshot after the other.
// follow is called by one goroutine; everything else may be called at any time.
type table struct {
	fabric  fabric
	options Options
	live    routes.Live
	skipped atomic.Pointer[[]kernelmode.Problem] // peers of the latest snapshot that nothing leads to
}

func newTable(f fabric, o Options) (*table, error) {
	empty, err := routes.New(f.layout(), nil)
	if err != nil {
		return nil, err
	}
	t := &table{fabric: f, options: o}
	t.live.Publish(empty)
	return t, nil
}

// follow publishes the routes of a snapshot, by the snapshot's own config: what peers don't say, such
// as their port, is as that has it. Hops that stay keep the path MTU that was learned.
func (t *table) follow(s *lease.Snapshot) (changed int, err error) {
	f := t.fabric
	f.config = s.Config
	all, skipped := f.routes(s, t.options)
	next, changed, err := t.live.Load().Replace(all)
	if err != nil {
		return 0, fmt.Errorf("applying revision %d of the leases: %w", s.Revision, err)
	}
	t.live.Publish(next)
	t.skipped.Store(&skipped)
	return changed, nil
}

func (t *table) problems() []kernelmode.Problem {
	if p := t.skipped.Load(); p != nil {
		return *p
	}
	return nil
}

func (t *table) peers() []admin.Peer {
	peers := []admin.Peer{}
	for subnet, hop := range t.live.Load().All() {
		mtu := hop.MTU()
		if mtu == 0 {
			mtu = t.fabric.mtu()
		}
		peers = append(peers, admin.Peer{Subnet: subnet, Outer: hop.Outer, MTU: mtu})
	}
	return peers
}
