package express_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"weft/kernelmode/express"
	"weft/perf/netlab"
	"weft/tunnel"
)

// inner is a UDP packet over IPv4 with one byte.
func inner(src, dst string) []byte {
	p := make([]byte, 29)
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	binary.BigEndian.PutUint16(p[10:], ^onesSum(p[:20]))
	binary.BigEndian.PutUint16(p[24:], 9)
	return p
}

// onesSum is RFC 1071's sum, the slow way.
func onesSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// TestLaneRefuses sends what must not come in, from a peer's address and from a stranger's, and expects each to
// be counted under its name and nowhere else.
func TestLaneRefuses(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane, byLane}})
	to := netip.AddrPortFrom(w.nodes[0].host.Addr, udpPort)
	for _, test := range []struct {
		name   string
		packet []byte
		drop   string
	}{
		{"a byte behind the packet", append(inner("10.5.2.2", "10.5.1.2"), 0), "malformed"},
		{"source loopback", inner("127.0.0.1", "10.5.1.2"), "martian"},
		{"source multicast", inner("224.0.0.1", "10.5.1.2"), "martian"},
		{"our own source", inner("10.5.1.9", "10.5.1.2"), "martian"},
		{"destination multicast", inner("10.5.2.2", "224.0.0.251"), "martian"},
		{"destination broadcast", inner("10.5.2.2", "255.255.255.255"), "martian"},
		{"another peer's source", inner("10.5.3.2", "10.5.1.2"), "spoofed_source"},
		{"a source outside the network", inner("192.0.2.1", "10.5.1.2"), "spoofed_source"},
		{"a source of no lease", inner("10.5.77.2", "10.5.1.2"), "spoofed_source"},
		{"another host's destination", inner("10.5.2.2", "10.5.3.2"), "not_local"},
		{"a peer's outer address", inner("10.5.2.2", w.nodes[2].host.Addr.String()), "recursion"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.nodes[0].expect(t, test.drop, "", func() { send(t, w.nodes[1].host.Namespace, to, test.packet) })
		})
	}
	underlay, _, _ := w.lab.Underlay()
	t.Run("a stranger", func(t *testing.T) {
		w.nodes[0].expect(t, "", "in_unknown_peer", func() { send(t, underlay, to, inner("10.5.2.2", "10.5.1.2")) })
	})
	t.Run("a stranger with nonsense", func(t *testing.T) {
		w.nodes[0].expect(t, "", "in_unknown_peer", func() { send(t, underlay, to, inner("127.0.0.1", "10.5.1.2")) })
	})
	t.Run("GUE", func(t *testing.T) {
		w.nodes[0].expect(t, "", "in_not_plain", func() {
			send(t, w.nodes[1].host.Namespace, to, append([]byte{0, 4, 0, 0}, inner("10.5.2.2", "10.5.1.2")...))
		})
	})
}

// TestLaneRefusesFrames is the same for VXLAN.
func TestLaneRefusesFrames(t *testing.T) {
	w := build(t, spec{encap: express.EncapVXLAN, hosts: []kind{byLane, byLane}})
	to := netip.AddrPortFrom(w.nodes[0].host.Addr, vxlanPort)
	frame := func(change func(*tunnel.VXLAN)) []byte {
		v := tunnel.VXLAN{
			VNI: testVNI, Dst: macOf(w.nodes[0].host, false), Src: macOf(w.nodes[1].host, false), EtherType: tunnel.EtherTypeIPv4,
		}
		change(&v)
		head := make([]byte, tunnel.VXLANHeaderLen)
		v.Put(head, nil)
		return append(head, inner("10.5.2.2", "10.5.1.2")...)
	}
	for _, test := range []struct {
		name       string
		change     func(*tunnel.VXLAN)
		drop, pass string
	}{
		{"another network", func(v *tunnel.VXLAN) { v.VNI++ }, "bad_vni", ""},
		{"another MAC", func(v *tunnel.VXLAN) { v.Dst[5] ^= 0x55 }, "bad_mac", ""},
		{"broadcast", func(v *tunnel.VXLAN) { v.Dst = tunnel.MAC{255, 255, 255, 255, 255, 255} }, "", "in_control"},
		{"ARP", func(v *tunnel.VXLAN) { v.EtherType = tunnel.EtherTypeARP }, "", "in_control"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.nodes[0].expect(t, test.drop, test.pass, func() { send(t, w.nodes[1].host.Namespace, to, frame(test.change)) })
		})
	}
}

// expect runs do and waits until the lane has counted one packet under the names; empty is none.
func (n *node) expect(t *testing.T, drop, pass string, do func()) {
	t.Helper()
	before := n.counters(t)
	do()
	deadline := time.Now().Add(patience)
	after := n.counters(t)
	for ; ; after = n.counters(t) {
		if (drop == "" || after.Drops[drop] > before.Drops[drop]) && (pass == "" || after.Passed[pass] > before.Passed[pass]) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not counted: before %+v, after %+v", before, after)
		}
		time.Sleep(time.Millisecond)
	}
	for name, count := range after.Drops {
		want := before.Drops[name]
		if name == drop {
			want++
		}
		if count != want {
			t.Errorf("%s: %d packets, want %d", name, count, want)
		}
	}
	if after.Ingress != before.Ingress {
		t.Errorf("%d packets came in", after.Ingress.Packets-before.Ingress.Packets)
	}
}

// send sends one datagram out of a namespace.
func send(t *testing.T, from *netlab.Namespace, to netip.AddrPort, payload []byte) {
	t.Helper()
	conn, err := from.Dial(t.Context(), "udp", to.String())
	must(t, err)
	defer conn.Close()
	_, err = conn.(*net.UDPConn).Write(payload)
	must(t, err)
}
