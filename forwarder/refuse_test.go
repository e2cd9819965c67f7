package forwarder_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// with returns a copy of packet with the bytes at an offset replaced.
func with(packet []byte, at int, b ...byte) []byte {
	p := slices.Clone(packet)
	copy(p[at:], b)
	return p
}

func flow(src, dst string) tunneltest.Flow {
	return tunneltest.Flow{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// TestRefusedFromTheWire injects what must not come in, one datagram each, into a host under traffic:
// each is dropped and counted under its reason and no other, and the packet behind it arrives.
func TestRefusedFromTheWire(t *testing.T) {
	good := flowAB.UDP([]byte("good"))
	good6 := flowAB6.UDP([]byte("good"))
	for _, test := range []struct {
		name   string
		reason forwarder.Reason
		from   netip.AddrPort // outerA unless set
		data   []byte
	}{
		{name: "unknown outer address", reason: forwarder.UnknownPeer, from: stranger, data: good},
		{name: "rubbish from an unknown outer address", reason: forwarder.UnknownPeer, from: stranger, data: []byte("rubbish")},
		{name: "source in another peer's subnet", reason: forwarder.SpoofedSource, data: tunneltest.Flow{Src: atC, Dst: atB}.UDP(nil)},
		{name: "IPv6 source in another peer's subnet", reason: forwarder.SpoofedSource, data: tunneltest.Flow{Src: atC6, Dst: atB6}.UDP(nil)},
		{name: "source outside the network", reason: forwarder.SpoofedSource, data: flow("8.8.8.8:53", "10.5.2.20:53").UDP(nil)},
		{name: "source of a subnet without a lease", reason: forwarder.SpoofedSource, data: flow("10.5.9.9:1", "10.5.2.20:1").UDP(nil)},
		{name: "own source", reason: forwarder.Martian, data: flow("10.5.2.1:1", "10.5.2.20:1").UDP(nil)},
		{name: "own IPv6 source", reason: forwarder.Martian, data: flow("[fd05:0:0:2::1]:1", "[fd05:0:0:2::20]:1").UDP(nil)},
		{name: "loopback source", reason: forwarder.Martian, data: flow("127.0.0.1:1", "10.5.2.20:1").UDP(nil)},
		{name: "unspecified source", reason: forwarder.Martian, data: flow("0.0.0.0:1", "10.5.2.20:1").UDP(nil)},
		{name: "multicast source", reason: forwarder.Martian, data: flow("224.0.0.1:1", "10.5.2.20:1").UDP(nil)},
		{name: "IPv6 loopback source", reason: forwarder.Martian, data: flow("[::1]:1", "[fd05:0:0:2::20]:1").UDP(nil)},
		{name: "multicast destination", reason: forwarder.Martian, data: flow("10.5.1.10:1", "224.0.0.251:5353").UDP(nil)},
		{name: "broadcast destination", reason: forwarder.Martian, data: flow("10.5.1.10:1", "255.255.255.255:67").UDP(nil)},
		{name: "IPv6 multicast destination", reason: forwarder.Martian, data: flow("[fd05:0:0:1::10]:1", "[ff02::1]:1").UDP(nil)},
		{name: "destination in another peer's subnet", reason: forwarder.NotLocal, data: tunneltest.Flow{Src: atA, Dst: atC}.UDP(nil)},
		{name: "IPv6 destination in another peer's subnet", reason: forwarder.NotLocal, data: tunneltest.Flow{Src: atA6, Dst: atC6}.UDP(nil)},
		{name: "destination outside the network", reason: forwarder.NotLocal, data: flow("10.5.1.10:1", "8.8.8.8:53").UDP(nil)},
		{name: "underlay address of a peer", reason: forwarder.Recursion, data: flow("10.5.1.10:1", "192.0.2.3:8285").UDP(nil)},
		{name: "empty", reason: forwarder.Malformed, data: nil},
		{name: "one byte", reason: forwarder.Malformed, data: []byte{0x45}},
		{name: "truncated header", reason: forwarder.Malformed, data: good[:19]},
		{name: "truncated", reason: forwarder.Malformed, data: good[:len(good)-1]},
		{name: "bytes behind the packet", reason: forwarder.Malformed, data: append(slices.Clone(good), 0)},
		{name: "version 5", reason: forwarder.Malformed, data: with(good, 0, 0x55)},
		{name: "version 15", reason: forwarder.Malformed, data: with(good, 0, 0xf5)},
		{name: "IHL 4", reason: forwarder.Malformed, data: with(good, 0, 0x44)},
		{name: "IHL past the packet", reason: forwarder.Malformed, data: with(good, 0, 0x4f)},
		{name: "total length smaller than the header", reason: forwarder.Malformed, data: with(good, 2, 0, 19)},
		{name: "IPv6 rubbish", reason: forwarder.Malformed, data: bytes.Repeat([]byte{0x66}, 50)},
		{name: "IPv6 truncated header", reason: forwarder.Malformed, data: good6[:39]},
		{name: "IPv6 payload length too large", reason: forwarder.Malformed, data: with(good6, 4, 0xff, 0xff)},
		{name: "IPv6 jumbogram", reason: forwarder.Malformed, data: with(good6, 4, 0, 0)},
		{name: "GUE control message", reason: forwarder.Malformed, data: append([]byte{0x20, 4, 0, 0}, good...)},
		{name: "GUE with an unknown option", reason: forwarder.Malformed, data: append([]byte{0x01, 4, 0x80, 0, 0, 0, 0, 0}, good...)},
		{name: "GUE around nothing", reason: forwarder.Malformed, data: []byte{0, 4, 0, 0}},
		{name: "GUE around a foreign source", reason: forwarder.SpoofedSource,
			data: append([]byte{0, 4, 0, 0}, tunneltest.Flow{Src: atC, Dst: atB}.UDP(nil)...)},
		{name: "larger than the MTU and not to be cut", reason: forwarder.TooBig, data: flowAB.UDP(make([]byte, 1373))},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, wire := pair(t, routes.EncapUDP)
			from := test.from
			if !from.IsValid() {
				from = outerA
			}
			wire.Inject(from, outerB, test.data)
			a.device.Send(ordinary(good))
			if got := b.device.Receive(t); !bytes.Equal(got.Data, good) {
				t.Errorf("behind it came\n%x, want\n%x", got.Data, good)
			}
			wantDrops(t, b, map[forwarder.Reason]uint64{test.reason: 1})
		})
	}
}

