package selfcheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

var (
	four = Peer{Subnet: prefix("10.5.2.0/24"), Outer: addr("192.0.2.2")}
	six  = Peer{Subnet: prefix("fd00:5:0:2::/64"), Outer: addr("192.0.2.2")}
)

// What counts as an answer, and what doesn't; how often is asked, and how long it takes at most.
func TestProbe(t *testing.T) {
	const ms = time.Millisecond
	answerAt := func(address string, least int, after time.Duration) func(netip.Addr, int, []byte) ([]byte, time.Duration) {
		return func(to netip.Addr, n int, request []byte) ([]byte, time.Duration) {
			if to != addr(address) || n < least {
				return nil, 0
			}
			return echo(request, nil), after
		}
	}
	altered := func(alter func(*icmp.Message, *icmp.Echo)) func(netip.Addr, int, []byte) ([]byte, time.Duration) {
		return func(_ netip.Addr, _ int, request []byte) ([]byte, time.Duration) { return echo(request, alter), ms }
	}
	for _, test := range []struct {
		name     string
		peer     Peer
		reply    func(to netip.Addr, n int, request []byte) ([]byte, time.Duration)
		answered bool
		rtt      time.Duration
		took     time.Duration
	}{
		{"the tunnel device answers", four, answerAt("10.5.2.0", 1, 3*ms), true, 3 * ms, 3 * ms},
		{"the bridge alone answers", four, answerAt("10.5.2.1", 1, 4*ms), true, 4 * ms, 4 * ms},
		{"IPv6", six, answerAt("fd00:5:0:2::", 1, 5*ms), true, 5 * ms, 5 * ms},
		{"the third request is the first to arrive", four, answerAt("10.5.2.0", 3, 2*ms), true, 2 * ms, 252 * ms},
		{"late, but the round trip is that of the request it answers", four, answerAt("10.5.2.0", 1, 120*ms), true, 120 * ms, 120 * ms},
		{"the last moment", four, answerAt("10.5.2.0", 5, 599*ms), true, 599 * ms, 1499 * ms},
		{"silence", four, func(netip.Addr, int, []byte) ([]byte, time.Duration) { return nil, 0 }, false, 0, 1500 * ms},
		{"another program's id", four, altered(func(_ *icmp.Message, e *icmp.Echo) { e.ID ^= 1 }), false, 0, 1500 * ms},
		{"another program's data", four, altered(func(_ *icmp.Message, e *icmp.Echo) { e.Data = []byte("another program") }), false, 0, 1500 * ms},
		{"a sequence number that wasn't sent yet", four, altered(func(_ *icmp.Message, e *icmp.Echo) { e.Seq = 4 }), true, 0, 901 * ms},
		{"a sequence number of no peer", four, altered(func(_ *icmp.Message, e *icmp.Echo) { e.Seq = 65535 }), false, 0, 1500 * ms},
		{"the request itself comes back", four, altered(func(m *icmp.Message, _ *icmp.Echo) { m.Type = ipv4.ICMPTypeEcho }), false, 0, 1500 * ms},
		{"junk", four, func(netip.Addr, int, []byte) ([]byte, time.Duration) { return []byte{0}, ms }, false, 0, 1500 * ms},
		{"an error of the socket", four, func(to netip.Addr, n int, request []byte) ([]byte, time.Duration) {
			if n < 2 {
				return []byte{brokenRead}, ms
			}
			return echo(request, nil), ms
		}, true, ms, 101 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{reply: test.reply}
				began := time.Now()
				r := probe(t.Context(), []Peer{test.peer}, m.listen)
				if took := time.Since(began); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				a := r.Answers[0]
				if len(r.Answers) != 1 || a.Peer != test.peer || a.Answered != test.answered || a.Err != nil {
					t.Fatalf("answers %+v, want answered %t", r.Answers, test.answered)
				}
				if test.rtt != 0 && a.RTT != test.rtt {
					t.Errorf("round trip %v, want %v", a.RTT, test.rtt)
				}
				if most := m.asked[addr("10.5.2.0")]; most > tries {
					t.Errorf("asked %d times", most)
				}
			})
		})
	}
}

// Peers don't stand in each other's way: the silent one is asked again, the others aren't.
func TestProbeManyPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := Peer{Subnet: prefix("10.5.9.0/24")}
		peers := []Peer{four, silent, six}
		m := &memory{reply: func(to netip.Addr, _ int, request []byte) ([]byte, time.Duration) {
			if silent.Subnet.Contains(to) {
				return nil, 0
			}
			return echo(request, nil), time.Millisecond
		}}
		r := probe(t.Context(), peers, m.listen)
		for i, want := range []bool{true, false, true} {
			if a := r.Answers[i]; a.Peer != peers[i] || a.Answered != want {
				t.Errorf("%s: answered %t, want %t", a.Peer, a.Answered, want)
			}
		}
		if m.asked[addr("10.5.2.0")] != 1 || m.asked[addr("10.5.9.0")] != tries {
			t.Errorf("requests: %v", m.asked)
		}
	})
}

func TestProbeNobody(t *testing.T) {
	if r := Probe(t.Context(), nil); len(r.Answers) != 0 {
		t.Errorf("answers %+v", r.Answers)
	}
}

// A probe that is cut short says what it knows by then.
func TestProbeIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		m := &memory{reply: func(to netip.Addr, _ int, request []byte) ([]byte, time.Duration) {
			if !to.Is4() {
				return nil, 0
			}
			return echo(request, nil), time.Millisecond
		}}
		began := time.Now()
		r := probe(ctx, []Peer{four, six}, m.listen)
		if took := time.Since(began); took != 50*time.Millisecond || !r.Answers[0].Answered || r.Answers[1].Answered {
			t.Errorf("after %v: %+v", took, r.Answers)
		}
	})
}

// Where nothing can be sent, the reason is in the answer: no right to a raw socket, no route.
func TestProbeSaysWhyNothingWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noRight := func(context.Context, bool) (net.PacketConn, error) { return nil, errors.New("operation not permitted") }
		r := probe(t.Context(), []Peer{four, six}, noRight)
		m := &memory{send: func(netip.Addr) error { return errors.New("network is unreachable") }}
		noRoute := probe(t.Context(), []Peer{four}, m.listen)
		for _, check := range []struct {
			a    Answer
			want string
		}{
			{r.Answers[0], "opening a raw socket for echo requests: operation not permitted"},
			{r.Answers[1], "opening a raw socket for echo requests: operation not permitted"},
			{noRoute.Answers[0], "sending an echo request: network is unreachable"},
		} {
			if check.a.Answered || check.a.Err == nil || !strings.Contains(check.a.Err.Error(), check.want) {
				t.Errorf("%+v, want %q", check.a, check.want)
			}
		}
	})
}

// Whatever a raw socket hears, it answers for nobody but the peer that was asked.
func FuzzHear(f *testing.F) {
	r := newRound([]Peer{four})
	f.Add(echo(r.packet(0, true, 0), nil), true)
	f.Add(r.packet(0, false, 100), false)
	f.Add([]byte{0, 0, 0, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, packet []byte, v4 bool) {
		r := newRound([]Peer{four, six})
		r.ask(0, time.Now())
		r.hear(packet, v4, time.Now()) // with an id and a secret that no corpus can know
		for _, a := range r.result().Answers {
			if a.Answered {
				t.Errorf("%s answers by %x", a.Peer, packet)
			}
		}
	})
}
