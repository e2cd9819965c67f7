package tunnel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tunPath is the clone device: every descriptor of a TUN device begins as an open of it.
const tunPath = "/dev/net/tun"

// openTUN attaches a new descriptor to the TUN device called name, which it creates where there is
// none, in the network namespace of the calling thread. flags are the IFF_ flags beside IFF_TUN and
// IFF_NO_PI. The caller owns the descriptor; it is blocking.
func openTUN(name string, flags uint16) (fd int, err error) {
	fd, err = unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s for device %s: %w%s", tunPath, name, err, remedyForOpen(err))
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("opening device %q: a name has 1 to %d bytes: %w", name, unix.IFNAMSIZ-1, err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return -1, attachError(name, err)
	}
	return fd, nil
}

// remedyForOpen says what to do when the clone device can't be opened.
func remedyForOpen(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ": load the tun module (modprobe tun), or give the container the device (--device /dev/net/tun)"
	case errors.Is(err, unix.ENODEV):
		return ": load the tun module (modprobe tun)"
	case errors.Is(err, os.ErrPermission):
		return ": run as root, or allow the container the device (--device /dev/net/tun)"
	}
	return ""
}

// attachError says why TUNSETIFF refused, and what to do.
func attachError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return &heldError{device: name, holders: tunHolders("/proc", name)}
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("opening device %s: %w: run as root or with CAP_NET_ADMIN", name, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("opening device %s: %w: the name belongs to another kind of device, or to a TUN device "+
			"opened with other flags: delete it (ip link del %s) or choose --tun-name", name, err, name)
	}
	return fmt.Errorf("opening device %s: %w", name, err)
}

// A heldError says who holds a device. It is EBUSY to errors.Is.
type heldError struct {
	device  string
	holders []holder
}

func (e *heldError) Error() string {
	by := "another process"
	if len(e.holders) > 0 {
		by = e.holders[0].String()
	}
	return fmt.Sprintf("device %s is held by %s: stop it or choose --tun-name", e.device, by)
}

func (e *heldError) Unwrap() error { return unix.EBUSY }

// vnetFlag asks for a struct virtio_net_hdr in front of every packet.
const vnetFlag = unix.IFF_VNET_HDR
