package express

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// memory is a store that holds packets: one that has read a hop's number keeps it until Settle.
type memory struct {
	t        interface{ Fatalf(string, ...any) }
	subnets  map[uint32]uint32
	prefixes map[netip.Prefix]uint32
	hops     map[uint32]laneHop
	peers    map[netip.Addr]bool
	held     map[uint32]bool // numbers that packets under way may have read
	settles  int
	refuse   error
}

func newMemory(t interface{ Fatalf(string, ...any) }) *memory {
	return &memory{
		t: t, subnets: map[uint32]uint32{}, prefixes: map[netip.Prefix]uint32{}, hops: map[uint32]laneHop{},
		peers: map[netip.Addr]bool{}, held: map[uint32]bool{},
	}
}

func (m *memory) SetSubnet(slot, hop uint32) {
	m.held[m.subnets[slot]] = true
	m.lead(hop)
	m.subnets[slot] = hop
}

func (m *memory) SetPrefix(p netip.Prefix, hop uint32) error {
	if m.refuse != nil {
		return m.refuse
	}
	m.held[m.prefixes[p]] = true
	m.lead(hop)
	m.prefixes[p] = hop
	return nil
}

// lead checks that a route leads to a hop that has been written, of a known peer.
func (m *memory) lead(hop uint32) {
	h, ok := m.hops[hop]
	if hop == 0 {
		return
	}
	if !ok {
		m.t.Fatalf("a route leads to hop %d, which was never written", hop)
	}
	for peer := range m.peers {
		if m.peers[peer] && outerWords(peer) == h.Outer {
			return
		}
	}
	m.t.Fatalf("a route leads to %v, which is no peer's", h.Outer)
}

func (m *memory) SetHop(number uint32, hop laneHop) {
	if number != 0 {
		if m.held[number] || slices.Contains(values(m.subnets), number) || slices.Contains(values(m.prefixes), number) {
			m.t.Fatalf("hop %d is written while a packet may read it", number)
		}
	}
	m.hops[number] = hop
}

func values[K comparable](m map[K]uint32) (all []uint32) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func (m *memory) SetPeer(outer netip.Addr, known bool) error {
	m.peers[outer] = known
	return nil
}

func (m *memory) Settle() error {
	m.settles++
	clear(m.held)
	return nil
}

// hop is where the store sends packets to a subnet.
func (m *memory) hop(s shape, subnet netip.Prefix) (h laneHop, ok bool) {
	number := m.prefixes[subnet]
	if slot, indexed := s.slot(subnet); indexed {
		number = m.subnets[slot]
	}
	return m.hops[number], number != 0
}

func testShape() shape {
	c := Config{Network: netip.MustParsePrefix("10.5.0.0/16"), SubnetLen: 24}
	return c.shape()
}

func testRoute(subnet string, host, mtu int) Route {
	return Route{
		Subnet: netip.MustParsePrefix(subnet), Outer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(host)}), 8285), MTU: mtu,
	}
}

var testSubnets = []string{"10.5.1.0/24", "10.5.2.0/24", "10.5.255.0/24", "10.5.2.128/25", "10.4.0.0/16", "fd05:0:0:1::/64", "fd05:0:0:2::/64"}

// TestTableIsWhatWasPublished: after any snapshots and changes the store holds the routes of a plain map, no hop is
// written under a packet, and only peers with a route are known. The table has so few numbers that they
// are recycled all the time.
func TestTableIsWhatWasPublished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		table := newTable(m, testShape(), 16)
		model := map[netip.Prefix]Route{}
		route := rapid.Custom(func(t *rapid.T) Route {
			return testRoute(rapid.SampledFrom(testSubnets).Draw(t, "subnet"), rapid.IntRange(1, 3).Draw(t, "host"), rapid.IntRange(1400, 1410).Draw(t, "mtu"))
		})
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				all := rapid.SliceOfN(route, 0, 7).Draw(t, "snapshot")
				clear(model)
				for _, r := range all {
					model[r.Subnet] = r
				}
				if err := table.publish(all); err != nil {
					t.Fatal(err)
				}
			case 1:
				subnet := netip.MustParsePrefix(rapid.SampledFrom(testSubnets).Draw(t, "gone"))
				delete(model, subnet)
				if err := table.remove(subnet); err != nil {
					t.Fatal(err)
				}
			default:
				r := route.Draw(t, "route")
				model[r.Subnet] = r
				if err := table.set(r); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, m, model)
		}
	})
}

