package kernelmode

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// remedy says what an operator can do about a refused operation; "" where it is nothing in particular.
func (e *OpError) remedy() string {
	switch o := e.Op.Object.(type) {
	case Sysctl:
		return e.sysctlRemedy(o)
	case Link:
		if text := e.linkRemedy(o); text != "" {
			return text
		}
	case Route:
		if errors.Is(e.Err, syscall.ENETUNREACH) && o.Via.IsValid() && !o.Onlink {
			return fmt.Sprintf("no network of device %s holds %s: the two hosts aren't on one link", o.Dev, o.Via)
		}
	}
	if errors.Is(e.Err, syscall.EPERM) {
		return "the agent needs CAP_NET_ADMIN in this network namespace: run it as root, or with --cap-add NET_ADMIN in a container"
	}
	return ""
}

func (e *OpError) sysctlRemedy(s Sysctl) string {
	switch {
	case errors.Is(e.Err, syscall.EROFS), errors.Is(e.Err, syscall.EACCES), errors.Is(e.Err, syscall.EPERM):
		name := strings.ReplaceAll(s.Name, "/", ".")
		return fmt.Sprintf("/proc/sys can't be written from here, as in most containers: set it from outside (docker run --sysctl %s=%s, or sysctl -w on the host), then weft is content", name, s.Value)
	case errors.Is(e.Err, syscall.ENOENT):
		return "this kernel has no such parameter: is the protocol disabled (ipv6.disable=1)?"
	}
	return ""
}

func (e *OpError) linkRemedy(l Link) string {
	switch {
	case errors.Is(e.Err, syscall.EOPNOTSUPP) && e.Op.Verb == Add:
		return fmt.Sprintf("this kernel makes no %s devices: `weft doctor` says why, and --datapath userspace needs none", l.Kind)
	case errors.Is(e.Err, syscall.ENODEV) && l.VXLAN.Parent != "":
		return "it is made as soon as the underlying device is back"
	case errors.Is(e.Err, syscall.EEXIST) && l.Kind == LinkVXLAN:
		return fmt.Sprintf("another device has VNI %d and port %d (ip -d link show type vxlan): delete it, or change the network config's VNI", l.VXLAN.VNI, l.VXLAN.Port)
	case errors.Is(e.Err, syscall.EADDRINUSE) && l.Kind == LinkVXLAN:
		return fmt.Sprintf("another program has UDP port %d (ss -lunp): stop it, or change the network config's Port", l.VXLAN.Port)
	case errors.Is(e.Err, syscall.EEXIST) && l.Kind == LinkIPIP:
		return "another IPIP device has the same ends (ip -d link show type ipip): delete it"
	}
	return ""
}