// TestRefusedFromTheDevice is its counterpart for packets out of the TUN device, and says which are
// answered with ICMP.
func TestRefusedFromTheDevice(t *testing.T) {
	for _, test := range []struct {
		name   string
		reason forwarder.Reason
		data   []byte
		icmp   []byte // type and code; nil: silence
	}{
		{name: "no lease has it", reason: forwarder.NoRoute, data: flow("10.5.1.10:1", "10.5.9.9:1").UDP(nil), icmp: []byte{3, 0}},
		{name: "outside the network", reason: forwarder.NoRoute, data: flow("10.5.1.10:1", "8.8.8.8:1").UDP(nil), icmp: []byte{3, 0}},
		{name: "no lease has it, IPv6", reason: forwarder.NoRoute, data: flow("[fd05:0:0:1::10]:1", "[fd05:0:0:9::9]:1").UDP(nil), icmp: []byte{1, 0}},
		{name: "underlay address of a peer", reason: forwarder.Recursion, data: flow("10.5.1.10:1", "192.0.2.2:8285").UDP(nil)},
		{name: "multicast", reason: forwarder.Martian, data: flow("10.5.1.10:1", "224.0.0.251:5353").UDP(nil)},
		{name: "router solicitation", reason: forwarder.Martian, data: flow("[fe80::1]:1", "[ff02::2]:1").UDP(nil)},
		{name: "broadcast", reason: forwarder.Martian, data: flow("10.5.1.10:1", "255.255.255.255:1").UDP(nil)},
		{name: "no source", reason: forwarder.Martian, data: flow("0.0.0.0:68", "10.5.2.20:67").UDP(nil)},
		{name: "truncated", reason: forwarder.Malformed, data: flowAB.UDP(nil)[:27]},
		{name: "version 0", reason: forwarder.Malformed, data: with(flowAB.UDP(nil), 0, 0)},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, _ := pair(t, routes.EncapUDP)
			good := flowAB.UDP([]byte("good"))
			a.device.Send(ordinary(test.data), ordinary(good))
			if got := b.device.Receive(t); !bytes.Equal(got.Data, good) {
				t.Errorf("behind it came\n%x, want\n%x", got.Data, good)
			}
			wantDrops(t, a, map[forwarder.Reason]uint64{test.reason: 1})
			wantICMP(t, a, test.data, test.icmp)
		})
	}
}

