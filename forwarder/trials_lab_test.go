package forwarder_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"weft/perf/netlab/labtest"
	"weft/tunnel"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// mangledSocket is the fast conn behind a mangler: what it takes for a run never gets to the kernel.
type mangledSocket struct {
	*tunnel.FastConn
	m *mangler
}

func (c mangledSocket) WriteBatch(out []tunnel.Datagram) (int, error) {
	return c.m.write(c.FastConn, out)
}

// mangling is a variant whose sockets have the bug.
func mangling(v variant, m *mangler) variant {
	v.name += ", mangling"
	v.conn = func(local netip.AddrPort, options tunnel.ConnOptions) (tunnel.Conn, error) {
		conn, err := tunnel.ListenFastConn(local, options, tunnel.Modes{})
		if err != nil {
			return nil, err
		}
		return mangledSocket{conn, m}, nil
	}
	return v
}

// TestTransferRecoversFromMangledRuns: a TCP transfer between containers starts on a host whose kernel has
// the bug of Linux 7.0, and goes at full speed a few seconds later, without a flag; in each format that
// takes echoes.
func TestTransferRecoversFromMangledRuns(t *testing.T) {
	labtest.NeedTUN(t)
	for _, format := range []variant{fast, gue, fastVXLAN} {
		t.Run(format.name, func(t *testing.T) {
			m := new(mangler)
			m.on.Store(true)
			f := build(t, fabricSpec{variants: []variant{mangling(format, m), format}, hosts: 2, inner4: true, echoes: true, segmented: true})
			from, to := f.nodes[0].forwarder, f.nodes[1].forwarder
			began := time.Now()
			f.stream(t, func(got func() uint64) bool {
				waitFor(t.Context(), func() bool { return len(from.Lowered()) > 0 || time.Since(began) > lastingly })
				noticed, before := time.Since(began), got()
				const more = 16 << 20 // bytes: minutes while runs are mangled
				waitFor(t.Context(), func() bool { return got()-before > more || time.Since(began) > 2*lastingly })
				t.Logf("noticed after %v and %d bytes, %d runs mangled; %d more bytes after %v", noticed.Round(time.Millisecond), before,
					m.mangled.Load(), more, time.Since(began).Round(time.Millisecond))
				return got()-before > more
			})
			if a, b := from.Lowered(), to.Lowered(); len(a) != 1 || len(b) != 0 {
				t.Errorf("lowered rungs: %q of the mangling host, want one line; %q of the other, want none", a, b)
			}
		})
	}
}

// TestTransferOverLossKeepsItsRuns: 1 % of loss hits runs and single datagrams alike.
func TestTransferOverLossKeepsItsRuns(t *testing.T) {
	labtest.NeedTUN(t)
	m := &mangler{loss: 0.01, random: rand.New(rand.NewPCG(5, 6))}
	f := build(t, fabricSpec{variants: []variant{mangling(fast, m), fast}, hosts: 2, inner4: true, echoes: true, segmented: true})
	began := time.Now()
	f.stream(t, func(func() uint64) bool {
		enough := func() bool { return f.nodes[1].forwarder.Counters().Echoes > 2*14 } // of 16 a trial
		waitFor(t.Context(), func() bool { return enough() || time.Since(began) > lastingly })
		return enough()
	})
	if lines := f.nodes[0].forwarder.Lowered(); len(lines) != 0 {
		t.Errorf("%q", lines)
	}
}

// lastingly is longer than anything takes here, however busy the machine is.
const lastingly = time.Minute

// stream carries a TCP transfer from the first host's container to the second's until done returns. Its
// congestion control is not this machine's: BBR takes the first second's losses for a policer and keeps
// to what came through then, one packet in 250 ms, for 48 round trips.
func (f *fabric) stream(t *testing.T, done func(got func() uint64) (ok bool)) {
	t.Helper()
	from, to := f.nodes[0].container, f.nodes[1].container
	stream, err := openTCP(t.Context(), from, to, to.Addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.close()
	err = controlled(stream.out, func(fd int) error { return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var both errgroup.Group
	both.Go(func() error { return stream.send(ctx, 0) })
	both.Go(stream.receive)
	if !done(stream.gotBytes.Load) {
		t.Errorf("%s", stream.state())
	}
	cancel()
	if err := both.Wait(); err != nil {
		t.Error(err)
	}
	f.checkRefusals(t)
}
