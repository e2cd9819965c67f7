package forwarder_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

const (
	testVNI   = 1
	vxlanPort = 8472
)

// outerOf6 is the host's address on an IPv6 underlay.
func outerOf6(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: byte(i)}), vxlanPort)
}

func outerOf4(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), vxlanPort)
}

// macOf is the VTEP MAC of host i in a family, as its lease would say.
func macOf(i, family int) tunnel.MAC { return tunnel.MAC{2, byte(family), 0, 0, 0, byte(i)} }

// vxlanHop leads to host i in the family: flannel's IPv4 subnets are reached over IPv4, its IPv6 ones
// over IPv6, each at its own MAC.
func vxlanHop(i, family int) *routes.Hop {
	hop := &routes.Hop{Outer: outerOf4(i), Encapsulation: routes.EncapVXLAN, VNI: testVNI, VTEPMAC: macOf(i, family)}
	if family == 6 {
		hop.Outer = outerOf6(i)
	}
	return hop
}

// vxlanRoutes are host i's to the other two.
func vxlanRoutes(i int, change ...func(*routes.Hop)) (all []routes.Route) {
	for j := 1; j <= 3; j++ {
		if j == i {
			continue
		}
		hop4, hop6 := vxlanHop(j, 4), vxlanHop(j, 6)
		for _, c := range change {
			c(hop4)
			c(hop6)
		}
		all = append(all, routes.Route{Subnet: subnet4(j), Hop: hop4}, routes.Route{Subnet: subnet6(j), Hop: hop6})
	}
	return all
}

// startVXLAN makes host i with a VXLAN socket of each family.
func startVXLAN(t *testing.T, wire *tunneltest.Wire, i int, all []routes.Route) *host {
	t.Helper()
	return start(t, wire, spec{index: i, outers: []netip.AddrPort{outerOf4(i), outerOf6(i)}, routes: all, change: speakVXLAN(i)})
}

func speakVXLAN(i int) func(*forwarder.Config) {
	return func(c *forwarder.Config) {
		w := &c.Workers[0]
		w.VXLAN, w.Conns = w.Conns, nil
		c.VXLAN = forwarder.VXLAN{VNI: testVNI, MAC4: macOf(i, 4), MAC6: macOf(i, 6)}
	}
}

func vxlanPair(t *testing.T, change ...func(*routes.Hop)) (a, b *host, wire *tunneltest.Wire) {
	wire = tunneltest.NewWire()
	return startVXLAN(t, wire, 1, vxlanRoutes(1, change...)), startVXLAN(t, wire, 2, vxlanRoutes(2, change...)), wire
}

// framed puts a frame from host A to B around data.
func framed(family int, data []byte, change ...func(*tunnel.VXLAN)) []byte {
	v := tunnel.VXLAN{VNI: testVNI, Dst: macOf(2, family), Src: macOf(1, family), EtherType: tunnel.EtherTypeIPv4}
	if family == 6 {
		v.EtherType = tunnel.EtherTypeIPv6
	}
	for _, c := range change {
		c(&v)
	}
	b := append(make([]byte, tunnel.VXLANHeaderLen), data...)
	v.Put(b, &tunnel.GSO{ChecksumStart: 20, ChecksumOffset: 16}) // of TCP over IPv4, if asked for
	return b
}

func TestVXLANCarriesPackets(t *testing.T) {
	a, b, _ := vxlanPair(t)
	for _, flow := range []tunneltest.Flow{flowAB, flowAB6} {
		want := flow.UDP([]byte("there"))
		a.device.Send(ordinary(want))
		if got := b.device.Receive(t); !bytes.Equal(got.Data, want) {
			t.Errorf("got\n%x, want\n%x", got.Data, want)
		}
		back := flow.Reverse().TCP(1, []byte("and back"))
		b.device.Send(tunneltest.Partial(slices.Clone(back))) // completed on the way
		if got := a.device.Receive(t); !bytes.Equal(got.Data, back) {
			t.Errorf("got\n%x, want\n%x", got.Data, back)
		}
	}
	wantDrops(t, a, nil)
	wantDrops(t, b, nil)
}

