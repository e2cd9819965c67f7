package express

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A kernel is what a lane has to know of the one below it.
type kernel struct {
	tun, underlay int  // device numbers
	crossFamily   bool // see struct settings in bpf/maps.h
	frameInside   bool
}

// version is a kernel's as KERNEL_VERSION has it.
func version(major, minor uint32) uint32 { return major<<16 | minor<<8 }

// look finds the devices and what the kernel can do. What can't be tried without a packet is decided by version:
// flags of helpers are refused only when a program runs.
func look(c *Config) (k kernel, err error) {
	tun, err := netlink.LinkByName(c.Device)
	if err != nil {
		return k, fmt.Errorf("express: device %s: %w", c.Device, err)
	}
	underlay, err := netlink.LinkByName(c.Underlay)
	if err != nil {
		return k, fmt.Errorf("express: underlay %s: %w", c.Underlay, err)
	}
	if t := tun.Type(); t != "tun" && t != "tuntap" {
		return k, fmt.Errorf("express: device %s is of type %s: the lane needs a TUN device", c.Device, t)
	}
	// WireGuard, PPP and other tunnels have no Ethernet header that egress could write.
	if e := underlay.Attrs().EncapType; e != "ether" {
		return k, fmt.Errorf("express: underlay %s carries %s frames: the lane writes Ethernet headers, use --datapath userspace there", c.Underlay, e)
	}
	code, err := features.LinuxVersionCode()
	if err != nil {
		return k, fmt.Errorf("express: asking for the kernel's version: %w", err)
	}
	// Before 5.11 maps count against the limit of locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return k, fmt.Errorf("express: lifting the limit of locked memory: %w: give the agent CAP_SYS_RESOURCE, or start it with ulimit -l unlimited", err)
	}
	return kernel{
		tun: tun.Attrs().Index, underlay: underlay.Attrs().Index,
		crossFamily: code >= version(6, 3), frameInside: code >= version(5, 14),
	}, nil
}

// refused explains what the kernel answered: an errno of bpf(2) or of tc says nothing to whoever has to mend it.
func refused(what string, err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return fmt.Errorf("express: %s: %w: this kernel's verifier doesn't take the programs: use --datapath userspace and report it", what, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("express: %s: %w: the agent needs CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), and a seccomp filter that allows bpf(2)", what, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("express: %s: %w: this kernel has no bpf(2) (CONFIG_BPF_SYSCALL), or a filter hides it", what, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("express: %s: %w: this kernel needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF (modules sch_ingress and cls_bpf)", what, err)
	}
	return fmt.Errorf("express: %s: %w", what, err)
}
