package routes_test

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/routes"

	"pgregory.net/rapid"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func hopTo(outer string) *routes.Hop {
	return &routes.Hop{Outer: netip.AddrPortFrom(netip.MustParseAddr(outer), 8285)}
}

var layout = routes.Layout{
	Network: prefix("10.5.0.0/16"), SubnetLen: 24,
	Local: []netip.Prefix{prefix("10.5.1.0/24"), prefix("fd05:0:0:1::/64")},
}

func newTable(t testing.TB, layout routes.Layout, all ...routes.Route) *routes.Table {
	t.Helper()
	table, err := routes.New(layout, all)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestLookup(t *testing.T) {
	two, three, six, wide, host, out := hopTo("192.0.2.2"), hopTo("192.0.2.3"), hopTo("2001:db8::6"), hopTo("192.0.2.4"), hopTo("192.0.2.5"), hopTo("192.0.2.6")
	table := newTable(t, layout,
		routes.Route{Subnet: prefix("10.5.2.0/24"), Hop: two},
		routes.Route{Subnet: prefix("10.5.3.0/24"), Hop: three},
		routes.Route{Subnet: prefix("fd05:0:0:6::/64"), Hop: six},
		routes.Route{Subnet: prefix("10.5.64.0/18"), Hop: wide},
		routes.Route{Subnet: prefix("10.5.3.128/25"), Hop: host},
		routes.Route{Subnet: prefix("172.16.0.0/12"), Hop: out},
	)
	for addr, want := range map[string]*routes.Hop{
		"10.5.2.0": two, "10.5.2.255": two, "10.5.3.1": three, "10.5.3.128": host, "10.5.3.255": host,
		"10.5.64.1": wide, "10.5.127.255": wide, "10.5.128.0": nil, "172.31.0.1": out,
		"10.5.1.1": nil, "10.4.255.255": nil, "10.6.0.0": nil, "0.0.0.0": nil, "255.255.255.255": nil,
		"fd05:0:0:6::1": six, "fd05:0:0:7::1": nil, "::ffff:10.5.2.1": nil,
	} {
		if got := table.Lookup(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Lookup(%s) = %v, want %v", addr, got, want)
		}
	}
	if table.Lookup(netip.Addr{}) != nil {
		t.Error("the zero address has a hop")
	}
	if table.Size() != 6 {
		t.Errorf("Size() = %d, want 6", table.Size())
	}
}

func TestLocal(t *testing.T) {
	table := newTable(t, layout)
	for addr, want := range map[string]bool{
		"10.5.1.0": true, "10.5.1.255": true, "10.5.2.0": false, "10.5.0.255": false,
		"fd05:0:0:1::": true, "fd05:0:0:2::1": false, "::ffff:10.5.1.1": false,
	} {
		if got := table.Local(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Local(%s) = %v, want %v", addr, got, want)
		}
	}
	nowhere := newTable(t, routes.Layout{})
	if nowhere.Local(netip.MustParseAddr("0.0.0.0")) || nowhere.Local(netip.MustParseAddr("::")) || nowhere.Local(netip.Addr{}) {
		t.Error("a host without subnets has local addresses")
	}
}

func TestKnownOuter(t *testing.T) {
	table := newTable(t, layout,
		routes.Route{Subnet: prefix("10.5.2.0/24"), Hop: hopTo("192.0.2.2")},
		routes.Route{Subnet: prefix("fd05:0:0:2::/64"), Hop: hopTo("192.0.2.2")},
	)
	shared := netip.MustParseAddr("192.0.2.2")
	for i, change := range []routes.Route{{Subnet: prefix("10.5.2.0/24")}, {Subnet: prefix("fd05:0:0:2::/64")}} {
		if !table.KnownOuter(shared) {
			t.Fatalf("%v is unknown while %d routes lead to it", shared, 2-i)
		}
		var err error
		if table, err = table.With(change); err != nil {
			t.Fatal(err)
		}
	}
	if table.KnownOuter(shared) || table.KnownOuter(netip.Addr{}) {
		t.Errorf("%v is known though no route leads to it", shared)
	}
}

// An update changes a copy of the underlay addresses, of all of them or of those on the way: one of few
// routes takes the first way, one of many the second.
func TestEarlierTablesKeepTheirUnderlayAddresses(t *testing.T) {
	for _, size := range []int{3, 400} {
		var all []routes.Route
		for i := range size {
			outer := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
			subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 6, byte(i >> 6), byte(i << 2)}), 30)
			all = append(all, routes.Route{Subnet: subnet, Hop: hopTo(outer.String())})
		}
		table := newTable(t, layout, all...)
		gone, come := all[1].Hop.Outer.Addr(), netip.MustParseAddr("198.51.100.1")
		next, err := table.With(routes.Route{Subnet: all[1].Subnet}, routes.Route{Subnet: all[2].Subnet, Hop: hopTo(come.String())})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.With(routes.Route{Subnet: all[0].Subnet}, routes.Route{}); err == nil {
			t.Fatal("a route without a subnet is taken")
		}
		for _, r := range all {
			if !table.KnownOuter(r.Hop.Outer.Addr()) {
				t.Errorf("of %d: %v is gone from the table before", size, r.Hop.Outer)
			}
		}
		if table.KnownOuter(come) || next.KnownOuter(gone) || !next.KnownOuter(come) || !next.KnownOuter(all[0].Hop.Outer.Addr()) {
			t.Errorf("of %d: an update changed what it mustn't, or didn't change what it must", size)
		}
	}
}

