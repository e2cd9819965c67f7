// Package probe tries the offload ladder where nobody else is: in a network namespace that ends with
// the trial. Agent and doctor both stand on it, so that the doctor shows what the agent goes by.
package probe

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"weft/tunnel"
)

// Rungs tries every rung that modes don't switch off. Without the right to make a namespace the error
// is ErrNotTried.
func Rungs(modes tunnel.Modes) (found []tunnel.Rung, err error) {
	err = apart(func() (err error) {
		if err := loopbackUp(); err != nil {
			return err
		}
		found, err = tunnel.Probe(modes)
		return err
	})
	return found, err
}

// apart runs f in a new network namespace, which ends with it.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread has a namespace of its own and must not come back to the pool.
		runtime.LockOSThread()
		space, err := netns.New()
		if err != nil {
			done <- fmt.Errorf("%w: making a network namespace: %w: run as root", ErrNotTried, err)
			return
		}
		defer space.Close()
		done <- f()
	}()
	return <-done
}

// loopbackUp makes loopback carry datagrams, which it doesn't in a new namespace.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("%w: bringing loopback up: %w", ErrNotTried, err)
	}
	return nil
}

// ErrNotTried: there is no place to try things in, so nothing is known.
var ErrNotTried = errors.New("not tried")