// TestVXLANOnTheWire looks at the datagrams: headers of both families, complete inner checksums.
func TestVXLANOnTheWire(t *testing.T) {
	wire := tunneltest.NewWire()
	a := startVXLAN(t, wire, 1, vxlanRoutes(1))
	for family, flow := range map[int]tunneltest.Flow{4: flowAB, 6: flowAB6} {
		outer := vxlanHop(2, family).Outer
		receiver, err := wire.Listen(outer)
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		headers := len(flow.TCP(0, nil))
		a.device.Send(tunneltest.Superpacket(flow, 1, make([]byte, 3*1000+1), 1000))
		for segment := range 4 {
			in := make([]tunnel.Datagram, 1)
			if _, err := receiver.ReadBatch(in); err != nil {
				t.Fatal(err)
			}
			size := []int{1000, 1000, 1000, 1}[segment]
			inner := in[0].Payload[tunnel.VXLANHeaderLen:]
			if want := framed(family, inner); !bytes.Equal(in[0].Payload, want) || !tunneltest.Valid(inner) || len(inner) != headers+size {
				t.Errorf("IPv%d, segment %d: header % x, %d bytes, want % x, %d", family, segment,
					in[0].Payload[:tunnel.VXLANHeaderLen], len(inner), want[:tunnel.VXLANHeaderLen], headers+size)
			}
		}
	}
}

// TestVXLANLeavesChecksumsWhereBothAgree sends to a peer that has RCO in its lease, and to none that hasn't.
func TestVXLANLeavesChecksumsWhereBothAgree(t *testing.T) {
	a, b, wire := vxlanPair(t, func(h *routes.Hop) { h.RemoteSums = true })
	for _, flow := range []tunneltest.Flow{flowAB, flowAB6} {
		a.device.Send(tunneltest.Superpacket(flow, 1, make([]byte, 3000), 1000))
		for range 3 {
			p := b.device.Receive(t)
			if !p.GSO.PartialChecksum || tunneltest.Valid(p.Data) {
				t.Fatal("a segment arrived with its checksum computed")
			}
			if tunnel.FinishChecksum(&p); !tunneltest.Valid(p.Data) {
				t.Fatal("a segment's partial checksum doesn't finish to a valid one")
			}
		}
	}
	wantDrops(t, b, nil)

	c := startVXLAN(t, wire, 3, vxlanRoutes(3))
	remote := framed(4, tunneltest.Partial(tunneltest.Flow{Src: atA, Dst: atC}.TCP(1, nil)).Data,
		func(v *tunnel.VXLAN) { v.RemoteSum, v.Dst = true, macOf(3, 4) })
	wire.Inject(outerOf4(1), outerOf4(3), remote)
	wantDrops(t, c, map[forwarder.Reason]uint64{forwarder.Malformed: 1})
}

// TestVXLANSuperpacketFromAKernelStaysWhole plays the kernel peer over a veth.
func TestVXLANSuperpacketFromAKernelStaysWhole(t *testing.T) {
	_, b, wire := vxlanPair(t)
	super := tunneltest.Superpacket(flowAB, 1, make([]byte, 64_000), 1300)
	for _, hint := range []int{0, 1300} {
		wire.InjectTrain(outerOf4(1), outerOf4(2), framed(4, super.Data), hint)
		got := b.device.Receive(t)
		if !bytes.Equal(got.Data, super.Data) || got.GSO.Kind != tunnel.GSOTCP4 || !got.GSO.PartialChecksum {
			t.Errorf("hint %d: %d bytes arrived as %d, GSO %+v", hint, len(super.Data), len(got.Data), got.GSO)
		}
	}
}

// TestTheSourcePortTellsASocketFromADevice, at every datagram, since peers switch.
func TestTheSourcePortTellsASocketFromADevice(t *testing.T) {
	all := vxlanRoutes(2)
	wire := tunneltest.NewWire()
	startVXLAN(t, wire, 1, vxlanRoutes(1))
	b := startVXLAN(t, wire, 2, all)
	hop := all[0].Hop // the IPv4 way to host 1
	for _, port := range []uint16{40000, vxlanPort, vxlanPort, 60999, 61440, 40000, vxlanPort, 65535} {
		wire.Inject(netip.AddrPortFrom(outerOf4(1).Addr(), port), outerOf4(2), framed(4, flowAB.UDP([]byte("there"))))
		b.device.Receive(t)
		if got := hop.FromSocket.Load(); got != (port == vxlanPort || port > 60999) { // lanes' ports, too
			t.Errorf("from port %d: a socket's %v", port, got)
		}
	}
}

