package express

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// probeDevice is the TUN device that Probe makes and that goes when it returns.
const probeDevice = "weftprobe%d"

// Probe finds out by trying whether a lane can be had in the network namespace of the calling thread. obstacle says
// why not, with the remedy; limit says what a lane would lack here: nil where it lacks nothing. pins is
// Config.Pins. What it makes is gone when it returns, but for the folder of pins.
func Probe(pins string) (obstacle, limit error) {
	var objects laneObjects
	if err := probeLoading(&objects); err != nil {
		return err, nil
	}
	defer objects.Close()
	obstacle, detour := probeDevices(&objects)
	if obstacle != nil {
		return obstacle, nil
	}
	return nil, errors.Join(probePins(pins), detour, probeVersion())
}

// probeLoading has the kernel verify the very programs.
func probeLoading(objects *laneObjects) error {
	// Where this fails, loading says so too, and in the kernel's own words.
	limit := rlimit.RemoveMemlock()
	if err := load(objects, laneSettings{}, 2, nowhere); err != nil {
		return errors.Join(err, limit)
	}
	return nil
}

// nowhere is no place for pins: what a probe makes must go with it, even if the process dies in between.
var nowhere = pins{err: errors.New("express: nothing is pinned by a probe")}

// probeDevices puts a program on a TUN device of its own, and tries the way round for superpackets beside it.
func probeDevices(objects *laneObjects) (obstacle, detour error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("express: opening /dev/net/tun: %w: give the container the device (--device /dev/net/tun), or load the module (modprobe tun)", err), nil
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(probeDevice)
	if err != nil {
		return err, nil
	}
	// Not kept, so that it goes with its descriptor whatever happens here.
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return refused("making a TUN device", err), nil
	}
	if err := probeAttaching(objects.Egress, request.Name()); err != nil {
		return err, nil
	}
	return nil, probeDetour(objects, request.Name())
}

// probeAttaching attaches as a lane would: by a link, or where the kernel has none, by a filter.
func probeAttaching(program *ebpf.Program, name string) error {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("express: finding device %s: %w", name, err)
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: device.Attrs().Index, Program: program, Attach: ebpf.AttachTCXEgress})
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return refused("attaching a program", err)
	}
	h := hook{lane: name, device: name, index: device.Attrs().Index, direction: outward, program: program, pins: nowhere}
	return h.attachFilter()
}

// probeDetour says why superpackets would keep their mark here: see Lane.Detour.
func probeDetour(objects *laneObjects, name string) error {
	d := detour{lane: name, program: objects.Returned, pins: nowhere, counts: objects.Counts}
	d.check()
	if err := errors.Join(d.err, removeDetour(name)); err != nil {
		return fmt.Errorf("%w: without it a bridge in front of containers cuts superpackets, which more than halves what one stream carries", err)
	}
	return nil
}

// probePins tries the folder itself, since a BPF file system may be mounted and read-only all the same.
func probePins(root string) error {
	p := openPins(root, "probe")
	if p.err != nil {
		return fmt.Errorf("%w: without it the counters begin anew with each agent", p.err)
	}
	return p.remove()
}

// probeVersion says what this kernel is too old for.
func probeVersion() error {
	code, err := features.LinuxVersionCode()
	if err != nil || code >= version(6, 3) {
		return err
	}
	return errors.New("express: this kernel is older than 6.3: IPv6 packets over an IPv4 underlay, and the reverse, come in by way of userspace")
}