func compare(t *rapid.T, m *memory, model map[netip.Prefix]Route) {
	peers := map[netip.Addr]bool{}
	for _, s := range testSubnets {
		subnet := netip.MustParsePrefix(s)
		r, want := model[subnet]
		h, got := m.hop(testShape(), subnet)
		if got != want || want && h != r.hop() {
			t.Fatalf("%v leads to %+v (%v), want %+v (%v)", subnet, h, got, r, want)
		}
		if want {
			peers[r.Outer.Addr()] = true
		}
	}
	for peer, known := range m.peers {
		if known != peers[peer] {
			t.Fatalf("peer %v: known %v, want %v", peer, known, peers[peer])
		}
	}
}

// TestTableSaysWhenItIsFull, and that nothing of it is lost.
func TestTableSaysWhenItIsFull(t *testing.T) {
	m := newMemory(t)
	table := newTable(m, testShape(), 3)
	for i, s := range testSubnets[:2] {
		if err := table.set(testRoute(s, 1, 1400+i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.set(testRoute(testSubnets[2], 1, 1500)); err == nil {
		t.Error("a third hop found room in a table of two")
	}
	if err := table.remove(netip.MustParsePrefix(testSubnets[0])); err != nil {
		t.Fatal(err)
	}
	if err := table.set(testRoute(testSubnets[2], 1, 1500)); err != nil {
		t.Errorf("after one went: %v", err)
	}
	if m.settles != 1 {
		t.Errorf("waited %d times for packets, want 1", m.settles)
	}
}

// TestRefusedRouteLeavesTheOldOne: the kernel has no memory, and says so.
func TestRefusedRouteLeavesTheOldOne(t *testing.T) {
	m := newMemory(t)
	table := newTable(m, testShape(), 16)
	old := testRoute("fd05:0:0:1::/64", 1, 1400)
	if err := table.set(old); err != nil {
		t.Fatal(err)
	}
	m.refuse = errors.New("no memory")
	if err := table.set(testRoute("fd05:0:0:1::/64", 2, 1400)); !errors.Is(err, m.refuse) {
		t.Errorf("the error is %v", err)
	}
	if h, ok := m.hop(testShape(), old.Subnet); !ok || h != old.hop() {
		t.Errorf("the route leads to %+v", h)
	}
	if m.peers[netip.MustParseAddr("192.0.2.2")] {
		t.Error("a peer without a route is known")
	}
	m.refuse = nil
	if err := table.publish([]Route{testRoute("fd05:0:0:1::/64", 2, 1400)}); err != nil {
		t.Error(err)
	}
	if m.peers[old.Outer.Addr()] {
		t.Error("the old peer is still known")
	}
}

// TestRecursionIsLookedFor only where a route may cover a peer's outer address.
func TestRecursionIsLookedFor(t *testing.T) {
	for _, test := range []struct {
		name   string
		routes []Route
		want   uint32
	}{
		{"elsewhere", []Route{testRoute("10.5.1.0/24", 1, 0)}, 0},
		{"a wide route", []Route{testRoute("10.5.1.0/24", 1, 0), testRoute("192.0.0.0/16", 2, 0)}, 1},
		{"a wide route first", []Route{testRoute("192.0.0.0/16", 2, 0), testRoute("10.5.1.0/24", 1, 0)}, 1},
		{"inside the network", []Route{{Subnet: netip.MustParsePrefix("10.5.1.0/24"), Outer: netip.MustParseAddrPort("10.5.9.9:8285")}}, 1},
	} {
		m := newMemory(t)
		table := newTable(m, testShape(), 16)
		for _, r := range test.routes {
			if err := table.set(r); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.hops[0].Outer[1]; got != test.want {
			t.Errorf("%s: recursion is looked for: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestRouteNamesWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Route)
	}{
		{"host bits", func(r *Route) { r.Subnet = netip.MustParsePrefix("10.5.1.1/24") }},
		{"no peer", func(r *Route) { r.Outer = netip.AddrPort{} }},
		{"no port", func(r *Route) { r.Outer = netip.AddrPortFrom(r.Outer.Addr(), 0) }},
		{"ipip with a port", func(r *Route) { r.Encapsulation = EncapIPIP }},
		{"ipip over IPv6", func(r *Route) {
			r.Encapsulation, r.Outer = EncapIPIP, netip.AddrPortFrom(netip.MustParseAddr("fd00::1"), 0)
		}},
		{"unknown", func(r *Route) { r.Encapsulation = 9 }},
		{"VNI", func(r *Route) { r.VNI = 1 << 24 }},
		{"MTU", func(r *Route) { r.MTU = 1 << 16 }},
	} {
		r := testRoute("10.5.1.0/24", 1, 1400)
		test.change(&r)
		if err := newTable(newMemory(t), testShape(), 16).publish([]Route{r}); err == nil {
			t.Errorf("%s: published", test.name)
		}
	}
}
