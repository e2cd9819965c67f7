package forwarder_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// TestUpstream12TTLZeroAndShortPackets: flannel v0.28.9 counts TTL 0 down to 255, so that a looping
// packet lives on, and quotes a short packet in an ICMP error past its end. Here the fabric is one hop
// that leaves the TTL alone, and what is too short to be a packet is answered by nobody.
func TestUpstream12TTLZeroAndShortPackets(t *testing.T) {
	a, b, _ := pair(t, routes.EncapUDP)
	p := flowAB.UDP([]byte("old"))
	binary.BigEndian.PutUint16(p[10:], 0)
	p[8] = 0
	binary.BigEndian.PutUint16(p[10:], tunneltest.Checksum(p[:20]))
	a.device.Send(ordinary(p))
	if got := b.device.Receive(t).Data; got[8] != 0 || !tunneltest.Valid(got) {
		t.Errorf("TTL 0 arrived as %d in %x", got[8], got)
	}

	for family, whole := range map[netip.Addr][]byte{
		netip.MustParseAddr("10.5.1.1"):      flow("10.5.1.10:1", "10.9.9.9:1").UDP(nil),
		netip.MustParseAddr("fd05:0:0:1::1"): flow("[fd05:0:0:1::10]:1", "[fd99::9]:1").UDP(nil),
	} {
		for n := range len(whole) {
			short := slices.Clip(slices.Clone(whole[:n])) // one byte past its end is a panic
			if got := tunnel.AppendNoRoute(nil, family, short); got != nil {
				t.Errorf("%d bytes of a packet were answered with %x", n, got)
			}
			if got := tunnel.AppendTooBig(nil, family, short, 1300); got != nil {
				t.Errorf("%d bytes of a packet were too big: %x", n, got)
			}
			a.device.Send(ordinary(short))
		}
	}
	a.device.Send(ordinary(flowAB.UDP([]byte("still there"))))
	b.device.Receive(t)
	if err := a.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if c := a.Counters(); c.ICMPSent != 0 || c.Drops[forwarder.Malformed.String()] == 0 {
		t.Errorf("%d answers, %d malformed packets", c.ICMPSent, c.Drops[forwarder.Malformed.String()])
	}
}
