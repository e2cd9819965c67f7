package tunnel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/tunnel/ethtool"
)

// MaxOutlets is how many outlets a device can have: its program tells them apart by one byte.
const MaxOutlets = 256

// OpenOutlets creates a TAP device called name ("weftout%d": the kernel numbers it) in the network namespace of the calling
// thread, brings it up, and returns n outlets that share it: one a worker, each the caller's to close. underlay
// names the device that most peers are reached through, for Whole.
//
// The error names the step that this kernel or container refused, and what would bring it. It changes nothing
// but its own device, which carries no address.
func OpenOutlets(name, underlay string, n int) (outlets []*Outlet, err error) {
	if n < 1 || n > MaxOutlets {
		return nil, fmt.Errorf("opening %d outlets: use 1 to %d", n, MaxOutlets)
	}
	d, err := openOutletDevice(name, underlay, n)
	if err != nil {
		return nil, fmt.Errorf("opening outlet device %s: %w", name, err)
	}
	for i := range n {
		slot := (*outletSlot)(unsafe.Pointer(&d.memory[i*slotBytes]))
		outlets = append(outlets, &Outlet{device: &outletDescriptor{outletDevice: d, slot: slot}, slot: byte(i), six: d.six})
	}
	return outlets, nil
}

// openOutletDevice does all that OpenOutlets does once.
func openOutletDevice(name, underlay string, n int) (d *outletDevice, err error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w%s", tunPath, err, remedyForOpen(err))
	}
	d = &outletDevice{fd: fd, underlay: underlay}
	for _, step := range []func() error{
		func() error { return d.attach(name) },
		d.offload,
		d.guard,
		d.raise,
		func() error { return d.share(n) },
		d.load,
	} {
		if err := step(); err != nil {
			d.close()
			return nil, err
		}
	}
	d.users.Store(int32(n))
	return d, nil
}

// attach creates the device.
func (d *outletDevice) attach(name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("a name has 1 to %d bytes: %w", unix.IFNAMSIZ-1, err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(d.fd, unix.TUNSETIFF, request); err != nil {
		return attachError(name, err)
	}
	d.name = request.Name()
	return nil
}

// Flags of TUNSETOFFLOAD that golang.org/x/sys doesn't know (include/uapi/linux/if_tun.h, Linux 6.17).
const (
	tunUDPTunnelGSO    = 0x080 // TUN_F_UDP_TUNNEL_GSO
	tunUDPTunnelGSOSum = 0x100 // TUN_F_UDP_TUNNEL_GSO_CSUM
)

// offload has the device take encapsulated superpackets, described in little-endian.
func (d *outletDevice) offload() error {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if err := unix.IoctlSetPointerInt(d.fd, unix.TUNSETVNETLE, 1); err != nil {
		return fmt.Errorf("choosing the byte order: %w", err)
	}
	if err := unix.IoctlSetPointerInt(d.fd, unix.TUNSETVNETHDRSZ, outletVnetLen); err != nil {
		return fmt.Errorf("choosing the header size: %w", err)
	}
	if err := unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, tcp|tunUDPTunnelGSO|tunUDPTunnelGSOSum); err != nil {
		return fmt.Errorf("switching UDP tunnel segmentation on: %w: it needs Linux 6.17", err)
	}
	return nil
}

// guard sees that no IPsec policy is there, and keeps what it takes to look again, from any namespace.
func (d *outletDevice) guard() (err error) {
	if d.ethtool, err = nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_GENERIC); err != nil {
		return fmt.Errorf("asking for the underlay's features: %w", err)
	}
	d.family, _ = ethtool.Family() // without one no device is said to segment tunnels
	if underlay, err := netlink.LinkByName(d.underlay); err == nil {
		d.virtual = underlay.Type() != "device" // what netlink calls one without a kind
	}
	if d.policies, err = netlink.NewHandle(unix.NETLINK_XFRM); errors.Is(err, unix.EPROTONOSUPPORT) {
		d.policies, err = &netlink.Handle{}, nil // a kernel without IPsec
	}
	if err != nil {
		return fmt.Errorf("asking for IPsec policies: %w", err)
	}
	return d.check()
}

// raise brings the device up. Nobody reads from it: without ARP and IPv6 the kernel has nothing to say there.
func (d *outletDevice) raise() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(d.name)
	if err != nil {
		return err
	}
	// Where this fails, a few router solicitations end in the device's queue.
	os.WriteFile("/proc/sys/net/ipv6/conf/"+d.name+"/disable_ipv6", []byte("1"), 0)
	request.SetUint16(unix.IFF_UP | unix.IFF_NOARP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing it up: %w", err)
	}
	return d.forward()
}

// forward lets bpf_fib_lookup serve the device. The host doesn't forward because of it: nothing else comes from there.
func (d *outletDevice) forward() error {
	err := switchOn("/proc/sys/net/ipv4/conf/" + d.name + "/forwarding")
	d.six = switchOn("/proc/sys/net/ipv6/conf/"+d.name+"/forwarding") == nil
	if err == nil {
		return nil
	}
	return fmt.Errorf("switching net.ipv4.conf.%s.forwarding on: %w: make /proc/sys/net writable, or start the container "+
		"with net.ipv4.ip_forward=1", d.name, err)
}

// switchOn sets a sysctl to 1. It may have inherited that where /proc/sys is read-only.
func switchOn(path string) error {
	err := os.WriteFile(path, []byte("1"), 0)
	if value, _ := os.ReadFile(path); strings.TrimSpace(string(value)) == "1" {
		return nil
	}
	return err
}

// share makes the array in which outlets and program meet.
func (d *outletDevice) share(n int) (err error) {
	d.slots, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "weft_outlet", Type: ebpf.Array, KeySize: 4, ValueSize: slotBytes, MaxEntries: uint32(n), Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		return fmt.Errorf("creating a map: %w%s", err, remedyForBPF(err))
	}
	page := os.Getpagesize()
	d.memory, err = unix.Mmap(d.slots.FD(), 0, (n*slotBytes+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping a map: %w", err)
	}
	return nil
}

// load attaches the program.
func (d *outletDevice) load() (err error) {
	if d.program, err = ebpf.NewProgram(outletProgram(d.slots)); err != nil {
		return fmt.Errorf("loading its program: %w%s", err, remedyForBPF(err))
	}
	index, err := indexOf(d.name)
	if err != nil {
		return err
	}
	d.link, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: d.program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("attaching its program: %w%s", err, remedyForBPF(err))
	}
	return nil
}

// indexOf asks for a device's number in the namespace of the calling thread.
func indexOf(device string) (int, error) {
	found, err := netlink.LinkByName(device)
	if err != nil {
		return 0, fmt.Errorf("finding device %s: %w", device, err)
	}
	return found.Attrs().Index, nil
}

func remedyForBPF(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return ": run as root, or give the container CAP_BPF and CAP_NET_ADMIN"
	}
	return ""
}
