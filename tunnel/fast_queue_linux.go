package tunnel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// QueueOptions shape the queues that OpenFastQueues opens.
type QueueOptions struct {
	Modes  Modes // TSO, USO and MultiQueue are looked at
	Queues int   // descriptors to open; 0 means 1
}

// OpenFastQueues opens opt.Queues descriptors of the TUN device called name in the network namespace
// of the calling thread, creating the device if there is none ("weft%d": the kernel numbers it). It is
// neither up nor has an address. With MultiQueue off, or auto on a kernel without it, one queue
// comes back. Every queue is the caller's to close; the device goes with the last.
func OpenFastQueues(name string, opt QueueOptions) (queues []*FastQueue, err error) {
	want := max(opt.Queues, 1)
	flags := uint16(unix.IFF_VNET_HDR)
	if want > 1 && opt.Modes.MultiQueue == Off {
		want = 1
	}
	if want > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	// EINVAL for a device that exists is a mismatch of flags: opened by another program without
	// IFF_MULTI_QUEUE, or the kernel is older than 3.8 and doesn't know the flag.
	fd, err := openTUN(name, flags)
	if err != nil && want > 1 && opt.Modes.MultiQueue == Auto && errors.Is(err, unix.EINVAL) {
		want, flags = 1, unix.IFF_VNET_HDR
		fd, err = openTUN(name, flags)
	}
	for err == nil {
		var q *FastQueue
		if q, err = fastQueueOf(fd, opt.Modes, want > 1); err != nil {
			break
		}
		queues = append(queues, q)
		if len(queues) == want {
			return queues, nil
		}
		fd, err = openTUN(queues[0].name, flags) // by its real name: "weft%d" would make another device
	}
	for _, q := range queues {
		q.Close()
	}
	return nil, err
}

// fastQueueOf makes a queue of an attached descriptor, which is closed on error.
func fastQueueOf(fd int, modes Modes, multi bool) (*FastQueue, error) {
	request, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("asking a TUN descriptor for its device: %w", err)
	}
	offloads, err := setTUNOffloads(fd, modes)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening device %s: %w", request.Name(), err)
	}
	offloads.MultiQueue = multi
	device, err := newTUNDescriptor(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening device %s: %w", request.Name(), err)
	}
	// A version is only the first guess; learn lowers it where the kernel disagrees.
	limits := coalesceLimits{tcp: offloads.TSO, udp: offloads.USO, udpSegments: udpSegmentsOld}
	if kernelAtLeast(6, 9) {
		limits.udpSegments = udpSegmentsNew
	}
	q := newFastQueue(request.Name(), device, offloads, limits)
	q.fd, q.yield = fd, yieldCore
	return q, nil
}

// setTUNOffloads asks for the superpackets that modes allow, and returns what the kernel granted.
// A partial checksum (TUN_F_CSUM) is always asked for: every kernel with IFF_VNET_HDR has it.
func setTUNOffloads(fd int, modes Modes) (o Offloads, err error) {
	const tcp = unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	const udp = unix.TUN_F_USO4 | unix.TUN_F_USO6
	// Each call sets the whole mask, of the device and not of this queue: all queues agree, since they
	// are opened with the same modes.
	flags := unix.TUN_F_CSUM
	if modes.TSO != Off {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags|tcp); err == nil {
			flags |= tcp
			o.TSO = true
		} else if modes.TSO == On {
			return o, fmt.Errorf("switching TCP segmentation offload on: %w: use --offload-tso=auto", err)
		}
	}
	if modes.USO != Off {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags|udp); err == nil {
			flags |= udp
			o.USO = true
		} else if modes.USO == On {
			return o, fmt.Errorf("switching UDP segmentation offload on: %w: it needs Linux 6.2, use --offload-uso=auto", err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err != nil {
		return o, fmt.Errorf("switching checksum offload on: %w", err)
	}
	return o, nil
}
