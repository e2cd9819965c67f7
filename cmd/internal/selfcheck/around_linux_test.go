package selfcheck

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// What is asked around the lane has an option in its header, and is answered over both families.
func TestProbeAroundIsNotPlain(t *testing.T) {
	labtest.Need(t)
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "around", Hosts: 2, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	asker, peer := lab.Host(1), lab.Host(2)
	heard := -1
	on(t, peer, func() error {
		if err := addAddrs("lo", "10.5.2.0/32", "fd00:5:0:2::/128"); err != nil {
			return err
		}
		heard, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		return err
	})
	defer unix.Close(heard)
	on(t, asker, func() error {
		return addRoutes("eth0", map[string]netip.Addr{"10.5.2.0/24": peer.Addr, "fd00:5:0:2::/64": peer.Addr6})
	})
	for _, test := range []struct {
		probe       func() Result
		headerWords byte // the low half of an IPv4 packet's first byte
	}{
		{func() Result { return Probe(t.Context(), []Peer{four, six}) }, 5},
		{func() Result { return ProbeAround(t.Context(), []Peer{four, six}) }, 6},
	} {
		var r Result
		on(t, asker, func() error {
			r = test.probe()
			return nil
		})
		if len(r.Answering()) != 2 {
			t.Errorf("with a header of %d words: %+v", test.headerWords, r)
		}
		packet := make([]byte, 1500) // a raw socket has the IPv4 header too
		for n, _, err := unix.Recvfrom(heard, packet, 0); err == nil; n, _, err = unix.Recvfrom(heard, packet, 0) {
			if n == 0 || packet[0] != 4<<4|test.headerWords {
				t.Errorf("a header begins with %#x, want one of %d words", packet[0], test.headerWords)
			}
		}
	}
}