func TestRecursive(t *testing.T) {
	inside, outside := netip.MustParseAddr("10.5.3.9"), netip.MustParseAddr("192.0.2.2")
	to := func(subnet string, outer netip.Addr) routes.Route {
		return routes.Route{Subnet: prefix(subnet), Hop: &routes.Hop{Outer: netip.AddrPortFrom(outer, 8285)}}
	}
	for name, all := range map[string][]routes.Route{
		"address first": {to("10.5.2.0/24", inside), to("10.5.3.0/24", outside)},
		"subnet first":  {to("10.5.3.0/24", outside), to("10.5.2.0/24", inside)},
		"own subnet":    {to("10.5.2.0/24", netip.MustParseAddr("10.5.1.7"))},
		"itself":        {to("10.5.3.0/24", inside)},
	} {
		if !newTable(t, layout, all...).MayRecurse() {
			t.Errorf("%s: a covered underlay address goes unnoticed", name)
		}
	}
	table := newTable(t, layout, to("10.5.2.0/24", inside), to("10.5.3.0/24", outside))
	if !table.Recursive(inside) || table.Recursive(netip.MustParseAddr("10.5.3.10")) {
		t.Error("Recursive doesn't tell a peer's underlay address from its neighbour")
	}
	if newTable(t, layout, to("10.5.2.0/24", outside)).MayRecurse() {
		t.Error("an ordinary network looks recursive")
	}
}

func TestBadLayoutsAndRoutesSaySo(t *testing.T) {
	for _, test := range []struct {
		layout routes.Layout
		want   string
	}{
		{routes.Layout{Network: prefix("10.5.0.1/16"), SubnetLen: 24}, "not an IPv4 range"},
		{routes.Layout{Network: prefix("fd00::/48"), SubnetLen: 64}, "not an IPv4 range"},
		{routes.Layout{Network: prefix("10.5.0.0/16"), SubnetLen: 8}, "subnet length 8 does not fit 10.5.0.0/16: use 16 to 32"},
		{routes.Layout{Network: prefix("10.5.0.0/16"), SubnetLen: 33}, "use 16 to 32"},
		{routes.Layout{Local: []netip.Prefix{prefix("10.5.1.1/24")}}, "own subnet 10.5.1.1/24 is not a subnet"},
		{routes.Layout{Local: []netip.Prefix{prefix("10.5.1.0/24"), prefix("10.5.2.0/24")}}, "second of its family"},
	} {
		if _, err := routes.New(test.layout, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("New(%+v): %v, want %q", test.layout, err, test.want)
		}
	}
	table := newTable(t, layout)
	for _, test := range []struct {
		route routes.Route
		want  string
	}{
		{routes.Route{Subnet: prefix("10.5.2.1/24"), Hop: hopTo("192.0.2.2")}, "use 10.5.2.0/24"},
		{routes.Route{Hop: hopTo("192.0.2.2")}, "not an IPv4 or IPv6 subnet"},
		{routes.Route{Subnet: prefix("10.5.2.0/24"), Hop: new(routes.Hop)}, "no usable outer address"},
	} {
		if _, err := table.With(test.route); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("With(%v): %v, want %q", test.route.Subnet, err, test.want)
		}
	}
}