// wantICMP checks that the host answered packet with an ICMP error of a type and code, and that the
// error is valid and quotes the packet; or, with nil, that it didn't answer.
func wantICMP(t *testing.T, h *host, packet, typeAndCode []byte) []byte {
	t.Helper()
	if typeAndCode == nil {
		if n := h.device.Pending(); n != 0 || h.Counters().ICMPSent != 0 {
			t.Errorf("%d packets, %d ICMP errors in answer, want silence", n, h.Counters().ICMPSent)
		}
		return nil
	}
	got := h.device.Receive(t).Data
	start, src, own := 20, packet[12:16], subnet4(1).Addr().AsSlice()
	from, to := got[12:16], got[16:20]
	if packet[0]>>4 == 6 {
		start, src, own = 40, packet[8:24], subnet6(1).Addr().AsSlice()
		from, to = got[8:24], got[24:40]
	}
	if !bytes.Equal(from, own) || !bytes.Equal(to, src) {
		t.Errorf("the answer goes from %x to %x, want from %x to %x", from, to, own, src)
	}
	if !bytes.Equal(got[start:start+2], typeAndCode) || !bytes.HasPrefix(packet, got[start+8:]) || len(got) < start+8+28 {
		t.Errorf("answer %x is not type and code %v about %x", got, typeAndCode, packet)
	}
	if h.Counters().ICMPSent != 1 {
		t.Errorf("%d ICMP errors counted, want 1", h.Counters().ICMPSent)
	}
	return got[start:]
}

func TestRecursionInsideARoutedSubnet(t *testing.T) {
	wire := tunneltest.NewWire()
	inside := netip.MustParseAddrPort("10.5.2.99:8285") // a peer whose underlay address lies in B's subnet
	a := start(t, wire, spec{index: 1, outers: []netip.AddrPort{outerA}, routes: []routes.Route{
		{Subnet: subnet4(2), Hop: &routes.Hop{Outer: outerB}},
		{Subnet: subnet4(3), Hop: &routes.Hop{Outer: inside}},
	}})
	a.device.Send(ordinary(flow("10.5.1.10:1", "10.5.2.99:8285").UDP(nil)))
	wantDrops(t, a, map[forwarder.Reason]uint64{forwarder.Recursion: 1})
}

func TestHopInAFamilyWithoutAConn(t *testing.T) {
	wire := tunneltest.NewWire()
	a := start(t, wire, spec{index: 1, outers: []netip.AddrPort{outerA}, routes: []routes.Route{
		{Subnet: subnet4(2), Hop: &routes.Hop{Outer: netip.MustParseAddrPort("[2001:db8::2]:8285")}},
	}})
	a.device.Send(ordinary(flowAB.UDP(nil)))
	wantDrops(t, a, map[forwarder.Reason]uint64{forwarder.NoConn: 1})
}

func TestHopWithAnEncapsulationWeDoNotWrite(t *testing.T) {
	a, _, _ := pair(t, routes.EncapIPIP)
	a.device.Send(ordinary(flowAB6.UDP(nil)), ordinary(flowAB.UDP(nil)))
	// Protocol 4 carries IPv4 only, and for that a raw socket is needed.
	wantDrops(t, a, map[forwarder.Reason]uint64{forwarder.UnknownEncap: 1, forwarder.NoConn: 1})
}

func TestDeviceThatIsDown(t *testing.T) {
	_, b, wire := pair(t, routes.EncapUDP)
	b.device.SetDown(true)
	wire.Inject(outerA, outerB, flowAB.UDP(nil))
	wantDrops(t, b, map[forwarder.Reason]uint64{forwarder.QueueFull: 1})
}

