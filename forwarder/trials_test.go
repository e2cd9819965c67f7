package forwarder_test

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// A mangler stands between a forwarder and its conn, as a kernel does that has the bug of Linux 7.0 to
// 7.1.4: sending succeeds, and every run of equal datagrams comes to nothing, lost or garbled. Other runs,
// and datagrams sent alone, are as they were.
type mangler struct {
	on      atomic.Bool
	garble  bool
	loss    float64 // of all datagrams, besides
	random  *rand.Rand
	mangled atomic.Uint64 // runs
}

func (m *mangler) write(conn tunnel.Conn, out []tunnel.Datagram) (n int, err error) {
	runs := tunnel.PlanRuns(nil, out, tunnel.RunLimits{Segments: 63, Bytes: 65507})
	for _, run := range runs {
		part := out[run.First:][:run.Count]
		equal := run.Count > 1 && part[run.Count-1].Len() == run.SegmentSize && m.on.Load()
		if equal {
			m.mangled.Add(1)
		}
		for i := range part {
			d := part[i : i+1]
			lost := m.loss != 0 && m.random.Float64() < m.loss
			switch {
			case lost, equal && !m.garble:
				d[0].Errno = 0
				n++
				continue
			case equal:
				garbled := slices.Concat(d[0].Head, d[0].Payload)
				copy(garbled, garbled[len(garbled)/2:])
				d = []tunnel.Datagram{{Addr: d[0].Addr, Payload: garbled}}
			}
			taken, err := conn.WriteBatch(d)
			if part[i].Errno = d[0].Errno; err != nil {
				return n, err
			}
			n += taken
		}
	}
	return n, nil
}

// mangledWire is a conn in memory behind a mangler.
type mangledWire struct {
	*tunneltest.WireConn
	m *mangler
}

func (c mangledWire) WriteBatch(out []tunnel.Datagram) (int, error) {
	return c.m.write(c.WireConn, out)
}
func (mangledWire) Offloads() tunnel.Offloads { return tunnel.Offloads{GSO: true} }

// mangledPair starts hosts A, behind a mangler, and B. Their leases say that they answer echoes unless plain.
func mangledPair(t *testing.T, m *mangler, plain bool) (a, b *host, wire *tunneltest.Wire) {
	wire = tunneltest.NewWire()
	to := func(i int) []routes.Route {
		all := peersOf(i, routes.EncapUDP)
		for _, r := range all {
			r.Hop.Echoes = !plain
		}
		return all
	}
	quiet := func(c *forwarder.Config) { c.Log = slog.New(slog.DiscardHandler) }
	a = start(t, wire, spec{index: 1, outers: []netip.AddrPort{outerA}, routes: to(1), change: func(c *forwarder.Config) {
		quiet(c)
		c.Workers[0].Conns[0] = mangledWire{c.Workers[0].Conns[0].(*tunneltest.WireConn), m}
	}})
	b = start(t, wire, spec{index: 2, outers: []netip.AddrPort{outerB}, routes: to(2), change: quiet})
	return a, b, wire
}

// superpacket is one that becomes ten equal datagrams.
func superpacket() tunnel.Packet {
	return tunneltest.Superpacket(flowAB, 1, make([]byte, 10_000), 1000)
}

// exchange sends superpackets for some seconds, four a second, and returns how many of the last one's ten
// datagrams arrived.
func exchange(a, b *host, seconds int) (arrived int) {
	for range 4 * seconds {
		before := b.Counters().Ingress.Packets
		a.device.Send(superpacket())
		time.Sleep(time.Second / 4)
		synctest.Wait()
		arrived = int(b.Counters().Ingress.Packets - before)
	}
	return arrived
}

func TestMangledRunsGoOffByThemselves(t *testing.T) {
	for name, garble := range map[string]bool{"lost": false, "garbled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mangler{garble: garble}
				m.on.Store(true)
				a, b, _ := mangledPair(t, m, false)
				if n := exchange(a, b, 1); n != 0 {
					t.Fatalf("%d of 10 datagrams arrived: the mangler doesn't mangle", n)
				}
				if n := exchange(a, b, 2); n != 10 {
					t.Fatalf("after 3 s %d of 10 datagrams arrive", n)
				}
				if lines := a.Lowered(); len(lines) != 1 || !strings.Contains(lines[0], "192.0.2.2:8285: UDP_SEGMENT off") {
					t.Errorf("Lowered: %q", lines)
				}
				if garble != (b.Counters().Drops[forwarder.Malformed.String()] != 0) {
					t.Errorf("drops: %v", b.Counters().Drops)
				}

				m.on.Store(false) // another kernel
				exchange(a, b, 180)
				if lines := a.Lowered(); len(lines) != 0 {
					t.Errorf("runs arrive again, and still: %q", lines)
				}
				endBoth(t, a, b)
			})
		})
	}
}

// Random loss takes from runs and from what goes alone: it is none of their fault.
func TestLossIsNoReasonToStepDown(t *testing.T) {
	for name, loss := range map[string]float64{"1 %": 0.01, "20 %": 0.2, "50 %": 0.5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mangler{loss: loss, random: rand.New(rand.NewPCG(1, 2))}
				a, b, _ := mangledPair(t, m, false)
				for range 60 {
					exchange(a, b, 10)
					if lines := a.Lowered(); len(lines) != 0 {
						t.Fatalf("%q", lines)
					}
				}
				if b.Counters().Echoes == 0 {
					t.Error("nothing was tried out")
				}
				endBoth(t, a, b)
			})
		})
	}
}

func TestPlainPeerGetsNoEchoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(mangler)
		a, b, _ := mangledPair(t, m, true)
		if n := exchange(a, b, 30); n != 10 {
			t.Errorf("%d of 10 datagrams arrived", n)
		}
		if n := b.Counters().Echoes; n != 0 {
			t.Errorf("%d echoes to a peer that doesn't know them", n)
		}
		wantDrops(t, b, nil)
		endBoth(t, a, b)
	})
}

// Answering costs little: no host answers strangers, and single packets are no reason to try anything out.
func TestEchoesArePeersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(mangler)
		a, b, wire := mangledPair(t, m, false)
		for range 20 {
			a.device.Send(ordinary(flowAB.UDP([]byte("ping"))))
			time.Sleep(time.Second)
		}
		if n := b.Counters().Echoes; n != 0 {
			t.Errorf("%d echoes for single packets", n)
		}
		for _, from := range []netip.AddrPort{stranger, outerA} {
			wire.Inject(from, outerB, tunnel.AppendEcho(nil, tunnel.Echo{Place: 1, Token: 5}, 1000))
			wire.Inject(from, outerB, tunnel.AppendEcho(nil, tunnel.Echo{Place: 1, Token: 5}, 1000)[:999])
		}
		synctest.Wait()
		wantDrops(t, b, map[forwarder.Reason]uint64{forwarder.UnknownPeer: 2, forwarder.Malformed: 1})
		if n := b.Counters().Echoes; n != 1 {
			t.Errorf("%d echoes answered, want the peer's whole one", n)
		}
		endBoth(t, a, b)
	})
}

func endBoth(t *testing.T, hosts ...*host) {
	for _, h := range hosts {
		if err := h.end(); err != nil {
			t.Error(err)
		}
	}
}
