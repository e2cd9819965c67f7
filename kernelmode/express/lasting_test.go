package express_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/kernelmode/express"
)

// A beat sends numbered datagrams from one container to another, one each pause, until its end.
type beat struct {
	in        net.PacketConn
	sent, got atomic.Uint64
	cancel    context.CancelFunc
	done      chan error
}

func startBeat(t *testing.T, from, to *node, pause time.Duration) *beat {
	t.Helper()
	in, err := to.container.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(to.container.Addr, 0).String())
	must(t, err)
	out, err := from.container.Dial(t.Context(), "udp", in.LocalAddr().String())
	must(t, err)
	in.(*net.UDPConn).SetReadBuffer(8 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	b := &beat{in: in, cancel: cancel, done: make(chan error, 2)}
	go func() {
		buffer := make([]byte, 64)
		for {
			if _, _, err := in.ReadFrom(buffer); err != nil {
				b.done <- nil
				return
			}
			b.got.Add(1)
		}
	}()
	go func() {
		defer out.Close()
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				b.done <- nil
				return
			case <-tick.C:
			}
			if _, err := out.Write(make([]byte, 32)); err != nil {
				b.done <- fmt.Errorf("sending datagram %d: %w", b.sent.Load(), err)
				return
			}
			b.sent.Add(1)
		}
	}()
	return b
}

// end stops the beat and returns how many datagrams were lost.
func (b *beat) end(t *testing.T) (lost uint64) {
	t.Helper()
	b.cancel()
	must(t, <-b.done)
	for deadline := time.Now().Add(patience); b.got.Load() < b.sent.Load() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	b.in.Close()
	must(t, <-b.done)
	return b.sent.Load() - b.got.Load()
}

// await waits until n more datagrams have come.
func (b *beat) await(t *testing.T, n uint64) {
	t.Helper()
	want := b.got.Load() + n
	for deadline := time.Now().Add(patience); b.got.Load() < want; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d datagrams came", b.got.Load(), b.sent.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestLaneOutlivesItsAgent: the agent of one host is gone, its sockets and TUN descriptors too, and packets go
// on in both directions; the next agent takes over, with other routes, and none is lost.
func TestLaneOutlivesItsAgent(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}, lasting: true})
	one, two := w.nodes[0], w.nodes[1]
	must(t, echoes(t.Context(), one.container, two.container, two.container.Addr, 32)) // neighbours are known from here on
	there, back := startBeat(t, one, two, 100*time.Microsecond), startBeat(t, two, one, 100*time.Microsecond)
	there.await(t, 100)

	must(t, one.lane.Pinned())
	before := one.counters(t)
	must(t, one.lane.Close(false))
	must(t, w.stop()) // the forwarders end and close their descriptors
	w.stop = func() error { return nil }
	there.await(t, 1000)
	back.await(t, 1000)

	must(t, transfers(t.Context(), one.container, two.container, two.container.Addr, streamBytes))
	must(t, one.host.Do(func() (err error) {
		if one.lane, err = express.Open(w.config(one)); err != nil {
			return err
		}
		return one.lane.Publish(w.routes(one))
	}))
	there.await(t, 1000)
	back.await(t, 1000)
	if lost := there.end(t); lost != 0 {
		t.Errorf("%d of %d datagrams there were lost", lost, there.sent.Load())
	}
	if lost := back.end(t); lost != 0 {
		t.Errorf("%d of %d datagrams back were lost", lost, back.sent.Load())
	}
	after := one.counters(t)
	if after.Egress.Bytes < before.Egress.Bytes+streamBytes {
		t.Errorf("the counters began anew: %+v, then %+v", before.Egress, after.Egress)
	}
	must(t, one.host.Do(one.lane.Check))
}

