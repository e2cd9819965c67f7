package forwarder_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/forwarder"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// What the underlay's MTU is before and after it shrinks. 1,400 leaves IPv6's least 1,280 for inner packets
// over either family.
const (
	wide   = 1500
	narrow = 1400
)

// A shrinking is a way in which a path's MTU changes.
type shrinking struct {
	name     string
	topology netlab.Topology
	set      func(f *fabric, mtu int) error
}

// The host's own device changes: its kernel knows at once. Or a router's beyond it: the kernel learns
// of it from the ICMP error that answers the first datagram which is too big.
var shrinkings = []shrinking{
	{"own device", netlab.Bridged, func(f *fabric, mtu int) error { return f.lab.SetMTU(mtu) }},
	{"router", netlab.Routed, func(f *fabric, mtu int) error {
		for _, h := range f.lab.Hosts() {
			if err := h.Uplink.SetPathMTU(mtu); err != nil {
				return err
			}
		}
		return nil
	}},
}

// eachPath runs body for every way of shrinking and both outer families. The implementations take
// turns, so that each meets both.
func eachPath(t *testing.T, parallel bool, body func(t *testing.T, f *fabric, s shrinking)) {
	for i, s := range shrinkings {
		for j, outer6 := range []bool{false, true} {
			v := []variant{fast, slow, gue}[(2*i+j)%3]
			t.Run(fmt.Sprintf("%s, %s over %s", s.name, v.name, family(outer6)), func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				spec := fabricSpec{variants: []variant{v}, hosts: 2, topology: s.topology, outer6: outer6, inner4: true, inner6: true}
				spec.mtu = wide
				body(t, build(t, spec), s)
			})
		}
	}
}

// TestTransferOutlivesAShrinkingPath shrinks the underlay in the middle of TCP transfers, which find out
// from the first ICMP errors that come back and go on.
func TestTransferOutlivesAShrinkingPath(t *testing.T) {
	labtest.NeedTUN(t)
	eachPath(t, false, func(t *testing.T, f *fabric, s shrinking) {
		from, to := f.nodes[0].container, f.nodes[1].container
		for i, addr := range []netip.Addr{to.Addr, to.Addr6} {
			if err := s.set(f, wide); err != nil {
				t.Fatal(err)
			}
			stream, err := openTCP(t.Context(), from, to, addr, byte(i))
			if err != nil {
				t.Fatal(err)
			}
			before := f.nodes[0].forwarder.Counters()
			shrinkInTheMiddle(t, f, s, stream)
			after := f.nodes[0].forwarder.Counters()
			told := after.ICMPSent - before.ICMPSent
			if i == 0 && told == 0 { // the second transfer may find the path known
				t.Errorf("to %v: nobody told the sender", addr)
			}
			tooBig := forwarder.TooBig.String()
			t.Logf("TCP to %v: longest stall after the change %v, %d ICMP errors, %d packets too big",
				addr, time.Duration(stream.longest.Load()).Round(time.Microsecond), told, after.Drops[tooBig]-before.Drops[tooBig])
		}
		f.checkRefusals(t)
		f.checkChecksums(t)
	})
}

// shrinkInTheMiddle sends and compares a stream: so much before the path shrinks, and so much after.
func shrinkInTheMiddle(t *testing.T, f *fabric, s shrinking, stream *tcpFlow) {
	t.Helper()
	defer stream.close()
	const before, after = 16 << 20, 32 << 20
	sending, enough := context.WithCancel(t.Context())
	all, running := errgroup.WithContext(t.Context())
	all.Go(func() error { return stream.send(sending, 0) })
	all.Go(stream.receive)
	all.Go(func() error {
		defer enough()
		waitFor(running, func() bool { return stream.gotBytes.Load() >= before })
		stream.longest.Store(0)
		if err := s.set(f, narrow); err != nil {
			return err
		}
		then := stream.gotBytes.Load()
		waitFor(running, func() bool { return stream.gotBytes.Load() >= then+after })
		return nil
	})
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

// waitFor looks every 100 µs until done is true or ctx ends.
func waitFor(ctx context.Context, done func() bool) {
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for ctx.Err() == nil && !done() {
		<-tick.C
	}
}

// TestSenderLearnsTheShrunkenPath: a sender with DF is told the new MTU; when the path has grown again,
// the hop's MTU follows, and full packets pass.
func TestSenderLearnsTheShrunkenPath(t *testing.T) {
	labtest.NeedTUN(t)
	eachPath(t, true, func(t *testing.T, f *fabric, s shrinking) {
		forgetSoon(t, f)
		from, to := f.nodes[0].container, f.nodes[1].container
		full, shrunken := f.mtu(), f.mtu()-(wide-narrow)
		if err := s.set(f, narrow); err != nil {
			t.Fatal(err)
		}
		for _, addr := range []netip.Addr{to.Addr, to.Addr6} {
			socket := openDF(t, from, to, addr)
			if err := socket.taught(full, shrunken); err != nil {
				t.Errorf("to %v: %v", addr, err)
			}
			if !socket.passes(shrunken) {
				t.Errorf("to %v: a packet of %d bytes doesn't pass", addr, shrunken)
			}
		}
		hop := f.nodes[0].hops[2]
		if hop.MTU() != shrunken {
			t.Errorf("hop's MTU is %d, want %d", hop.MTU(), shrunken)
		}
		if err := s.set(f, wide); err != nil {
			t.Fatal(err)
		}
		grown := time.Now()
		patience, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		waitFor(patience, func() bool { return hop.MTU() >= full })
		t.Logf("hop's MTU back at %d after %v", hop.MTU(), time.Since(grown).Round(time.Millisecond))
		for _, addr := range []netip.Addr{to.Addr, to.Addr6} {
			socket := openDF(t, from, to, addr)
			if err := socket.probe(); err != nil {
				t.Fatal(err)
			}
			if !socket.passes(full) {
				t.Errorf("to %v: a packet of %d bytes doesn't pass although the path has grown", addr, full)
			}
		}
		f.checkRefusals(t)
	})
}

// forgetSoon has the hosts' kernels forget what routers told them after a second instead of ten minutes.
func forgetSoon(t *testing.T, f *fabric) {
	t.Helper()
	for _, n := range f.nodes {
		for _, key := range []string{"net.ipv4.route.mtu_expires", "net.ipv6.route.mtu_expires"} {
			if err := n.host.Sysctl(key, "1"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// probe makes the socket send with DF and without regard to what its kernel believes about the path.
func (s *dfSocket) probe() error {
	level, option := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if s.headers == headers6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	return controlled(s.out, func(fd int) error { // IP_PMTUDISC_PROBE has the same number in both families
		return unix.SetsockoptInt(fd, level, option, unix.IP_PMTUDISC_PROBE)
	})
}
