package forwarder_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The fabric of most tests: three hosts, each with a subnet of both families.
var (
	outerA, outerB = netip.MustParseAddrPort("192.0.2.1:8285"), netip.MustParseAddrPort("192.0.2.2:8285")
	outerC         = netip.MustParseAddrPort("192.0.2.3:8285") // a peer by its lease, but nobody's conn
	stranger       = netip.MustParseAddrPort("203.0.113.9:4444")

	atA, atB, atC    = netip.MustParseAddrPort("10.5.1.10:1000"), netip.MustParseAddrPort("10.5.2.20:2000"), netip.MustParseAddrPort("10.5.3.30:3000")
	atA6, atB6, atC6 = netip.MustParseAddrPort("[fd05:0:0:1::10]:1000"), netip.MustParseAddrPort("[fd05:0:0:2::20]:2000"), netip.MustParseAddrPort("[fd05:0:0:3::30]:3000")

	flowAB, flowAB6 = tunneltest.Flow{Src: atA, Dst: atB}, tunneltest.Flow{Src: atA6, Dst: atB6}
)

const testMTU = 1400

// A host is a forwarder between a device and a wire in memory.
type host struct {
	*forwarder.Forwarder
	device *tunneltest.Device
	conns  []*tunneltest.WireConn
	live   routes.Live
	end    func() error // ends forwarding and returns what Run returned
}

// A spec says what host to make.
type spec struct {
	index  int // 1 to 3: the third number of its subnets
	outers []netip.AddrPort
	routes []routes.Route // to all others unless set
	change func(*forwarder.Config)
}

// start makes a host and lets it run until the test ends.
func start(t *testing.T, wire *tunneltest.Wire, s spec) *host {
	t.Helper()
	h := &host{device: tunneltest.NewDevice()}
	worker := forwarder.Worker{Queue: h.device}
	for _, outer := range s.outers {
		conn, err := wire.Listen(outer)
		if err != nil {
			t.Fatal(err)
		}
		h.conns = append(h.conns, conn)
		worker.Conns = append(worker.Conns, conn)
	}
	if s.routes == nil {
		s.routes = peersOf(s.index, routes.EncapUDP)
	}
	h.live.Publish(table(t, s.index, s.routes))
	config := forwarder.Config{
		Workers: []forwarder.Worker{worker}, Routes: &h.live, MTU: testMTU,
		Addr4: subnet4(s.index).Addr(), Addr6: subnet6(s.index).Addr(),
		Stop: func() {
			h.device.Close()
			for _, c := range h.conns {
				c.Close()
			}
		},
	}
	if s.change != nil {
		s.change(&config)
	}
	var err error
	if h.Forwarder, err = forwarder.New(config); err != nil {
		t.Fatal(err)
	}
	h.run(t)
	return h
}

// run starts forwarding and sees to its end.
func (h *host) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- h.Run(ctx) }()
	ended := false
	h.end = func() error {
		ended = true
		cancel()
		return <-result
	}
	t.Cleanup(func() {
		if !ended {
			if err := h.end(); err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
}

func subnet4(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(i), 0}), 24)
}

func subnet6(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 5, 7: byte(i)}), 64)
}

// peersOf returns the routes of host i to the other two.
func peersOf(i int, encap routes.Encapsulation) (all []routes.Route) {
	for j, outer := range []netip.AddrPort{outerA, outerB, outerC} {
		if j+1 != i {
			hop := &routes.Hop{Outer: outer, Encapsulation: encap}
			all = append(all, routes.Route{Subnet: subnet4(j + 1), Hop: hop}, routes.Route{Subnet: subnet6(j + 1), Hop: hop})
		}
	}
	return all
}

func table(t *testing.T, own int, all []routes.Route) *routes.Table {
	t.Helper()
	table, err := routes.New(routes.Layout{
		Network: netip.MustParsePrefix("10.5.0.0/16"), SubnetLen: 24,
		Local: []netip.Prefix{subnet4(own), subnet6(own)},
	}, all)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// pair starts hosts A and B on one wire.
func pair(t *testing.T, encap routes.Encapsulation) (a, b *host, wire *tunneltest.Wire) {
	wire = tunneltest.NewWire()
	a = start(t, wire, spec{index: 1, outers: []netip.AddrPort{outerA}, routes: peersOf(1, encap)})
	b = start(t, wire, spec{index: 2, outers: []netip.AddrPort{outerB}, routes: peersOf(2, encap)})
	return a, b, wire
}

// ordinary is a packet with nothing special about it, in memory of its own.
func ordinary(data []byte) tunnel.Packet { return tunnel.Packet{Data: slices.Clone(data)} }

// wantDrops waits until exactly these packets have been dropped, and fails when others are.
func wantDrops(t *testing.T, h *host, want map[forwarder.Reason]uint64) {
	t.Helper()
	sum := func(drops map[string]uint64) (n uint64) {
		for _, v := range drops {
			n += v
		}
		return n
	}
	var all uint64
	for _, n := range want {
		all += n
	}
	deadline := time.Now().Add(30 * time.Second)
	for sum(h.Counters().Drops) < all && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	for name, got := range h.Counters().Drops {
		var expected uint64
		for reason, n := range want {
			if reason.String() == name {
				expected = n
			}
		}
		if got != expected {
			t.Errorf("%s: %d packets, want %d", name, got, expected)
		}
	}
}
