package express

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A detour is the way by which superpackets lose the kernel's mark that they are encapsulated; bpf/detour.h says why
// and how. It has one owner at a time.
//
// It is nothing but speed: where it can't be had, or a firewall swallows what goes that way, packets go straight
// into the TUN, and a bridge behind it cuts them.
type detour struct {
	lane    string // the lane's TUN device
	program *ebpf.Program
	pins    pins
	counts  *ebpf.Map // where trials that came back are counted

	hook *hook // where packets come back; nil: nothing has been laid out
	err  error // why superpackets don't go this way; nil: they do

	pause time.Duration // until the next trial, while they fail
	again time.Time     // when that is
}

// A trial that fails costs 0.1 s of waiting and, where that goes on, more CPU time than all else that an idle agent does: it is
// tried again soon, since most reasons pass at once, and then ever more seldom.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// errUntried is the answer until the first trial.
var errUntried = errors.New("express: no superpacket has been sent round yet")

// trialPatience is how long a trial is waited for. Mostly the kernel has carried it before the call that sends it
// returns. Too short a wait on a busy machine costs a second of the straight way.
const trialPatience = 50 * time.Millisecond

// device returns the number of the device that superpackets are to go round by; 0 while the detour doesn't work.
func (d *detour) device() uint32 {
	if d.err != nil {
		return 0
	}
	return uint32(d.hook.index)
}

// check finds out by a trial whether superpackets come back, and lays the detour out where they don't: for the first
// time, or because somebody has taken a part of it away. It is called about once a second.
func (d *detour) check() {
	now := time.Now()
	if now.Before(d.again) {
		return
	}
	d.look()
	if d.err == nil {
		d.pause = 0
		return
	}
	d.pause = min(max(firstPause, 2*d.pause), lastPause)
	d.again = now.Add(d.pause)
}

func (d *detour) look() {
	if d.hook != nil {
		if d.err = d.try(); d.err == nil {
			return
		}
	}
	if d.err = d.lay(); d.err == nil {
		d.err = d.try()
	}
}

// try sends a trial and waits for it.
func (d *detour) try() error {
	before, err := d.trials()
	if err != nil {
		return err
	}
	if err := inject(d.lane, d.hook.index); err != nil {
		return err
	}
	for end := time.Now().Add(trialPatience); ; time.Sleep(time.Millisecond) {
		now, err := d.trials()
		if err != nil || now != before {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("express: %s: what was sent round didn't come back: does a firewall drop IPv6 from %v in PREROUTING (ip6tables, nft)?",
				d.hook.device, detourAddress(0))
		}
	}
}

// trials is how many have come back.
func (d *detour) trials() (uint64, error) {
	all, err := tallies(d.counts)
	return trials(all), err
}

// inject sends a trial into the far end of the veth.
func inject(lane string, near int) error {
	_, name := detourNames(lane)
	far, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("express: device %s: %w", name, err)
	}
	// With protocol 0 the socket hears nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("express: opening a packet socket to try the detour: %w: the agent needs CAP_NET_RAW", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, detourTrial(near), 0, &unix.SockaddrLinklayer{Ifindex: far.Attrs().Index}); err != nil {
		return fmt.Errorf("express: sending a trial into %s: %w", name, err)
	}
	return nil
}

// lay makes all that the detour takes. What is there already stays.
func (d *detour) lay() error {
	name, _ := detourNames(d.lane)
	near, err := detourVeth(d.lane)
	if err != nil {
		return fmt.Errorf("express: making %s, by which superpackets go round: %w", name, err)
	}
	// The program stands there before the route does: nothing that End.DX2 sends out may pass without it.
	index := near.Attrs().Index
	if d.hook == nil {
		d.hook = &hook{lane: d.lane, device: name, direction: outward, pin: returnedPin, program: d.program, pins: d.pins}
	}
	d.hook.index = index // another one where somebody has deleted the device
	if d.hook.check() != nil {
		if err := d.hook.attach(); err != nil {
			return err
		}
	}
	if err := netlink.RouteReplace(detourRoute(index)); err != nil {
		return fmt.Errorf("express: routing %v round by %s: %w: the kernel needs IPv6 and CONFIG_IPV6_SEG6_LWTUNNEL", detourAddress(index), name, err)
	}
	return nil
}

// detourRoute has the kernel take a frame to the address out of its headers, and send it out of the device.
func detourRoute(index int) *netlink.Route {
	endDX2 := &netlink.SEG6LocalEncap{Action: nl.SEG6_LOCAL_ACTION_END_DX2, Oif: index}
	endDX2.Flags[nl.SEG6_LOCAL_ACTION], endDX2.Flags[nl.SEG6_LOCAL_OIF] = true, true
	return &netlink.Route{
		LinkIndex: index, Encap: endDX2, Dst: &net.IPNet{IP: detourAddress(index).AsSlice(), Mask: net.CIDRMask(128, 128)},
		// The table that is asked first, whatever rules others have for theirs.
		Table: unix.RT_TABLE_LOCAL,
	}
}

// detourVeth returns the near end, up and with IPv6 but without an address.
func detourVeth(lane string) (netlink.Link, error) {
	name, farName := detourNames(lane)
	near, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		// End.DX2 compares a whole superpacket with the device's MTU.
		attrs.Name, attrs.MTU, attrs.HardwareAddr = name, 65535, detourMAC[:]
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: farName}); err != nil {
			return nil, err
		}
		near, err = netlink.LinkByName(name)
	}
	if err != nil {
		return nil, err
	}
	if !laneOwn(near) {
		return nil, fmt.Errorf("the name belongs to a device of type %s with MAC %v: rename that one", near.Type(), near.Attrs().HardwareAddr)
	}
	far, err := netlink.LinkByName(farName)
	if err != nil {
		return nil, err
	}
	return near, errors.Join(quiet(near), quiet(far), netlink.LinkSetUp(near), netlink.LinkSetUp(far))
}

// laneOwn tells a detour's device from somebody else's of that name, which is neither used nor deleted.
func laneOwn(l netlink.Link) bool {
	return l.Type() == "veth" && bytes.Equal(l.Attrs().HardwareAddr, detourMAC[:])
}

// quiet gives a device IPv6 where the namespace's default is to have none, but no address, so that the kernel has
// nothing to announce there.
func quiet(l netlink.Link) error {
	path := "/proc/sys/net/ipv6/conf/" + l.Attrs().Name + "/disable_ipv6"
	if now, err := os.ReadFile(path); err != nil || now[0] != '0' {
		if err := os.WriteFile(path, []byte("0"), 0); err != nil {
			return fmt.Errorf("enabling IPv6: %w: the kernel needs IPv6; start a container with --sysctl net.ipv6.conf.default.disable_ipv6=0", err)
		}
	}
	return netlink.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE)
}

// removeDetour takes the veth away, and with it its route and program.
func removeDetour(lane string) error {
	name, _ := detourNames(lane)
	near, err := netlink.LinkByName(name)
	if err != nil || !laneOwn(near) {
		return nil
	}
	if err := netlink.LinkDel(near); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("express: deleting %s: %w", name, err)
	}
	return nil
}
