package express_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/kernelmode/express"
)

const (
	detourNear = tun + "-x"
	detourFar  = tun + "-y"
)

// TestSuperpacketsReachContainersWhole: behind a bridge, over either underlay family and with either inner one.
func TestSuperpacketsReachContainersWhole(t *testing.T) {
	superpacketsReachContainersWhole(t, []spec{
		{encap: express.EncapUDP, inner6: true},
		{encap: express.EncapUDP, inner6: true, outer6: true},
		{encap: express.EncapVXLAN, inner6: true},
		{encap: express.EncapVXLAN, inner6: true, outer6: true},
		{encap: express.EncapIPIP},
	})
}

func superpacketsReachContainersWhole(t *testing.T, fabrics []spec) {
	for _, s := range fabrics {
		t.Run(fmt.Sprintf("%v, over IPv6 %v", s.encap, s.outer6), func(t *testing.T) {
			s.hosts = []kind{byLane, byLane}
			w := build(t, s)
			to := w.nodes[1]
			to.awaitDetour(t)
			for _, addr := range []netip.Addr{to.container.Addr, to.container.Addr6} {
				if addr.IsValid() {
					w.crossesWhole(t, addr)
				}
			}
		})
	}
}

// awaitDetour checks the lane until superpackets go round; one trial may be late on a busy machine.
func (n *node) awaitDetour(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		must(t, n.host.Do(n.lane.Check))
		err := n.lane.Detour()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// crossesWhole fails unless a transfer comes to the second host's container in packets larger than any wire carries.
func (w *world) crossesWhole(t *testing.T, addr netip.Addr) {
	t.Helper()
	from, to := w.nodes[0], w.nodes[1]
	detours, packets, bytes := to.counters(t).Detours, uint64(0), uint64(0)
	received := func() {
		must(t, to.container.Do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err == nil {
				packets, bytes = l.Attrs().Statistics.RxPackets-packets, l.Attrs().Statistics.RxBytes-bytes
			}
			return err
		}))
	}
	received()
	must(t, transfers(t.Context(), from.container, to.container, addr, streamBytes))
	received()
	// Half of what comes are acknowledgements of the other direction, and still.
	if bytes/packets <= uint64(w.mtu())+14 {
		t.Errorf("%v: %d bytes came in %d packets: superpackets are cut", addr, bytes, packets)
	}
	if to.counters(t).Detours == detours {
		t.Errorf("%v: no superpacket went round", addr)
	}
}

// TestDetourHeals: whatever somebody takes away of it comes back with the next Check, and until then with the
// straight way.
func TestDetourHeals(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	to := w.nodes[1]
	for name, harm := range map[string]func(near netlink.Link) error{
		"device":   netlink.LinkDel,
		"set down": netlink.LinkSetDown,
		"route": func(near netlink.Link) error {
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{LinkIndex: near.Attrs().Index, Table: unix.RT_TABLE_LOCAL},
				netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
			for _, r := range routes {
				if r.Encap != nil {
					return netlink.RouteDel(&r)
				}
			}
			return fmt.Errorf("no route among %d: %w", len(routes), err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, to.host.Do(func() error {
				near, err := netlink.LinkByName(detourNear)
				if err == nil {
					err = harm(near)
				}
				if err != nil {
					return err
				}
				return nil
			}))
			to.awaitDetour(t)
			w.crossesWhole(t, to.container.Addr)
		})
	}
}

// TestDetourIsLeftWhereItIsBlocked: what swallows IPv6 on the way round makes the lane slower, not deaf.
func TestDetourIsLeftWhereItIsBlocked(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	from, to := w.nodes[0], w.nodes[1]
	drop := swallow(t, to)
	must(t, to.host.Do(to.lane.Check))
	if to.lane.Detour() == nil {
		t.Error("nobody has noticed that nothing comes back")
	}
	before := to.counters(t).Detours
	must(t, transfers(t.Context(), from.container, to.container, to.container.Addr, streamBytes))
	if now := to.counters(t).Detours; now != before {
		t.Errorf("%d superpackets went round", now-before)
	}
	must(t, drop.Detach())
	must(t, drop.Close())
	to.awaitDetour(t)
	w.crossesWhole(t, to.container.Addr)
}

// swallow drops whatever comes into the detour device of a host.
func swallow(t *testing.T, n *node) (l link.Link) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual MIT/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* TC_ACT_SHOT */), asm.Return()},
	})
	must(t, err)
	defer program.Close()
	must(t, n.host.Do(func() error {
		near, err := netlink.LinkByName(detourNear)
		if err == nil {
			l, err = link.AttachTCX(link.TCXOptions{Interface: near.Attrs().Index, Program: program, Attach: ebpf.AttachTCXIngress})
		}
		return err
	}))
	return l
}

// TestDetourIsNoWayIn: frames that reach the address of a detour without having been admitted go no further.
func TestDetourIsNoWayIn(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	from, to := w.nodes[0], w.nodes[1]
	in, err := to.container.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(to.container.Addr, 9000).String())
	must(t, err)
	defer in.Close()
	must(t, to.host.Do(func() error {
		far, err := netlink.LinkByName(detourFar)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		near, err := netlink.LinkByName(detourNear)
		if err != nil {
			return err
		}
		smuggled := inner(from.container.Addr.String(), to.container.Addr.String())
		binary.BigEndian.PutUint16(smuggled[22:], 9000)
		return unix.Sendto(fd, express.DetourFrame(near.Attrs().Index, smuggled), 0, &unix.SockaddrLinklayer{Ifindex: far.Attrs().Index})
	}))
	out, err := from.container.Dial(t.Context(), "udp", in.LocalAddr().String())
	must(t, err)
	defer out.Close()
	_, err = out.Write([]byte("honest"))
	must(t, err)
	message := make([]byte, 64)
	n, _, err := in.ReadFrom(message)
	must(t, err)
	if got := string(message[:n]); got != "honest" {
		t.Errorf("the container got %q first", got)
	}
}

// TestClosedLaneLeavesNoDetour: with detach; without, the lane still forwards by it.
func TestClosedLaneLeavesNoDetour(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}})
	for i, detach := range []bool{true, false} {
		n := w.nodes[i]
		must(t, n.host.Do(func() error {
			if err := n.lane.Close(detach); err != nil {
				return err
			}
			if _, err := netlink.LinkByName(detourNear); (err == nil) == detach {
				t.Errorf("closed with detach %v: device %s: %v", detach, detourNear, err)
			}
			return nil
		}))
	}
}
