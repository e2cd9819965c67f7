package express_test

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/kernelmode/express"
)

// TestStaleNeighboursAreAskedAgain: a peer's MAC has become stale, packets flow by the lane alone, and Check has the
// kernel ask for it.
func TestStaleNeighboursAreAskedAgain(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	one, two := w.nodes[0], w.nodes[1]
	must(t, echoes(t.Context(), one.container, two.container, two.container.Addr, 32))
	entry := func() (found netlink.Neigh) {
		must(t, one.host.Do(func() error {
			l, err := netlink.LinkByName(one.host.Device())
			if err != nil {
				return err
			}
			all, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
			for _, n := range all {
				if n.IP.String() == two.host.Addr.String() {
					found = n
				}
			}
			return err
		}))
		return found
	}
	stale := entry()
	stale.State = netlink.NUD_STALE
	must(t, one.host.Do(func() error { return netlink.NeighSet(&stale) }))
	must(t, echoes(t.Context(), one.container, two.container, two.container.Addr, 32, 33, 34))
	if s := entry().State; s != netlink.NUD_STALE {
		t.Fatalf("the lane's own packets made the entry %#x: this test shows nothing", s)
	}
	must(t, one.host.Do(one.lane.Check))
	for deadline := time.Now().Add(patience); entry().State == netlink.NUD_STALE; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody asked for the stale neighbour")
		}
	}
}