func TestVXLANTrainIsTakenApart(t *testing.T) {
	_, b, wire := vxlanPair(t)
	var train []byte
	var want [][]byte
	for i := range 10 {
		p := flowAB.UDP(bytes.Repeat([]byte{byte(i)}, 500))
		train, want = append(train, framed(4, p)...), append(want, p)
	}
	wire.InjectTrain(outerOf4(1), outerOf4(2), train, len(train)/10)
	for i := range want {
		if got := b.device.Receive(t); !bytes.Equal(got.Data, want[i]) {
			t.Fatalf("packet %d: got\n%x, want\n%x", i, got.Data, want[i])
		}
	}
}

func TestEthernetPaddingComesOff(t *testing.T) {
	_, b, wire := vxlanPair(t)
	want := flowAB.UDP(nil)
	wire.Inject(outerOf4(1), outerOf4(2), framed(4, append(slices.Clone(want), make([]byte, 18)...)))
	if got := b.device.Receive(t); !bytes.Equal(got.Data, want) {
		t.Errorf("got\n%x, want\n%x", got.Data, want)
	}
}

// TestVXLANRefused injects one bad frame at a time, a good one behind it.
func TestVXLANRefused(t *testing.T) {
	good, good6 := flowAB.UDP([]byte("good")), flowAB6.UDP(nil)
	to := func(mac tunnel.MAC) func(*tunnel.VXLAN) { return func(v *tunnel.VXLAN) { v.Dst = mac } }
	etherType := func(n uint16) func(*tunnel.VXLAN) { return func(v *tunnel.VXLAN) { v.EtherType = n } }
	group := func(last byte) func(*tunnel.VXLAN) { return to(tunnel.MAC{0x33, 0x33, 0, 0, 0, last}) }
	everyone := to(tunnel.MAC{255, 255, 255, 255, 255, 255})
	solicitation := slices.Clone(good6)
	solicitation[6], solicitation[40] = 58, 133
	for _, test := range []struct {
		name   string
		reason forwarder.Reason
		from   netip.AddrPort // host A unless set
		data   []byte
	}{
		{name: "headerless", reason: forwarder.Malformed, data: good},
		{name: "nothing in it", reason: forwarder.Malformed, data: framed(4, good)[:tunnel.VXLANHeaderLen]},
		{name: "flags of another extension", reason: forwarder.Malformed, data: with(framed(4, good), 0, 0x0c)},
		{name: "another network", reason: forwarder.BadVNI, data: framed(4, good, func(v *tunnel.VXLAN) { v.VNI = 2 })},
		{name: "another host's MAC", reason: forwarder.BadMAC, data: framed(4, good, to(macOf(3, 4)))},
		{name: "the other family's MAC", reason: forwarder.BadMAC, data: framed(4, good, to(macOf(2, 6)))},
		{name: "our MAC over the other family", reason: forwarder.BadMAC, from: outerOf6(1), data: framed(4, good)},
		{name: "everyone", reason: forwarder.Broadcast, data: framed(4, good, everyone)},
		{name: "multicast", reason: forwarder.Broadcast, data: framed(6, good6, group(0xfb))},
		{name: "router solicitation", reason: forwarder.RouterSolicit, data: framed(6, solicitation, to(tunnel.MAC{0x33, 0x33, 5: 2})), from: outerOf6(1)},
		{name: "another protocol", reason: forwarder.UnknownProtocol, data: framed(4, good, etherType(0x88cc))},
		{name: "another protocol to everyone", reason: forwarder.Broadcast, data: framed(4, good, etherType(0x88cc), everyone)},
		{name: "IPv6 that is IPv4", reason: forwarder.Malformed, data: framed(4, good, etherType(tunnel.EtherTypeIPv6))},
		{name: "IPv4 that is IPv6", reason: forwarder.Malformed, data: framed(6, good6, to(macOf(2, 4)), etherType(tunnel.EtherTypeIPv4))},
		{name: "packet longer than its frame", reason: forwarder.Malformed, data: framed(4, good)[:tunnel.VXLANHeaderLen+30]},
		{name: "a stranger", reason: forwarder.UnknownPeer, from: stranger, data: framed(4, good)},
		{name: "a stranger in another network", reason: forwarder.UnknownPeer, from: stranger, data: framed(4, good, func(v *tunnel.VXLAN) { v.VNI = 2 })},
		{name: "another peer's source", reason: forwarder.SpoofedSource, data: framed(4, tunneltest.Flow{Src: atC, Dst: atB}.UDP(nil))},
		{name: "not for us", reason: forwarder.NotLocal, data: framed(4, tunneltest.Flow{Src: atA, Dst: atC}.UDP(nil))},
		{name: "our own source", reason: forwarder.Martian, data: framed(4, tunneltest.Flow{Src: atB, Dst: atB}.UDP(nil))},
		{name: "larger than the MTU and not to be cut", reason: forwarder.TooBig, data: framed(4, flowAB.UDP(make([]byte, 1373)))},
		{name: "ARP for another", reason: forwarder.NotLocal, data: framed(4, arpFor("10.5.1.0", "10.5.2.1"), everyone, etherType(tunnel.EtherTypeARP))},
		{name: "ARP in another's name", reason: forwarder.SpoofedSource, data: framed(4, arpFor("10.5.3.0", "10.5.2.0"), everyone, etherType(tunnel.EtherTypeARP))},
		{name: "ARP of a stranger", reason: forwarder.UnknownPeer, from: stranger, data: framed(4, arpFor("10.5.1.0", "10.5.2.0"), everyone, etherType(tunnel.EtherTypeARP))},
		{name: "ARP reply", reason: forwarder.UnknownProtocol, data: framed(4, with(arpFor("10.5.1.0", "10.5.2.0"), 7, 2), etherType(tunnel.EtherTypeARP))},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, wire := vxlanPair(t)
			from := test.from
			if !from.IsValid() {
				from = outerOf4(1)
			}
			dst := outerOf4(2)
			if from.Addr().Is6() {
				dst = outerOf6(2)
			}
			wire.Inject(from, dst, test.data)
			a.device.Send(ordinary(good))
			if got := b.device.Receive(t); !bytes.Equal(got.Data, good) {
				t.Errorf("behind it came\n%x, want\n%x", got.Data, good)
			}
			wantDrops(t, b, map[forwarder.Reason]uint64{test.reason: 1})
			if n := b.Counters().NeighbourAnswers; n != 0 {
				t.Errorf("%d neighbour answers", n)
			}
		})
	}
}

