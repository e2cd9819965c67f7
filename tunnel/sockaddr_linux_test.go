package tunnel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSockaddrRoundTrip(t *testing.T) {
	var b [sockaddrBytes]byte
	for _, text := range []string{"192.0.2.7:8285", "255.255.255.255:65535", "[2001:db8::1]:8472", "[::1]:1"} {
		want := netip.MustParseAddrPort(text)
		size := map[bool]uint32{true: unix.SizeofSockaddrInet4, false: unix.SizeofSockaddrInet6}[want.Addr().Is4()]
		for i := range b {
			b[i] = 0xee // what an earlier message left
		}
		if got := putSockaddr(&b, &want); got != size {
			t.Errorf("%v: %d bytes, want %d", want, got, size)
		}
		if got := addrOf(&b); got != want {
			t.Errorf("%v came back as %v", want, got)
		}
	}
}

// A link-local peer is sent to through its zone, and comes back without one, as leases name it.
func TestSockaddrZone(t *testing.T) {
	var b [sockaddrBytes]byte
	to := netip.MustParseAddrPort("[fe80::1%1]:8285")
	putSockaddr(&b, &to)
	if b[24]|b[27] != 1 {
		t.Errorf("scope %v, want 1", b[24:28])
	}
	if got := addrOf(&b); got.Addr().Zone() != "" || got.Addr() != to.Addr().WithZone("") {
		t.Errorf("came back as %v", got)
	}
}

func TestSegmentSizeOfControlMessage(t *testing.T) {
	var b [controlBytes]byte
	n := putSegmentSize(b[:], 1472)
	if n != unix.CmsgSpace(2) || segmentSizeOf(b[:n]) != 0 {
		t.Error("a UDP_SEGMENT message was read as UDP_GRO")
	}
	for _, control := range [][]byte{nil, b[:4], make([]byte, controlBytes)} {
		if got := segmentSizeOf(control); got != 0 {
			t.Errorf("segment size %d from control bytes %x", got, control)
		}
	}
}