// TestSendErrorsAreCountedByPeer has the network refuse single datagrams for reasons that must not end
// forwarding, nor hurt the peer next door.
func TestSendErrorsAreCountedByPeer(t *testing.T) {
	a, b, _ := pair(t, routes.EncapUDP)
	errnos := []syscall.Errno{syscall.EPERM, syscall.EPERM, syscall.ECONNREFUSED, syscall.ENOBUFS, syscall.EHOSTUNREACH}
	next := 0
	a.conns[0].SetFault(func(d *tunnel.Datagram) syscall.Errno {
		if d.Addr != outerC {
			return 0
		}
		next++
		return errnos[next-1]
	})
	good := flowAB.UDP([]byte("good"))
	for range errnos {
		a.device.Send(ordinary(tunneltest.Flow{Src: atA, Dst: atC}.UDP(nil)), ordinary(good))
		b.device.Receive(t)
	}
	wantDrops(t, a, map[forwarder.Reason]uint64{forwarder.SocketError: uint64(len(errnos))})
	want := forwarder.PeerErrors{Outer: outerC, Denied: 2, Refused: 1, Full: 1, Other: 1, Last: syscall.EHOSTUNREACH.Error()}
	if peers := a.Counters().Peers; len(peers) != 1 || peers[0] != want {
		t.Errorf("errors %+v, want %+v alone", peers, want)
	}
}

// TestPathThatShrinks sends into a path of 1,300 bytes: the first packet is lost and its sender told,
// the hop is lowered, and what has no DF comes in fragments from then on.
func TestPathThatShrinks(t *testing.T) {
	a, b, _ := pair(t, routes.EncapUDP)
	a.conns[0].SetPathMTU(1300)
	const room = 1300 - 28
	big := flowAB.UDP(bytes.Repeat([]byte("b"), 1372))
	for i, reason := range []string{"learned from EMSGSIZE", "known"} {
		a.device.Send(ordinary(big))
		icmp := a.device.Receive(t).Data[20:]
		if icmp[0] != 3 || icmp[1] != 4 || binary.BigEndian.Uint16(icmp[6:]) != room {
			t.Errorf("%s: answer %x, want fragmentation needed with %d", reason, icmp[:8], room)
		}
		wantDrops(t, a, map[forwarder.Reason]uint64{forwarder.TooBig: uint64(i) + 1})
	}
	if hop := a.live.Load().Lookup(atB.Addr()); hop.MTU() != room {
		t.Errorf("hop's MTU %d, want %d", hop.MTU(), room)
	}
	if e := a.Counters().Peers; len(e) != 1 || e[0].Outer != outerB || e[0].TooBig != 1 {
		t.Errorf("errors %+v, want one EMSGSIZE at %v", e, outerB)
	}

	fits := flowAB.UDP(bytes.Repeat([]byte("f"), room-28))
	a.device.Send(ordinary(fits))
	if got := b.device.Receive(t); !bytes.Equal(got.Data, fits) {
		t.Errorf("a packet that just fits arrived as\n%x", got.Data)
	}

	willing := with(big, 6, 0, 0)
	copy(willing[10:], []byte{0, 0})
	binary.BigEndian.PutUint16(willing[10:], tunneltest.Checksum(willing[:20]))
	a.device.Send(ordinary(willing))
	first, second := b.device.Receive(t).Data, b.device.Receive(t).Data
	if joined := append(slices.Clone(first[20:]), second[20:]...); !bytes.Equal(joined, willing[20:]) {
		t.Errorf("fragments of %d and %d bytes don't add up", len(first), len(second))
	}
}

// TestSuperpacketIntoAShrunkenPath checks that a superpacket counts by its segments' size and is
// answered once.
func TestSuperpacketIntoAShrunkenPath(t *testing.T) {
	a, _, _ := pair(t, routes.EncapUDP)
	a.conns[0].SetPathMTU(1300)
	a.device.Send(tunneltest.Superpacket(flowAB6, 1, make([]byte, 13_400), 1340-20))
	icmp := a.device.Receive(t).Data[40:]
	if icmp[0] != 2 || binary.BigEndian.Uint32(icmp[4:]) != 1280 {
		t.Errorf("answer %x, want packet too big with 1280", icmp[:8])
	}
	wantDrops(t, a, map[forwarder.Reason]uint64{forwarder.TooBig: 10})
	if n := a.Counters().ICMPSent; n != 1 {
		t.Errorf("%d ICMP errors for one superpacket", n)
	}
}
