package forwarder

import (
	"net/netip"
	"slices"
	"testing"

	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// A loop is a queue that hands out the same packets for ever and takes any. Unlike the Device in
// tunneltest it neither copies nor allocates, so that what is measured is the forwarder.
type loop struct {
	packets []tunnel.Packet
	taken   int
	last    []tunnel.Packet
}

func (l *loop) ReadBatch(packets []tunnel.Packet) (int, error) { return copy(packets, l.packets), nil }
func (l *loop) WriteBatch(packets []tunnel.Packet) (int, error) {
	l.taken += len(packets)
	l.last = packets
	return len(packets), nil
}
func (*loop) Offloads() tunnel.Offloads { return tunnel.Offloads{} }
func (*loop) Close() error              { return nil }

// A sink is a conn that hands out the same datagrams for ever and takes any.
type sink struct {
	datagrams []tunnel.Datagram
	taken     int
	local     netip.AddrPort
}

func (s *sink) ReadBatch(in []tunnel.Datagram) (int, error) { return copy(in, s.datagrams), nil }
func (s *sink) WriteBatch(out []tunnel.Datagram) (int, error) {
	s.taken += len(out)
	return len(out), nil
}
func (s *sink) LocalAddr() netip.AddrPort { return s.local }
func (*sink) Offloads() tunnel.Offloads   { return tunnel.Offloads{} }
func (*sink) Close() error                { return nil }

var (
	own4, peer4 = netip.MustParsePrefix("10.5.1.0/24"), netip.MustParsePrefix("10.5.2.0/24")
	own6, peer6 = netip.MustParsePrefix("fd05:0:0:1::/64"), netip.MustParsePrefix("fd05:0:0:2::/64")
	peerOuter   = netip.MustParseAddrPort("192.0.2.2:8285")
	out4        = tunneltest.Flow{Src: netip.MustParseAddrPort("10.5.1.10:1000"), Dst: netip.MustParseAddrPort("10.5.2.20:2000")}
	out6        = tunneltest.Flow{Src: netip.MustParseAddrPort("[fd05:0:0:1::10]:1000"), Dst: netip.MustParseAddrPort("[fd05:0:0:2::20]:2000")}
)

// oneWorker returns the worker of a host over a loop and a sink, with one peer.
func oneWorker(t testing.TB, packets []tunnel.Packet, datagrams []tunnel.Datagram, conns int) (*worker, *Forwarder, *loop, *sink) {
	return workerTo(t, routes.EncapUDP, packets, datagrams, conns)
}

var ownMAC, peerMAC = tunnel.MAC{2, 0, 0, 0, 0, 1}, tunnel.MAC{2, 0, 0, 0, 0, 2}

// workerTo is oneWorker with a peer of any encapsulation.
func workerTo(t testing.TB, encap routes.Encapsulation, packets []tunnel.Packet, datagrams []tunnel.Datagram, conns int) (*worker, *Forwarder, *loop, *sink) {
	t.Helper()
	hop := &routes.Hop{Outer: peerOuter, Encapsulation: encap, VNI: 1, VTEPMAC: peerMAC}
	table, err := routes.New(routes.Layout{
		Network: netip.MustParsePrefix("10.5.0.0/16"), SubnetLen: 24, Local: []netip.Prefix{own4, own6},
	}, []routes.Route{{Subnet: peer4, Hop: hop}, {Subnet: peer6, Hop: hop}})
	if err != nil {
		t.Fatal(err)
	}
	var live routes.Live
	live.Publish(table)
	l, s := &loop{packets: packets}, &sink{datagrams: datagrams, local: netip.MustParseAddrPort("192.0.2.1:8285")}
	spec := Worker{Queue: l}
	for range conns {
		if encap == routes.EncapVXLAN {
			spec.VXLAN = append(spec.VXLAN, s)
		} else {
			spec.Conns = append(spec.Conns, s)
		}
	}
	f, err := New(Config{
		Workers: []Worker{spec}, Routes: &live, MTU: 1400,
		Addr4: own4.Addr(), Addr6: own6.Addr(), VXLAN: VXLAN{VNI: 1, MAC4: ownMAC},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.workers[0], f, l, s
}

// traffic returns a batch of each kind that the data path knows.
func traffic() map[string][]tunnel.Packet {
	small, large := make([]byte, 36), make([]byte, 1344)
	all := map[string][]tunnel.Packet{}
	for range egressBatch {
		all["64 B"] = append(all["64 B"], tunnel.Packet{Data: out4.UDP(small)})
		all["MTU"] = append(all["MTU"], tunnel.Packet{Data: out4.UDP(large)})
		all["MTU, IPv6"] = append(all["MTU, IPv6"], tunnel.Packet{Data: out6.UDP(large)})
	}
	for range 8 {
		all["superpackets"] = append(all["superpackets"], tunneltest.Superpacket(out4, 1, make([]byte, 60_000), 1360))
	}
	return all
}

// arriving turns packets into what comes from the peer.
func arriving(packets []tunnel.Packet) (in []tunnel.Datagram) {
	for _, p := range packets {
		flow := out4.Reverse()
		if p.Data[0]>>4 == 6 {
			flow = out6.Reverse()
		}
		data := slices.Clone(p.Data)
		src, dst := flow.Src.Addr().AsSlice(), flow.Dst.Addr().AsSlice()
		copy(data[len(flow.UDP(nil))-8-2*len(src):], src)
		copy(data[len(flow.UDP(nil))-8-len(src):], dst)
		in = append(in, tunnel.Datagram{Addr: peerOuter, Payload: data})
	}
	return in
}

// arrivingFor is arriving in a peer's encapsulation.
func arrivingFor(encap routes.Encapsulation, packets []tunnel.Packet) []tunnel.Datagram {
	in := arriving(packets)
	if encap != routes.EncapVXLAN {
		return in
	}
	for i := range in {
		v := tunnel.VXLAN{VNI: 1, Dst: ownMAC, Src: peerMAC, EtherType: tunnel.EtherTypeIPv4}
		if in[i].Payload[0]>>4 == 6 {
			v.EtherType = tunnel.EtherTypeIPv6
		}
		in[i].Payload = append(make([]byte, tunnel.VXLANHeaderLen), in[i].Payload...)
		v.Put(in[i].Payload, nil)
	}
	return in
}

func TestForwardingAllocatesNothing(t *testing.T) {
	for name, encap := range formatNames {
		t.Run(name, func(t *testing.T) { testAllocations(t, encap) })
	}
}

// formatNames are the formats that datagrams come in.
var formatNames = map[string]routes.Encapsulation{"udp": routes.EncapUDP, "VXLAN": routes.EncapVXLAN}

func testAllocations(t *testing.T, encap routes.Encapsulation) {
	for name, packets := range traffic() {
		t.Run(name, func(t *testing.T) {
			for _, conns := range []int{1, 4} {
				w, f, l, s := workerTo(t, encap, packets, arrivingFor(encap, packets), conns)
				for _, direction := range []struct {
					name  string
					batch func() error
				}{{"out", w.egress.batch}, {"in", w.ingress[0].batch}} {
					if err := direction.batch(); err != nil { // lets slices grow
						t.Fatal(err)
					}
					allocs := testing.AllocsPerRun(20, func() {
						if err := direction.batch(); err != nil {
							t.Fatal(err)
						}
					})
					if allocs != 0 {
						t.Errorf("%s, %d conns: %v allocations a batch of %d", direction.name, conns, allocs, len(packets))
					}
				}
				if s.taken == 0 || l.taken == 0 {
					t.Errorf("nothing was forwarded: %d out, %d in, %v", s.taken, l.taken, f.Counters().Drops)
				}
			}
		})
	}
}

func BenchmarkEgress(b *testing.B) { benchmark(b, routes.EncapUDP, true) }

func BenchmarkIngress(b *testing.B) { benchmark(b, routes.EncapUDP, false) }

func BenchmarkEgressVXLAN(b *testing.B) { benchmark(b, routes.EncapVXLAN, true) }

func BenchmarkIngressVXLAN(b *testing.B) { benchmark(b, routes.EncapVXLAN, false) }

func benchmark(b *testing.B, encap routes.Encapsulation, out bool) {
	for name, packets := range traffic() {
		b.Run(name, func(b *testing.B) {
			w, _, _, _ := workerTo(b, encap, packets, arrivingFor(encap, packets), 1)
			batch, bytes := w.ingress[0].batch, 0
			if out {
				batch = w.egress.batch
			}
			for _, p := range packets {
				bytes += len(p.Data)
			}
			b.SetBytes(int64(bytes))
			b.ReportAllocs()
			for b.Loop() {
				if err := batch(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(packets)), "ns/packet")
		})
	}
}

// FuzzIngress holds the promise of ingress against any bytes from a peer: each datagram is counted
// once, and what reaches the device is a whole packet from the peer's subnet to ours.
func FuzzIngress(f *testing.F) {
	for _, seed := range [][]byte{
		out4.Reverse().UDP([]byte("x")), out6.Reverse().UDP([]byte("x")), out4.Reverse().TCP(1, make([]byte, 3000)),
		append([]byte{0, 4, 0, 0}, out4.Reverse().UDP(nil)...), nil, {0x45}, {0x60}, {0},
	} {
		f.Add(seed, 0)
		f.Add(slices.Concat(seed, seed), len(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte, size int) { fuzzIngress(t, routes.EncapUDP, data, size) })
}

// FuzzIngressVXLAN holds the same of frames, where neighbour questions are answered too.
func FuzzIngressVXLAN(f *testing.F) {
	for _, packet := range [][]byte{out4.Reverse().UDP([]byte("x")), out6.Reverse().UDP([]byte("x")), out4.Reverse().TCP(1, make([]byte, 3000))} {
		seed := arrivingFor(routes.EncapVXLAN, []tunnel.Packet{{Data: packet}})[0].Payload
		f.Add(seed, 0)
		f.Add(slices.Concat(seed, seed), len(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte, size int) { fuzzIngress(t, routes.EncapVXLAN, data, size) })
}

func fuzzIngress(t *testing.T, encap routes.Encapsulation, data []byte, size int) {
	if len(data) > 65535 || size < 0 || size > 65535 {
		t.Skip()
	}
	datagrams := []tunnel.Datagram{{Addr: peerOuter, Payload: data, SegmentSize: size}}
	w, fwd, l, _ := workerTo(t, encap, nil, datagrams, 1)
	if err := w.ingress[0].batch(); err != nil {
		t.Fatal(err)
	}
	want := 1
	if size > 0 && size < len(data) && !w.ingress[0].spansAll(data) {
		want = (len(data) + size - 1) / size
	}
	c := fwd.Counters()
	got := int(c.Ingress.Packets + c.NeighbourAnswers + c.Echoes)
	for _, n := range c.Drops {
		got += int(n)
	}
	if got != want {
		t.Errorf("%d packets counted, %d came", got, want)
	}
	for _, p := range l.last {
		checkAdmitted(t, p)
	}
}

func checkAdmitted(t *testing.T, p tunnel.Packet) {
	t.Helper()
	var inner tunnel.Inner
	if !inner.Parse(p.Data) || inner.Len != len(p.Data) {
		t.Fatalf("a malformed packet reached the device: %x", p.Data)
	}
	from, to := peer4, own4
	if inner.V6 {
		from, to = peer6, own6
	}
	if !from.Contains(inner.Src()) || !to.Contains(inner.Dst()) {
		t.Errorf("a packet from %v to %v reached the device", inner.Src(), inner.Dst())
	}
	if len(p.Data) > 1400 && (p.GSO.Kind == tunnel.GSONone || int(p.GSO.HeaderLen)+int(p.GSO.SegmentSize) > 1400) {
		t.Errorf("a packet of %d bytes reached the device, GSO %+v", len(p.Data), p.GSO)
	}
}

// FuzzEgress holds egress against any bytes and metadata from the device: it never panics, and what it
// drops or sends it counts.
func FuzzEgress(f *testing.F) {
	super := tunneltest.Superpacket(out4, 1, make([]byte, 5000), 1000)
	f.Add(super.Data, uint8(super.GSO.Kind), super.GSO.SegmentSize, super.GSO.HeaderLen, true, super.GSO.ChecksumStart, super.GSO.ChecksumOffset, 0)
	f.Add(out6.UDP(nil), uint8(0), uint16(0), uint16(0), false, uint16(0), uint16(0), 600)
	f.Add([]byte{0x45}, uint8(9), uint16(1), uint16(1), false, uint16(1), uint16(1), 100)
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, size, header uint16, partial bool, start, offset uint16, pathMTU int) {
		if len(data) > 65535 || kind > uint8(tunnel.GSOUDP) || pathMTU < 0 {
			t.Skip()
		}
		if partial && kind == 0 && int(start)+int(offset)+2 > len(data) {
			t.Skip() // a queue's promise: the offsets lie inside Data
		}
		p := tunnel.Packet{Data: data, GSO: tunnel.GSO{
			Kind: tunnel.GSOKind(kind), SegmentSize: size, HeaderLen: header,
			PartialChecksum: partial, ChecksumStart: start, ChecksumOffset: offset,
		}}
		w, fwd, _, s := oneWorker(t, []tunnel.Packet{p}, nil, 1)
		fwd.workers[0].egress.live.Load().Lookup(peer4.Addr()).SetMTU(pathMTU)
		if err := w.egress.batch(); err != nil {
			t.Fatal(err)
		}
		c := fwd.Counters()
		dropped := 0
		for _, n := range c.Drops {
			dropped += int(n)
		}
		if int(c.Egress.Packets) != s.taken || (s.taken == 0) != (dropped == 1) {
			t.Errorf("%d datagrams sent, %d counted, %d drops", s.taken, c.Egress.Packets, dropped)
		}
	})
}
