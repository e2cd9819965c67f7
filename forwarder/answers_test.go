package forwarder

import (
	"testing"
	"testing/synctest"
	"time"

	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// TestAnswersAreLimited sends a flood to nowhere: the first burst is answered, then a thousand a second.
func TestAnswersAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nowhere := tunneltest.Flow{Src: out4.Src, Dst: out4.Src}
		w, f, l, _ := oneWorker(t, []tunnel.Packet{{Data: nowhere.UDP(nil)}}, nil, 1)
		flood := func(n int) {
			for range n {
				if err := w.egress.batch(); err != nil {
					t.Fatal(err)
				}
			}
		}
		flood(500)
		if n := f.Counters().ICMPSent; n != answersBurst || l.taken != answersBurst {
			t.Errorf("%d answers to a flood (%d written), want the burst of %d", n, l.taken, answersBurst)
		}
		// A sender that has yet to learn its path's MTU is not made to wait for that.
		if !w.egress.answers.tooBig(out4.UDP(nil), 1300) {
			t.Error("the flood to nowhere silenced path MTU discovery")
		}
		time.Sleep(10 * time.Millisecond)
		flood(500)
		if n := f.Counters().ICMPSent; n != answersBurst+10 {
			t.Errorf("%d answers after 10 ms more, want %d", n, answersBurst+10)
		}
	})
}

func TestNoAddressNoAnswer(t *testing.T) {
	nowhere := tunneltest.Flow{Src: out6.Src, Dst: out6.Src}
	w, f, l, _ := oneWorker(t, []tunnel.Packet{{Data: nowhere.UDP(nil)}}, nil, 1)
	w.egress.answers.addr6 = own4.Addr()
	if err := w.egress.batch(); err != nil {
		t.Fatal(err)
	}
	if f.Counters().ICMPSent != 0 || l.taken != 0 {
		t.Error("an IPv6 packet was answered without an IPv6 address to answer from")
	}
}

// TestPathOfUnknownMTUGoesDownByPlateaus has a conn that can't say what fits.
func TestPathOfUnknownMTUGoesDownByPlateaus(t *testing.T) {
	var p paths
	hop := &routes.Hop{Outer: peerOuter}
	size := 65507
	for last := 65536; last > minPathMTU-outerHeaders4; {
		mtu := p.lower(&sink{}, hop, size)
		if mtu >= last || mtu != hop.MTU() {
			t.Fatalf("a datagram of %d bytes was over the path MTU, which then went from %d to %d", size, last, mtu)
		}
		last, size = mtu, mtu
	}
	if mtu := p.lower(&sink{}, hop, 100); mtu != minPathMTU-outerHeaders4 {
		t.Errorf("the path MTU went down to %d, below what may be believed", mtu)
	}
}
