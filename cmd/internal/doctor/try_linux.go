package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netns"

	"weft/tunnel"
)

// try opens a device and a socket with one rung forced on, in a network namespace of their own, and
// returns why that fails. A rung without descriptors stands or falls with TSO's virtio header.
func (r *Rung) try() error {
	modes := tunnel.Modes{}
	if r.set != nil {
		r.set(&modes, tunnel.On)
	}
	return apart(func() error {
		queues, err := tunnel.OpenFastQueues("weftdoctor%d", tunnel.QueueOptions{Modes: modes, Queues: 2})
		if err != nil {
			return err
		}
		defer func() {
			for _, q := range queues {
				_ = q.Close()
			}
		}()
		conn, err := tunnel.ListenFastConn(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), tunnel.ConnOptions{}, modes)
		if err != nil {
			return err
		}
		defer conn.Close()
		if o := together(queues[0].Offloads(), conn.Offloads()); r.has != nil && !r.has(o) {
			return errors.New("the kernel takes the setting and doesn't act on it")
		}
		return nil
	})
}

// errNotTried: there is no place to try things in.
var errNotTried = errors.New("not tried")

// together joins a queue's rungs and a conn's: each knows its own.
func together(queue, conn tunnel.Offloads) tunnel.Offloads {
	queue.GSO, queue.GRO, queue.Batch = conn.GSO, conn.GRO, conn.Batch
	return queue
}

// apart runs f in a new network namespace, which ends with it.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread has a namespace of its own and must not come back to the pool.
		runtime.LockOSThread()
		space, err := netns.New()
		if err != nil {
			done <- fmt.Errorf("%w: making a network namespace: %w: run as root", errNotTried, err)
			return
		}
		defer space.Close()
		done <- f()
	}()
	return <-done
}
