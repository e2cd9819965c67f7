package agent

import (
	"fmt"

	"weft/cmd/internal/admin"
	"weft/lease"
	"weft/routes"
)

// A table is the routes to peers as the forwarder reads them, made of one snapshot after the other.
// follow is called by one goroutine; everything else may be called at any time.
type table struct {
	fabric  fabric
	options Options
	live    routes.Live
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
	next, changed, err := t.live.Load().Replace(f.routes(s, t.options))
	if err != nil {
		return 0, fmt.Errorf("applying revision %d of the leases: %w", s.Revision, err)
	}
	t.live.Publish(next)
	return changed, nil
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