func TestHopIsCarriedOverWhileItLeadsTheSameWay(t *testing.T) {
	subnet := prefix("10.5.2.0/24")
	first := hopTo("192.0.2.2")
	table := newTable(t, layout, routes.Route{Subnet: subnet, Hop: first})
	first.SetMTU(1300)
	same, err := table.With(routes.Route{Subnet: subnet, Hop: hopTo("192.0.2.2")})
	if err != nil {
		t.Fatal(err)
	}
	if got := same.Lookup(subnet.Addr()); got != first || got.MTU() != 1300 {
		t.Error("the path MTU was forgotten though nothing changed")
	}
	moved, err := table.With(routes.Route{Subnet: subnet, Hop: hopTo("192.0.2.3")})
	if err != nil {
		t.Fatal(err)
	}
	if got := moved.Lookup(subnet.Addr()); got == first || got.MTU() != 0 {
		t.Error("another peer inherited the path MTU")
	}
	if table.Lookup(subnet.Addr()) != first {
		t.Error("the table that With was called on has changed")
	}
}

func TestReplace(t *testing.T) {
	two, three := hopTo("192.0.2.2"), hopTo("192.0.2.3")
	table := newTable(t, layout, routes.Route{Subnet: prefix("10.5.2.0/24"), Hop: two}, routes.Route{Subnet: prefix("10.5.3.0/24"), Hop: three})
	want := []routes.Route{{Subnet: prefix("10.5.2.0/24"), Hop: hopTo("192.0.2.2")}, {Subnet: prefix("fd05:0:0:4::/64"), Hop: hopTo("192.0.2.4")}}
	next, changed, err := table.Replace(want)
	if err != nil || changed != 2 {
		t.Fatalf("changed %d, error %v, want 2 and none", changed, err)
	}
	var subnets []netip.Prefix
	for subnet := range next.All() {
		subnets = append(subnets, subnet)
	}
	if !slices.Equal(subnets, []netip.Prefix{want[0].Subnet, want[1].Subnet}) || next.Lookup(two.Outer.Addr()) != nil {
		t.Errorf("routes %v, want those of %v", subnets, want)
	}
	if next.Lookup(want[0].Subnet.Addr()) != two {
		t.Error("an unchanged hop was not carried over")
	}
	if again, changed, err := next.Replace(want); again != next || changed != 0 || err != nil {
		t.Errorf("the same routes again: %d changes, error %v", changed, err)
	}
}

// A twin is the table that is obviously right: every route, looked through from the longest on.
type twin map[netip.Prefix]*routes.Hop

func (w twin) lookup(addr netip.Addr) (best *routes.Hop) {
	bits := -1
	for subnet, hop := range w {
		if subnet.Contains(addr) && subnet.Bits() > bits {
			best, bits = hop, subnet.Bits()
		}
	}
	return best
}

// drawAddr draws an address near the network's, so that it often hits something.
func drawAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v6") {
		b := [16]byte{0xfd, 5}
		binary.BigEndian.PutUint16(b[6:], rapid.Uint16Range(0, 7).Draw(t, "subnet6"))
		b[15] = rapid.Byte().Draw(t, "host6")
		return netip.AddrFrom16(b)
	}
	b := [4]byte{10, rapid.ByteRange(4, 6).Draw(t, "network"), rapid.ByteRange(0, 7).Draw(t, "subnet"), rapid.Byte().Draw(t, "host")}
	return netip.AddrFrom4(b)
}

func drawRoute(t *rapid.T) routes.Route {
	addr := drawAddr(t)
	bits := rapid.SampledFrom([]int{24, 24, 24, 8, 16, 22, 25, 28, 32}).Draw(t, "bits")
	if addr.Is6() {
		bits = rapid.SampledFrom([]int{64, 64, 48, 56, 65, 128}).Draw(t, "bits6")
	}
	subnet, _ := addr.Prefix(bits)
	r := routes.Route{Subnet: subnet}
	if rapid.IntRange(0, 3).Draw(t, "remove") > 0 {
		r.Hop = hopTo(rapid.SampledFrom([]string{"192.0.2.2", "192.0.2.3", "10.5.3.4", "2001:db8::2"}).Draw(t, "outer"))
	}
	return r
}