// TestNextAgentChangesRoutes: what changed while no agent was there is in force with the next one's first Publish,
// and until then the old routes are.
func TestNextAgentChangesRoutes(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}, lasting: true})
	one, two := w.nodes[0], w.nodes[1]
	must(t, echoes(t.Context(), one.container, two.container, two.container.Addr, 32))
	must(t, one.lane.Close(false))
	must(t, one.host.Do(func() (err error) {
		one.lane, err = express.Open(w.config(one))
		return err
	}))
	b := startBeat(t, one, two, time.Millisecond)
	b.await(t, 20)
	before := one.counters(t)
	must(t, one.host.Do(func() error { return one.lane.Publish(nil) }))
	b.await(t, 20) // by userspace, which still has the route
	if after := one.counters(t); after.Passed["out_no_hop"] <= before.Passed["out_no_hop"] {
		t.Errorf("the old routes are still in force: %+v", after)
	}
	b.end(t)
}

// TestLaneNoticesThatItWasDetached and comes back.
func TestLaneNoticesThatItWasDetached(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	n := w.nodes[0]
	must(t, n.host.Do(n.lane.Check))
	must(t, n.host.Do(func() error { return detachAll(n.host.Device()) }))
	if err := n.host.Do(n.lane.Check); err == nil {
		t.Error("nobody noticed")
	}
	must(t, n.host.Do(n.lane.Check))
	everythingCrosses(t, w)
	w.checkLanes(t)
}

// TestLaneStepsBehindFiltersThatCome: on a device without clsact the lane is a link, which needs none; as soon as somebody
// makes one it is the last of the filters, and nobody's are blind.
func TestLaneStepsBehindFiltersThatCome(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	n := w.nodes[0]
	var index int
	must(t, n.host.Do(func() error {
		l, err := netlink.LinkByName(n.host.Device())
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	}))
	links := func() (count int) {
		must(t, n.host.Do(func() error {
			all, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
			if err == nil {
				count = len(all.Programs)
			}
			return nil // before 6.6 there are none
		}))
		return count
	}
	filters := func() (count int) {
		must(t, n.host.Do(func() error {
			all, err := filterHandles(n.host.Device())
			count = len(all)
			return err
		}))
		return count
	}
	if links() == 0 && filters() == 0 {
		t.Fatal("the lane is nowhere")
	}
	must(t, n.host.Do(func() error {
		err := netlink.QdiscAdd(clsact(index))
		if errors.Is(err, unix.EEXIST) {
			return nil // the lane's own, on a kernel without links
		}
		return err
	}))
	must(t, n.host.Do(n.lane.Check))
	if links() != 0 || filters() != 1 {
		t.Errorf("%d links and %d filters, want a filter alone", links(), filters())
	}
	everythingCrosses(t, w)
	w.checkLanes(t)
}

// detachAll does what another program may do: takes every tc program off a device's ingress.
func detachAll(device string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	// Deleting the clsact is enough where programs are filters.
	netlink.QdiscDel(clsact(l.Attrs().Index))
	all, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil // no links on this kernel
	}
	for _, p := range all.Programs {
		id, ok := p.LinkID()
		if !ok {
			continue
		}
		found, err := link.NewFromID(id)
		if err != nil {
			return err
		}
		if err := found.Detach(); err != nil {
			return err
		}
		found.Close()
	}
	return nil
}

func clsact(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// TestLaneStandsBesideOthers: filters of other programs, before and after the lane's, see what passes, stay when it
// comes and stay when it goes.
func TestLaneStandsBesideOthers(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byUserspace}})
	n := w.nodes[0]
	must(t, n.host.Do(func() error { return n.lane.Close(true) }))
	var others []int
	must(t, n.host.Do(func() error { return addOthers(n.host.Device()) }))
	must(t, n.host.Do(func() (err error) {
		others, err = filterHandles(n.host.Device())
		return err
	}))
	w.openLane(t, n)
	everythingCrosses(t, w)
	if c := n.counters(t); c.Egress.Bytes < streamBytes {
		t.Errorf("beside other filters the lane carried %+v", c)
	}
	must(t, n.host.Do(func() error { return n.lane.Close(true) }))
	must(t, n.host.Do(func() error {
		now, err := filterHandles(n.host.Device())
		if fmt.Sprint(now) != fmt.Sprint(others) {
			t.Errorf("filters %v before the lane, %v after it", others, now)
		}
		return err
	}))
	must(t, transfers(t.Context(), n.container, w.nodes[1].container, w.nodes[1].container.Addr, 1<<20))
}

