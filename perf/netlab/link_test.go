package netlab

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCutAndRestore(t *testing.T) {
	for _, c := range []struct {
		name     string
		topology Topology
	}{{"bridged", Bridged}, {"routed", Routed}} {
		t.Run(c.name, func(t *testing.T) {
			lab := build(t, Config{Hosts: 2, Topology: c.topology})
			a, b := lab.Host(1), lab.Host(2)
			mustEcho(t, a.Namespace, b.Namespace, b.Addr)
			if err := b.Uplink.Cut(); err != nil {
				t.Fatal(err)
			}
			if err := echo(t, a.Namespace, b.Namespace, b.Addr, 64, lost); !isTimeout(err) {
				t.Errorf("across the cut link: %v, want a timeout", err)
			}
			if err := b.Uplink.Restore(); err != nil {
				t.Fatal(err)
			}
			mustEcho(t, a.Namespace, b.Namespace, b.Addr)
		})
	}
}

func TestDirectLinkRefuses(t *testing.T) {
	link := build(t, Config{Hosts: 2, Topology: Direct}).Host(1).Uplink
	if err := link.Cut(); err == nil {
		t.Error("a Direct link was cut")
	}
	if err := link.Impair(Impairment{Loss: 1}); err == nil {
		t.Error("a Direct link was impaired")
	}
}

