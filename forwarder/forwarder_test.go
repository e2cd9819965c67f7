package forwarder_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

func TestPacketCrossesUnchanged(t *testing.T) {
	a, b, _ := pair(t, routes.EncapUDP)
	for _, flow := range []tunneltest.Flow{flowAB, flowAB6} {
		for _, want := range [][]byte{flow.UDP([]byte("there")), flow.TCP(1, bytes.Repeat([]byte("x"), 1300))} {
			a.device.Send(ordinary(want))
			if got := b.device.Receive(t); !bytes.Equal(got.Data, want) {
				t.Errorf("got\n%x, want\n%x", got.Data, want)
			}
		}
		back := flow.Reverse().UDP([]byte("and back"))
		b.device.Send(ordinary(back))
		if got := a.device.Receive(t); !bytes.Equal(got.Data, back) {
			t.Errorf("got\n%x, want\n%x", got.Data, back)
		}
	}
	wantDrops(t, b, nil)
	if err := a.end(); err != nil { // after which every batch has been counted
		t.Errorf("Run: %v", err)
	}
	if c := a.Counters(); c.Egress.Packets != 4 || c.Ingress.Packets != 2 {
		t.Errorf("counted %d packets out and %d in, want 4 and 2", c.Egress.Packets, c.Ingress.Packets)
	}
}

func TestTTLStaysAsItIs(t *testing.T) {
	a, b, _ := pair(t, routes.EncapUDP)
	for _, ttl := range []byte{0, 1, 255} {
		p := flowAB.UDP(nil)
		binary.BigEndian.PutUint16(p[10:], 0)
		p[8] = ttl
		binary.BigEndian.PutUint16(p[10:], tunneltest.Checksum(p[:20]))
		a.device.Send(ordinary(p))
		if got := b.device.Receive(t).Data[8]; got != ttl {
			t.Errorf("TTL %d arrived as %d", ttl, got)
		}
	}
}

func TestUnderlayMayBeIPv6(t *testing.T) {
	wire := tunneltest.NewWire()
	outers := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:8285"), netip.MustParseAddrPort("[2001:db8::2]:8285")}
	var hosts [2]*host
	for i := range hosts {
		hop := &routes.Hop{Outer: outers[1-i]}
		hosts[i] = start(t, wire, spec{index: i + 1, outers: outers[i : i+1], routes: []routes.Route{
			{Subnet: subnet4(2 - i), Hop: hop}, {Subnet: subnet6(2 - i), Hop: hop},
		}})
	}
	for _, flow := range []tunneltest.Flow{flowAB, flowAB6} {
		want := flow.UDP([]byte("over IPv6"))
		hosts[0].device.Send(ordinary(want))
		if got := hosts[1].device.Receive(t); !bytes.Equal(got.Data, want) {
			t.Errorf("got\n%x, want\n%x", got.Data, want)
		}
	}
}

// TestSuperpacketCrossesAsSegments checks that headerless peers get ordinary packets with complete
// checksums, whose payloads add up.
func TestSuperpacketCrossesAsSegments(t *testing.T) {
	a, b, _ := pair(t, routes.EncapUDP)
	payload := make([]byte, 60_000)
	for i := range payload {
		payload[i] = byte(i / 7)
	}
	for _, flow := range []tunneltest.Flow{flowAB, flowAB6} {
		a.device.Send(tunneltest.Superpacket(flow, 1, payload, 1300))
		var got []byte
		for len(got) < len(payload) {
			p := b.device.Receive(t)
			if !tunneltest.Valid(p.Data) || len(p.Data) > testMTU {
				t.Fatalf("a segment of %d bytes is not a valid packet", len(p.Data))
			}
			got = append(got, p.Data[len(flow.TCP(0, nil)):]...)
		}
		if !bytes.Equal(got, payload) {
			t.Error("the payload arrived changed")
		}
	}
}