// arpFor is the question of host A's device for the MAC of an address.
func arpFor(asker, target string) []byte {
	b := make([]byte, 28)
	binary.BigEndian.PutUint64(b, 0x0001_0800_0604_0001)
	mac, from, to := macOf(1, 4), netip.MustParseAddr(asker).As4(), netip.MustParseAddr(target).As4()
	copy(b[8:], mac[:])
	copy(b[14:], from[:])
	copy(b[24:], to[:])
	return b
}

// TestARPIsAnswered: by frame to everyone, and by one to our MAC, as a kernel verifies an entry.
func TestARPIsAnswered(t *testing.T) {
	for _, dst := range []tunnel.MAC{{255, 255, 255, 255, 255, 255}, macOf(2, 4)} {
		wire := tunneltest.NewWire()
		b := startVXLAN(t, wire, 2, vxlanRoutes(2))
		asker, err := wire.Listen(outerOf4(1))
		if err != nil {
			t.Fatal(err)
		}
		defer asker.Close()
		entropy := netip.AddrPortFrom(outerOf4(1).Addr(), 50123) // a kernel's source port is a flow's hash
		wire.Inject(entropy, outerOf4(2), framed(4, arpFor("10.5.1.0", "10.5.2.0"),
			func(v *tunnel.VXLAN) { v.EtherType, v.Dst = tunnel.EtherTypeARP, dst }))
		in := make([]tunnel.Datagram, 1)
		if _, err := asker.ReadBatch(in); err != nil {
			t.Fatal(err)
		}
		v, inner, ok := tunnel.ParseVXLAN(in[0].Payload)
		want := tunnel.VXLAN{VNI: testVNI, Dst: macOf(1, 4), Src: macOf(2, 4), EtherType: tunnel.EtherTypeARP}
		if mac := macOf(2, 4); !ok || v != want || inner.Data[7] != 2 || !bytes.Equal(inner.Data[8:14], mac[:]) {
			t.Errorf("answer %+v, %x, %v; want %+v", v, inner.Data, ok, want)
		}
		wantDrops(t, b, nil)
		if err := b.end(); err != nil {
			t.Error(err)
		}
		if n := b.Counters().NeighbourAnswers; n != 1 {
			t.Errorf("%d answers counted, want 1", n)
		}
	}
}

