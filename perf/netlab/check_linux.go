package netlab

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check says in one line what this machine or process lacks for building labs, and how to get it; nil
// if nothing. It tries, in a namespace that is gone when it returns.
func Check() error {
	return onOwnThread(func() error {
		// The thread ends with this function, and with it the namespace and the devices in it.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return explainUnshare(err)
		}
		if err := prepare(); err != nil {
			return explainPrepare(err)
		}
		// The kernel loads the modules by itself where it may; inside a container it often mayn't.
		for _, link := range []netlink.Link{
			&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "check-br"}},
			&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "check-near"}, PeerName: "check-far"},
		} {
			if err := netlink.LinkAdd(link); err != nil {
				return explainDevice(link.Type(), err)
			}
		}
		return nil
	})
}

// explainUnshare tells a missing permission, which the user can get, from a missing feature.
func explainUnshare(err error) error {
	if errors.Is(err, unix.EPERM) {
		return errors.New("network namespaces need root: run it with sudo (inside a container: start that with --privileged)")
	}
	return fmt.Errorf("making a network namespace: %w: the kernel needs CONFIG_NET_NS", err)
}

// explainPrepare is for containers that may make namespaces, but not turn forwarding on in them.
func explainPrepare(err error) error {
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: start this container with --privileged", err)
	}
	return err
}

// explainDevice names the module behind a kind of device; the two have the same name here.
func explainDevice(kind string, err error) error {
	return fmt.Errorf("making a %s device: %w: load it with `modprobe %s` (on the machine itself, not inside a container)", kind, err, kind)
}