// TestAgainstTheTwin changes a table at random, in updates of several routes, and compares every answer
// with the twin's; tables from before must keep answering as they did.
func TestAgainstTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lay := rapid.SampledFrom([]routes.Layout{layout, {}, {Network: prefix("10.0.0.0/8"), SubnetLen: 22}, {Network: prefix("10.5.0.0/16"), SubnetLen: 32}}).Draw(t, "layout")
		table, err := routes.New(lay, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := twin{}
		type version struct {
			table *routes.Table
			want  twin
		}
		versions := []version{{table, twin{}}}
		for range rapid.IntRange(1, 6).Draw(t, "updates") {
			changes := rapid.SliceOfN(rapid.Custom(drawRoute), 1, 8).Draw(t, "changes")
			if table, err = table.With(changes...); err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if want[c.Subnet] = c.Hop; c.Hop == nil {
					delete(want, c.Subnet)
				}
			}
			versions = append(versions, version{table, maps.Clone(want)})
		}
		for range 30 {
			addr := drawAddr(t)
			for _, v := range versions {
				got, right := v.table.Lookup(addr), v.want.lookup(addr)
				if (got == nil) != (right == nil) || got != nil && got.Outer != right.Outer {
					t.Fatalf("Lookup(%v) = %v, want %v", addr, got, right)
				}
			}
		}
		for _, v := range versions {
			compareAll(t, v.table, v.want)
		}
	})
}

// compareAll compares what isn't a lookup: the listing, the size, and the underlay addresses.
func compareAll(t *rapid.T, table *routes.Table, want twin) {
	listed, known := twin{}, map[netip.Addr]bool{}
	for subnet, hop := range table.All() {
		listed[subnet] = hop
	}
	if len(listed) != len(want) || table.Size() != len(want) {
		t.Fatalf("%d routes listed, Size %d, want %d", len(listed), table.Size(), len(want))
	}
	covered := false
	for subnet, hop := range want {
		if listed[subnet] == nil || listed[subnet].Outer != hop.Outer {
			t.Fatalf("%v leads to %v, want %v", subnet, listed[subnet], hop.Outer)
		}
		known[hop.Outer.Addr()] = true
		covered = covered || want.lookup(hop.Outer.Addr()) != nil
	}
	for _, outer := range []string{"192.0.2.2", "192.0.2.3", "10.5.3.4", "2001:db8::2"} {
		addr := netip.MustParseAddr(outer)
		if table.KnownOuter(addr) != known[addr] {
			t.Fatalf("KnownOuter(%v) = %v, want %v", addr, !known[addr], known[addr])
		}
	}
	if covered && !table.MayRecurse() {
		t.Fatal("an underlay address is routed into the fabric, unnoticed")
	}
}

// FuzzLookup is the same comparison for any address, against a fixed table of every kind of route.
func FuzzLookup(f *testing.F) {
	want := twin{}
	var all []routes.Route
	for i, subnet := range []string{
		"10.5.0.0/24", "10.5.2.0/24", "10.5.255.0/24", "10.5.2.128/25", "10.5.2.129/32", "10.5.64.0/18", "10.0.0.0/8",
		"0.0.0.0/1", "fd05::/32", "fd05:0:0:2::/64", "fd05:0:0:2::1/128", "10.5.7.0/30",
	} {
		hop := &routes.Hop{Outer: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1))}
		want[prefix(subnet)] = hop
		all = append(all, routes.Route{Subnet: prefix(subnet), Hop: hop})
		f.Add(prefix(subnet).Addr().AsSlice())
	}
	table := newTable(f, layout, all...)
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok || addr.Is4In6() {
			t.Skip()
		}
		if got, right := table.Lookup(addr), want.lookup(addr); got != right {
			t.Errorf("Lookup(%v) = %v, want %v", addr, got, right)
		}
	})
}