// TestEachPeerIsSentToInItsOwnFormat: host A speaks both formats while its network migrates; B is a VXLAN
// host and C a udp host.
func TestEachPeerIsSentToInItsOwnFormat(t *testing.T) {
	wire := tunneltest.NewWire()
	plain := netip.AddrPortFrom(outerOf4(1).Addr(), outerA.Port())
	udpTo := func(i int) *routes.Hop {
		return &routes.Hop{Outer: netip.AddrPortFrom(outerOf4(i).Addr(), outerA.Port())}
	}
	a := start(t, wire, spec{index: 1, outers: []netip.AddrPort{outerOf4(1), plain},
		routes: []routes.Route{{Subnet: subnet4(2), Hop: vxlanHop(2, 4)}, {Subnet: subnet4(3), Hop: udpTo(3)}},
		change: func(c *forwarder.Config) {
			w := &c.Workers[0]
			w.VXLAN, w.Conns = w.Conns[:1:1], w.Conns[1:]
			c.VXLAN = forwarder.VXLAN{VNI: testVNI, MAC4: macOf(1, 4)}
		}})
	b := start(t, wire, spec{index: 2, outers: []netip.AddrPort{outerOf4(2)}, change: speakVXLAN4(2),
		routes: []routes.Route{{Subnet: subnet4(1), Hop: vxlanHop(1, 4)}}})
	c := start(t, wire, spec{index: 3, outers: []netip.AddrPort{netip.AddrPortFrom(outerOf4(3).Addr(), outerA.Port())},
		routes: []routes.Route{{Subnet: subnet4(1), Hop: udpTo(1)}}})
	for _, peer := range []struct {
		host *host
		addr netip.AddrPort
	}{{b, atB}, {c, atC}} {
		flow := tunneltest.Flow{Src: atA, Dst: peer.addr}
		there, back := flow.UDP([]byte("there")), flow.Reverse().UDP([]byte("back"))
		a.device.Send(ordinary(there))
		if got := peer.host.device.Receive(t); !bytes.Equal(got.Data, there) {
			t.Errorf("%v got\n%x, want\n%x", peer.addr, got.Data, there)
		}
		peer.host.device.Send(ordinary(back))
		if got := a.device.Receive(t); !bytes.Equal(got.Data, back) {
			t.Errorf("from %v came\n%x, want\n%x", peer.addr, got.Data, back)
		}
	}
	for _, h := range []*host{a, b, c} {
		wantDrops(t, h, nil)
	}
}

func speakVXLAN4(i int) func(*forwarder.Config) {
	return func(c *forwarder.Config) {
		speakVXLAN(i)(c)
		c.VXLAN.MAC6 = tunnel.MAC{}
	}
}

// TestVXLANPathThatShrinks: the hop's MTU leaves room for all of VXLAN's headers, and fragments carry them.
func TestVXLANPathThatShrinks(t *testing.T) {
	a, b, _ := vxlanPair(t)
	a.conns[0].SetPathMTU(1300)
	const room = 1300 - 50
	big := flowAB.UDP(make([]byte, testMTU-28))
	a.device.Send(ordinary(big))
	icmp := a.device.Receive(t).Data[20:]
	if icmp[0] != 3 || icmp[1] != 4 || binary.BigEndian.Uint16(icmp[6:]) != room {
		t.Errorf("answer %x, want fragmentation needed with %d", icmp[:8], room)
	}
	fits := flowAB.UDP(make([]byte, room-28))
	a.device.Send(ordinary(fits))
	if got := b.device.Receive(t); !bytes.Equal(got.Data, fits) {
		t.Errorf("a packet that just fits arrived as\n%x", got.Data)
	}
	a.device.Send(tunneltest.Superpacket(flowAB, 1, make([]byte, 3*(testMTU-40)), testMTU-40))
	for got := 0; got < 3*(testMTU-40); {
		p := b.device.Receive(t)
		if !tunneltest.Valid(p.Data) || len(p.Data) > room {
			t.Fatalf("a segment of %d bytes came over a path for %d", len(p.Data), room)
		}
		got += len(p.Data) - 40
	}
	willing := with(big, 6, 0, 0, 64, 17, 0, 0)
	binary.BigEndian.PutUint16(willing[10:], tunneltest.Checksum(willing[:20]))
	a.device.Send(ordinary(willing))
	first, second := b.device.Receive(t).Data, b.device.Receive(t).Data
	if joined := append(slices.Clone(first[20:]), second[20:]...); !bytes.Equal(joined, willing[20:]) {
		t.Errorf("fragments of %d and %d bytes don't add up", len(first), len(second))
	}
}
