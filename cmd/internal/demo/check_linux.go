package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// tunDevice is where userspace datapaths get their devices.
const tunDevice = "/dev/net/tun"

// Check says in one line what this machine or process lacks for the demo, and how to get it.
func Check() error {
	if err := netlab.Check(); err != nil {
		return fmt.Errorf("weft demo can't run here: %w", err)
	}
	// Opened, not looked at: in a container the device may be there and forbidden (cgroup).
	file, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		return explainTUN(err)
	}
	return file.Close()
}

// explainTUN adds the remedy to what opening the device returned.
func explainTUN(err error) error {
	remedy := "check the device's permissions"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = "load it with `modprobe tun` (inside a container: start that with --device " + tunDevice + ")"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		remedy = "the kernel has no TUN: load it with `modprobe tun`"
	case errors.Is(err, fs.ErrPermission):
		remedy = "run as root (inside a container: start that with --device " + tunDevice + ")"
	}
	return fmt.Errorf("weft demo can't run here: %w: %s", err, remedy)
}