// addOthers puts two filters on a device's ingress that let everything go on, at the first and the last priority.
func addOthers(device string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer program.Close()
	if err := netlink.QdiscReplace(clsact(l.Attrs().Index)); err != nil {
		return err
	}
	for _, priority := range []uint16{1, 0xfff0} {
		if err := netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL,
			},
			Fd: program.FD(), Name: "other", DirectAction: true,
		}); err != nil {
			return err
		}
	}
	return nil
}

func filterHandles(device string) (priorities []int, err error) {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return nil, err
	}
	all, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	for _, f := range all {
		priorities = append(priorities, int(f.Attrs().Priority))
	}
	return priorities, err
}

// TestRemoveLeavesNothing behind, neither links nor filters nor pins nor the device.
func TestRemoveLeavesNothing(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}, lasting: true})
	n := w.nodes[0]
	must(t, n.lane.Close(false))
	must(t, w.stop())
	w.stop = func() error { return nil }
	for range 2 { // twice is harmless
		must(t, n.host.Do(func() error { return express.Remove("", tun) }))
	}
	must(t, n.host.Do(func() error {
		for _, name := range []string{tun, detourNear} {
			if _, err := netlink.LinkByName(name); err == nil {
				t.Errorf("device %s is still there", name)
			}
		}
		priorities, err := filterHandles(n.host.Device())
		if len(priorities) != 0 {
			t.Errorf("filters %v are still there", priorities)
		}
		l, err2 := netlink.LinkByName(n.host.Device())
		if err2 != nil {
			return err2
		}
		left, err3 := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err3 == nil && len(left.Programs) != 0 {
			t.Errorf("%d programs are still there", len(left.Programs))
		}
		return err
	}))
}

// TestPinsOfAGoneDeviceAreSwept by the next lane anywhere on the machine, and those of a device that is there aren't.
func TestPinsOfAGoneDeviceAreSwept(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}, lasting: true})
	one, two := w.nodes[0], w.nodes[1]
	must(t, one.lane.Close(false))
	must(t, w.stop())
	w.stop = func() error { return nil }
	left := func(n *node) (is bool) {
		must(t, n.host.Do(func() error {
			is = express.Left("", tun)
			return nil
		}))
		return is
	}
	again := func() {
		must(t, two.lane.Close(false))
		must(t, two.host.Do(func() (err error) {
			two.lane, err = express.Open(w.config(two))
			return err
		}))
	}
	if again(); !left(one) {
		t.Fatal("pins were swept although their device is there")
	}
	must(t, one.host.Do(func() error {
		l, err := netlink.LinkByName(tun)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
	if again(); left(one) || !left(two) {
		t.Errorf("pins of the device that is gone: %t, want none; of the other one: %t", left(one), left(two))
	}
}

// TestLaneWithoutPins: where there is no BPF file system to be had the programs are filters, which outlive the agent
// too, and the next one replaces them.
func TestLaneWithoutPins(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}, lasting: true, pins: "/proc/nowhere/weft"})
	one, two := w.nodes[0], w.nodes[1]
	if one.lane.Pinned() == nil {
		t.Fatal("pinned into /proc")
	}
	must(t, echoes(t.Context(), one.container, two.container, two.container.Addr, 32))
	b := startBeat(t, one, two, 100*time.Microsecond)
	must(t, one.lane.Close(false))
	b.await(t, 500)
	w.openLane(t, one)
	b.await(t, 500)
	if lost := b.end(t); lost != 0 {
		t.Errorf("%d of %d datagrams were lost", lost, b.sent.Load())
	}
	must(t, one.host.Do(one.lane.Check))
	must(t, one.host.Do(func() error { return detachAll(one.host.Device()) }))
	if err := one.host.Do(one.lane.Check); err == nil {
		t.Error("nobody noticed that the filter is gone")
	}
	must(t, one.host.Do(one.lane.Check))
	must(t, one.host.Do(func() error { return one.lane.Close(true) }))
	must(t, one.host.Do(func() error {
		left, err := filterHandles(one.host.Device())
		if len(left) != 0 {
			t.Errorf("filters %v are left", left)
		}
		return err
	}))
}
