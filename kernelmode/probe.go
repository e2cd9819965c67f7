package kernelmode

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Feature is something of the kernel that a datapath needs, and that can only be found out by trying.
type Feature string

// The features: devices of these kinds.
const (
	FeatureVXLAN Feature = "vxlan"
	FeatureIPIP  Feature = "ipip"
	FeatureTUN   Feature = "tun"
)

// Obstacle is a fixed word for why a feature can't be had, fit for a metric's label. "" is none.
type Obstacle string

// The obstacles.
const (
	NoModule      Obstacle = "no_module"      // the kernel has no such code, built in or as a module
	ModuleUnheard Obstacle = "module_unheard" // the module is there, or may be, and wasn't loaded
	NoPrivilege   Obstacle = "no_privilege"   // CAP_NET_ADMIN is missing, or worth nothing here
	Filtered      Obstacle = "filtered"       // a seccomp filter or security module forbids it
	NoDeviceNode  Obstacle = "no_device_node" // /dev/net/tun isn't there
	NodeForbidden Obstacle = "node_forbidden" // /dev/net/tun may not be opened
	OtherObstacle Obstacle = "other"
)

// A Capability is the outcome of trying one feature.
type Capability struct {
	Feature  Feature
	Obstacle Obstacle // "": it works
	Err      error    // what the kernel answered; nil when it works
	// Remedy is what would have to change, as a sentence without its full stop; "" when it works.
	Remedy string
}

// OK reports whether the feature works here.
func (c Capability) OK() bool { return c.Obstacle == "" }

// String says in one line whether it works, and if not, why and what to do.
func (c Capability) String() string {
	if c.OK() {
		return fmt.Sprintf("%s devices work here", c.Feature)
	}
	return fmt.Sprintf("%s devices don't work here: %v: %s", c.Feature, c.Err, c.Remedy)
}

// surroundings is what tells equal error numbers apart.
type surroundings struct {
	release     string // of the kernel, as uname -r
	netAdmin    bool   // CAP_NET_ADMIN is in the effective set
	initialUser bool   // the process is in the first user namespace
	filtered    bool   // a seccomp filter is in place
	noLoading   bool   // this kernel loads no modules: built without, or switched off until the next boot
	inside      bool   // the module is in the index of /lib/modules
	indexed     bool   // there is such an index
	builtIn     string // what the kernel's config says of it: y, m, n; "" unknown
}

// A step says how far an attempt came.
type step uint8

const (
	stepSocket step = iota // a netlink socket
	stepNode               // /dev/net/tun
	stepDevice             // the device itself
)

// judge turns the outcome of an attempt into a Capability. It is pure: probe_linux.go tries and looks.
func judge(f Feature, at step, err error, s surroundings) Capability {
	c := Capability{Feature: f, Err: err}
	if err == nil {
		return c
	}
	refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
	switch {
	case at == stepNode:
		c.Obstacle, c.Remedy = judgeNode(err, refused)
	case at == stepSocket && (refused || errors.Is(err, syscall.ENOSYS)):
		c.Obstacle, c.Remedy = Filtered, "a seccomp filter forbids netlink sockets: start the container with one that allows them (docker run --security-opt seccomp=…)"
	case refused:
		c.Obstacle, c.Remedy = judgeRefusal(s)
	case errors.Is(err, syscall.ENOSYS):
		c.Obstacle, c.Remedy = Filtered, "a seccomp filter, or a kernel in user space such as gVisor, answers that the call doesn't exist: use the ordinary runtime, or a filter that allows it"
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.EAFNOSUPPORT):
		c.Obstacle, c.Remedy = judgeModule(f, s)
	default:
		c.Obstacle, c.Remedy = OtherObstacle, "nothing that weft knows of; the kernel's log (dmesg) may say more"
	}
	return c
}

func judgeNode(err error, refused bool) (Obstacle, string) {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return NoDeviceNode, "/dev/net/tun isn't there: in a container add it (docker run --device /dev/net/tun), on a host make it (modprobe tun, or mknod /dev/net/tun c 10 200)"
	case refused:
		return NodeForbidden, "/dev/net/tun may not be opened: the container's device rules forbid it; start it with --device /dev/net/tun"
	}
	return ModuleUnheard, "/dev/net/tun is there and nothing is behind it: load the module on the host (modprobe tun)"
}

func judgeRefusal(s surroundings) (Obstacle, string) {
	switch {
	case !s.netAdmin:
		return NoPrivilege, "the agent lacks CAP_NET_ADMIN: run it as root, or in a container with --cap-add NET_ADMIN"
	case s.filtered:
		return Filtered, "the agent has CAP_NET_ADMIN, so a seccomp filter or security module is what forbids it: allow netlink's RTM_NEWLINK there"
	case !s.initialUser:
		return NoPrivilege, "CAP_NET_ADMIN doesn't reach this network namespace, which belongs to another user namespace: give the container a network namespace of its own, or run it without user namespaces"
	}
	return Filtered, "the agent has CAP_NET_ADMIN, so a security module (SELinux, AppArmor) is what forbids it: its audit log says which rule"
}

// judgeModule asks the kernel's own config first, then what is on the disk, which in a container is
// seldom the host's.
func judgeModule(f Feature, s surroundings) (Obstacle, string) {
	switch {
	case s.builtIn == "n" || s.builtIn != "m" && s.indexed && !s.inside:
		return NoModule, fmt.Sprintf("kernel %s was built without %s: install its extra modules (linux-modules-extra-%s on Ubuntu, kernel-modules-extra on Fedora), or boot another kernel", s.release, f, s.release)
	case s.noLoading:
		return ModuleUnheard, fmt.Sprintf("this kernel loads no modules any more: load %s at boot (/etc/modules-load.d), before loading is switched off", f)
	case s.inside:
		return ModuleUnheard, fmt.Sprintf("module %s is installed and wasn't loaded: run `modprobe %s` on the host, and look whether /etc/modprobe.d forbids it", f, f)
	}
	return ModuleUnheard, fmt.Sprintf("module %s isn't loaded, and can't be from inside here: run `modprobe %s` on the host (kernel %s); if it isn't found there, install the kernel's extra modules", f, f, s.release)
}

// configured finds what a kernel config says of a symbol: "y", "m", "n", or "" if it doesn't name it.
func configured(config, symbol string) string {
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if line == "# "+symbol+" is not set" {
			return "n"
		}
		if value, ok := strings.CutPrefix(line, symbol+"="); ok {
			return value
		}
	}
	return ""
}

// symbols are the config symbols of the features.
var symbols = map[Feature]string{FeatureVXLAN: "CONFIG_VXLAN", FeatureIPIP: "CONFIG_NET_IPIP", FeatureTUN: "CONFIG_TUN"}

// status finds a field of /proc/self/status.
func status(text, field string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