// TestGUELeavesChecksumsToThePeer follows a superpacket between two weft hosts: GUE headers on the wire,
// partial checksums at both ends.
func TestGUELeavesChecksumsToThePeer(t *testing.T) {
	wire := tunneltest.NewWire()
	roomy := func(c *forwarder.Config) { c.WireMTU = testMTU + tunnel.GUEHeaderLen }
	a := start(t, wire, spec{index: 1, outers: []netip.AddrPort{outerA}, routes: peersOf(1, routes.EncapGUE), change: roomy})
	b := start(t, wire, spec{index: 2, outers: []netip.AddrPort{outerB}, routes: peersOf(2, routes.EncapGUE), change: roomy})
	for _, flow := range []tunneltest.Flow{flowAB, flowAB6} {
		headers := len(flow.TCP(0, nil))
		payload := bytes.Repeat([]byte("gue"), 2000)
		a.device.Send(tunneltest.Superpacket(flow, 1, payload, testMTU-headers))
		for got := 0; got < len(payload); {
			p := b.device.Receive(t)
			if !p.GSO.PartialChecksum || tunneltest.Valid(p.Data) {
				t.Fatal("a segment arrived with its checksum computed")
			}
			if tunnel.FinishChecksum(&p); !tunneltest.Valid(p.Data) {
				t.Fatal("a segment's partial checksum doesn't finish to a valid one")
			}
			got += len(p.Data) - headers
		}
	}
	whole := flowAB.UDP([]byte("nothing to gain"))
	a.device.Send(ordinary(whole))
	if got := b.device.Receive(t); !bytes.Equal(got.Data, whole) {
		t.Errorf("a complete packet arrived as %x", got.Data)
	}
	wantDrops(t, b, nil)
}

// TestGUEMakesRoomForItsHeader cuts a superpacket whose own segments fill the MTU finer, so that the
// checksum can be left to the peer all the same.
func TestGUEMakesRoomForItsHeader(t *testing.T) {
	a, b, _ := pair(t, routes.EncapGUE)
	const headers = 40
	payload := bytes.Repeat([]byte("finer"), 1000)
	a.device.Send(tunneltest.Superpacket(flowAB, 1, payload, testMTU-headers))
	var got []byte
	for len(got) < len(payload) {
		p := b.device.Receive(t)
		if !p.GSO.PartialChecksum || len(p.Data)+tunnel.GUEHeaderLen > testMTU {
			t.Fatalf("a segment of %d bytes, partial %v, came over a path of %d", len(p.Data), p.GSO.PartialChecksum, testMTU)
		}
		got = append(got, p.Data[headers:]...)
	}
	if !bytes.Equal(got, payload) {
		t.Error("the payload arrived changed")
	}
}

func TestGUEIsLeftOutWhereItsHeaderDoesNotFit(t *testing.T) {
	a, b, _ := pair(t, routes.EncapGUE)
	whole := tunneltest.Superpacket(flowAB, 1, make([]byte, testMTU-40), testMTU-40)
	whole.GSO.Kind, whole.GSO.SegmentSize = tunnel.GSONone, 0 // one ordinary packet, checksum partial
	a.device.Send(whole)
	if p := b.device.Receive(t); p.GSO.PartialChecksum || len(p.Data) != testMTU || !tunneltest.Valid(p.Data) {
		t.Errorf("a full-size packet of %d bytes came partial or broken", len(p.Data))
	}
}

// TestWholeSuperpacketFromTheWireStaysWhole plays a kernel sender whose underlay passes GSO.
func TestWholeSuperpacketFromTheWireStaysWhole(t *testing.T) {
	_, b, wire := pair(t, routes.EncapUDP)
	super := tunneltest.Superpacket(flowAB, 1, make([]byte, 64_000), 1300)
	for _, hint := range []int{0, 1300} { // UDP_GRO may report the inner size
		wire.InjectTrain(outerA, outerB, super.Data, hint)
		got := b.device.Receive(t)
		if !bytes.Equal(got.Data, super.Data) || got.GSO.Kind != tunnel.GSOTCP4 || !got.GSO.PartialChecksum {
			t.Errorf("hint %d: %d bytes arrived as %d, GSO %+v", hint, len(super.Data), len(got.Data), got.GSO)
		}
		if int(got.GSO.HeaderLen)+int(got.GSO.SegmentSize) > testMTU {
			t.Errorf("its segments of %d + %d bytes exceed the MTU", got.GSO.HeaderLen, got.GSO.SegmentSize)
		}
	}
}

func TestTrainIsTakenApart(t *testing.T) {
	_, b, wire := pair(t, routes.EncapUDP)
	var train []byte
	var want [][]byte
	for i := range 10 {
		p := flowAB.UDP(bytes.Repeat([]byte{byte(i)}, 500))
		if i == 9 {
			p = flowAB.UDP([]byte("short"))
		}
		train, want = append(train, p...), append(want, p)
	}
	wire.InjectTrain(outerA, outerB, train, len(want[0]))
	for i := range want {
		if got := b.device.Receive(t); !bytes.Equal(got.Data, want[i]) {
			t.Fatalf("packet %d: got\n%x, want\n%x", i, got.Data, want[i])
		}
	}
}