func TestPathMTU(t *testing.T) {
	const small, overhead = 1400, 28 // IPv4 and UDP headers
	t.Run("routed answers with ICMP", func(t *testing.T) {
		lab := build(t, Config{Hosts: 2, Topology: Routed})
		a, b := lab.Host(1), lab.Host(2)
		if err := b.Uplink.SetPathMTU(small); err != nil {
			t.Fatal(err)
		}
		// Linux sends UDP with DF and remembers the router's answer for the next datagram.
		if err := echo(t, a.Namespace, b.Namespace, b.Addr, 1500-overhead, lost); !isTimeout(err) && !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("too big a packet: %v, want a timeout or EMSGSIZE", err)
		}
		err := a.Do(func() error { return pathMTUIs(b.Addr, small) })
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("bridged loses silently", func(t *testing.T) {
		lab := build(t, Config{Hosts: 2})
		a, b := lab.Host(1), lab.Host(2)
		if err := b.Uplink.SetPathMTU(small); err != nil {
			t.Fatal(err)
		}
		if err := echo(t, a.Namespace, b.Namespace, b.Addr, 1500-overhead, lost); !isTimeout(err) {
			t.Errorf("too big a packet: %v, want a timeout", err)
		}
		if err := echo(t, a.Namespace, b.Namespace, b.Addr, small-overhead, arrives); err != nil {
			t.Errorf("a packet that fits: %v", err)
		}
	})
}

func TestMTUIsLive(t *testing.T) {
	lab := build(t, Config{Hosts: 2})
	a, b := lab.Host(1), lab.Host(2)
	for _, mtu := range []int{9000, 1300} {
		if err := lab.SetMTU(mtu); err != nil {
			t.Fatal(err)
		}
		if err := echo(t, a.Namespace, b.Namespace, b.Addr, mtu-28, arrives); err != nil {
			t.Errorf("%d bytes at that MTU: %v", mtu, err)
		}
		sizes := capture(t, b.Namespace, func() {
			if err := echo(t, a.Namespace, b.Namespace, b.Addr, mtu-28+1, arrives); err != nil {
				t.Errorf("%d bytes, one too many: %v", mtu+1, err)
			}
		})
		if got := sizes.largest(); got > mtu+14 {
			t.Errorf("a frame of %d bytes crossed at MTU %d", got, mtu)
		}
	}
}

func TestSegmentationIsReal(t *testing.T) {
	for _, c := range []struct {
		name string
		real bool
	}{{"segmented", true}, {"whole", false}} {
		t.Run(c.name, func(t *testing.T) {
			lab := build(t, Config{Hosts: 2, Topology: Direct, RealSegmentation: c.real})
			a, b := lab.Host(1), lab.Host(2)
			// GRO would put the segments together again before the capture sees them.
			if err := b.Do(func() error { return setFeatures(hostDevice, map[string]bool{merging: false}) }); err != nil {
				t.Fatal(err)
			}
			sizes := capture(t, b.Namespace, func() { transfer(t, a.Namespace, b, 1<<20) })
			if largest := sizes.largest(); (largest <= 1514) != c.real {
				t.Errorf("largest frame is %d bytes of %d frames", largest, len(sizes))
			}
			if c.real && len(sizes) < 1<<20/1448 {
				t.Errorf("%d frames can't have carried 1 MiB", len(sizes))
			}
		})
	}
}

func TestImpairedLossIsPlausible(t *testing.T) {
	lab := build(t, Config{Hosts: 2})
	a, b := lab.Host(1), lab.Host(2)
	mustEcho(t, a.Namespace, b.Namespace, b.Addr) // neighbours known before packets get lost
	if err := b.Uplink.Impair(Impairment{Loss: 0.2, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	const sent = 2000
	got := stream(t, a.Namespace, b, sent)
	if len(got) < sent*70/100 || len(got) > sent*90/100 {
		t.Errorf("%d of %d packets arrived at 20 %% loss", len(got), sent)
	}
	if c := b.Uplink.Counts(); c.Lost == 0 {
		t.Errorf("counts say %+v", c)
	}
	if err := b.Uplink.Impair(Impairment{}); err != nil {
		t.Fatal(err)
	}
	if got := stream(t, a.Namespace, b, sent); len(got) != sent {
		t.Errorf("%d of %d packets arrived after the impairment was lifted", len(got), sent)
	}
}

func TestImpairedOrderAndCopies(t *testing.T) {
	lab := build(t, Config{Hosts: 2, Topology: Routed})
	a, b := lab.Host(1), lab.Host(2)
	if err := b.Uplink.Impair(Impairment{Reorder: 0.05, Duplicate: 0.05, Seed: 2}); err != nil {
		t.Fatal(err)
	}
	mustEcho(t, a.Namespace, b.Namespace, b.Addr) // while neighbours are sought, a burst doesn't fit the queue
	const sent = 2000
	got := stream(t, a.Namespace, b, sent)
	seen, late, twice := map[uint32]bool{}, 0, 0
	for i, n := range got {
		if seen[n] {
			twice++
		} else if i > 0 && n < got[i-1] {
			late++
		}
		seen[n] = true
	}
	if len(seen) != sent || late == 0 || twice < sent*2/100 {
		t.Errorf("of %d packets %d arrived, %d late, %d twice", sent, len(seen), late, twice)
	}
}

func TestImpairedDelay(t *testing.T) {
	lab := build(t, Config{Hosts: 2})
	a, b := lab.Host(1), lab.Host(2)
	const delay = 30 * time.Millisecond
	if err := a.Uplink.Impair(Impairment{Delay: delay}); err != nil {
		t.Fatal(err)
	}
	mustEcho(t, a.Namespace, b.Namespace, b.Addr)
	start := time.Now()
	mustEcho(t, a.Namespace, b.Namespace, b.Addr)
	if took := time.Since(start); took < 2*delay {
		t.Errorf("there and back took %v over a link with %v each way", took, delay)
	}
}

func TestImpairedLinkCarriesTCP(t *testing.T) {
	lab := build(t, Config{Hosts: 2})
	a, b := lab.Host(1), lab.Host(2)
	if err := b.Uplink.Impair(Impairment{Loss: 0.01, Duplicate: 0.01, Reorder: 0.01, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	transfer(t, a.Namespace, b, 1<<20)
	transfer(t, b.Namespace, a, 1<<20)
}

func TestImpairedLinkIsStillALink(t *testing.T) {
	lab := build(t, Config{Hosts: 2})
	a, b := lab.Host(1), lab.Host(2)
	if err := b.Uplink.Impair(Impairment{Delay: time.Microsecond}); err != nil {
		t.Fatal(err)
	}
	mustEcho(t, a.Namespace, b.Namespace, b.Addr6)
	t.Run("cut", func(t *testing.T) {
		if err := b.Uplink.Cut(); err != nil {
			t.Fatal(err)
		}
		if err := echo(t, a.Namespace, b.Namespace, b.Addr, 64, lost); !isTimeout(err) {
			t.Errorf("across the cut link: %v, want a timeout", err)
		}
		if err := b.Uplink.Restore(); err != nil {
			t.Fatal(err)
		}
		mustEcho(t, a.Namespace, b.Namespace, b.Addr)
	})
	t.Run("MTU", func(t *testing.T) {
		if err := lab.SetMTU(9000); err != nil {
			t.Fatal(err)
		}
		if err := echo(t, a.Namespace, b.Namespace, b.Addr, 9000-28, arrives); err != nil {
			t.Error(err)
		}
	})
	t.Run("can't be kept", func(t *testing.T) {
		if err := lab.Keep(); err == nil || !strings.Contains(err.Error(), "impaired") {
			t.Errorf("keeping the lab: %v", err)
		}
	})
	t.Run("segmentation stays real", func(t *testing.T) {
		if err := b.Uplink.SetSegmentation(false); err == nil {
			t.Error("superpackets were let onto an impaired link")
		}
	})
}
