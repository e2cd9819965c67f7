package express

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// KeepDevice makes the TUN device called name, in the network namespace of the calling thread, outlive the
// programs that hold it; it is made where there is none. multiQueue says how it will be opened: the
// kernel refuses the other way later. Without this a device goes with its last descriptor, and a
// lane with it.
//
// A kept device stays until it is deleted: by Remove, or `ip link del`.
func KeepDevice(name string, multiQueue bool) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("express: opening /dev/net/tun to keep device %s: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("express: keeping device %q: a name has 1 to %d bytes: %w", name, unix.IFNAMSIZ-1, err)
	}
	// As the forwarder's queues have it: a device remembers its flags, and others are refused.
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if multiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("express: keeping device %s: %w: the name belongs to another kind of device, or somebody holds it", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("express: keeping device %s: %w", name, err)
	}
	return nil
}

// Remove takes away all that lanes on the TUN device left in the network namespace of the calling thread: links,
// filters, pins, the way round for superpackets and, where it was kept, the device itself. What isn't there is no
// error. pins is Config.Pins.
func Remove(pinsRoot, device string) error {
	all := Detach(pinsRoot, device)
	link, err := netlink.LinkByName(device)
	if err != nil || link.Type() != "tuntap" && link.Type() != "tun" {
		return all
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		all = errors.Join(all, fmt.Errorf("express: deleting device %s: %w", device, err))
	}
	return all
}

// Detach is Remove without the TUN device: packets go through userspace from here on, whoever attached the lane.
func Detach(pinsRoot, device string) error {
	p := openPins(pinsRoot, device)
	var all error
	for _, pin := range []string{egressPin, ingressPin, returnedPin} {
		if l := p.link(pin); l != nil {
			// Detached first: a pin or a descriptor elsewhere would keep an unpinned link alive.
			all = errors.Join(all, l.Detach(), l.Unpin(), l.Close())
		}
	}
	return errors.Join(all, p.remove(), removeFilters(device), removeDetour(device))
}

// Left reports whether an earlier lane on the device has left pins in the network namespace of the calling thread. One
// that couldn't be pinned, and so lies in filters alone, isn't found: those who attach it have to remember it.
func Left(pinsRoot, device string) bool {
	if pinsRoot == "" {
		pinsRoot = DefaultPins
	}
	name, err := pinName(device)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(pinsRoot, name))
	return err == nil
}

// removeFilters looks at every device, since nothing says which underlay an earlier lane had.
func removeFilters(lane string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("express: listing devices: %w", err)
	}
	var all error
	for _, l := range links {
		for _, d := range []direction{outward, inward} {
			h := hook{lane: lane, device: l.Attrs().Name, index: l.Attrs().Index, direction: d}
			all = errors.Join(all, h.detachFilter())
		}
	}
	return all
}