// TestFlowKeepsItsSourcePort gives a host four conns: one flow stays on one, many flows use all.
func TestFlowKeepsItsSourcePort(t *testing.T) {
	wire := tunneltest.NewWire()
	var outers []netip.AddrPort
	for i := range uint16(4) {
		outers = append(outers, netip.AddrPortFrom(outerA.Addr(), 8285+i))
	}
	a := start(t, wire, spec{index: 1, outers: outers})
	receiver, err := wire.Listen(outerB)
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	used := map[netip.AddrPort]bool{}
	for port := range uint16(64) {
		flow := tunneltest.Flow{Src: netip.AddrPortFrom(atA.Addr(), 1000+port), Dst: atB}
		var from netip.AddrPort
		for range 5 {
			a.device.Send(ordinary(flow.UDP([]byte("x"))))
			in := make([]tunnel.Datagram, 1)
			if _, err := receiver.ReadBatch(in); err != nil {
				t.Fatal(err)
			}
			if from.IsValid() && in[0].Addr != from {
				t.Fatalf("flow from port %d left from %v and from %v", 1000+port, from, in[0].Addr)
			}
			from = in[0].Addr
		}
		used[from] = true
	}
	if len(used) != len(outers) {
		t.Errorf("64 flows left from %d of %d conns", len(used), len(outers))
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	a, _, _ := pair(t, routes.EncapUDP)
	if err := a.end(); err != nil { // a Run that went on would hold the test until its time limit
		t.Errorf("Run: %v, want nil", err)
	}
}

func TestRunSaysWhichDescriptorFailed(t *testing.T) {
	device := tunneltest.NewDevice()
	conn, err := tunneltest.NewWire().Listen(outerA)
	if err != nil {
		t.Fatal(err)
	}
	f, err := forwarder.New(forwarder.Config{
		Workers: []forwarder.Worker{{Queue: device, Conns: []tunnel.Conn{conn}}},
		Routes:  new(routes.Live), MTU: testMTU,
		Stop: func() { device.Close(); conn.Close() },
	})
	if err != nil {
		t.Fatal(err)
	}
	device.Close()
	err = f.Run(context.Background())
	if !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "egress of worker 0") {
		t.Errorf("Run: %v, want that egress of worker 0 found its queue closed", err)
	}
}

func TestNewRefusesABadConfig(t *testing.T) {
	good := func() forwarder.Config {
		conn, err := tunneltest.NewWire().Listen(outerA)
		if err != nil {
			t.Fatal(err)
		}
		return forwarder.Config{
			Workers: []forwarder.Worker{{Queue: tunneltest.NewDevice(), Conns: []tunnel.Conn{conn}}},
			Routes:  new(routes.Live), MTU: testMTU,
		}
	}
	if _, err := forwarder.New(good()); err != nil {
		t.Fatalf("a good config: %v", err)
	}
	for _, test := range []struct {
		spoil func(*forwarder.Config)
		want  string
	}{
		{func(c *forwarder.Config) { c.Workers = nil }, "no workers"},
		{func(c *forwarder.Config) { c.Workers[0].Conns = nil }, "worker 0: a queue and at least one conn"},
		{func(c *forwarder.Config) { c.Workers[0].Queue = nil }, "worker 0: a queue and at least one conn"},
		{func(c *forwarder.Config) { c.Routes = nil }, "no route table"},
		{func(c *forwarder.Config) { c.MTU = 100 }, "MTU 100 is out of range: use 576 to 65535"},
		{func(c *forwarder.Config) { c.Addr4 = atA6.Addr() }, "is not an IPv4 address"},
		{func(c *forwarder.Config) { c.Addr6 = atA.Addr() }, "is not an IPv6 address"},
	} {
		c := good()
		test.spoil(&c)
		if _, err := forwarder.New(c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q", err, test.want)
		}
	}
}

func TestCountersAsJSON(t *testing.T) {
	a, _, _ := pair(t, routes.EncapUDP)
	text, err := json.Marshal(a.Counters())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"no_route", "malformed", "spoofed_source", "not_local", "unknown_peer", "too_big", "queue_full",
		"socket_error", "martian", "recursion", "icmp_sent",
	} {
		if !bytes.Contains(text, []byte(`"`+name+`":0`)) {
			t.Errorf("%q is missing in %s", name, text)
		}
	}
	if !bytes.Contains(text, []byte(`"peers":[]`)) {
		t.Errorf("peers are not an empty list in %s", text)
	}
}
