package doctor

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"weft/tunnel"
)

// try fills in what each rung comes to on this machine, tried in a network namespace of its own.
func try(all []Rung) {
	var found []tunnel.Rung
	err := apart(func() (err error) {
		if err := loopbackUp(); err != nil {
			return err
		}
		found, err = tunnel.Probe(tunnel.Modes{})
		return err
	})
	for i := range all {
		rung := &all[i]
		if err != nil {
			rung.Why = err.Error()
			continue
		}
		rung.judge(found)
	}
}

// judge takes over what probing found. The remote checksum is no matter of descriptors: it stands on
// TSO's virtio header, which lets a packet into the kernel whose checksum isn't there.
func (r *Rung) judge(found []tunnel.Rung) {
	name := strings.TrimPrefix(r.Flag, "--offload-")
	if name == "remote-checksum" {
		name = "tso"
	}
	for _, f := range found {
		if f.Name == name {
			r.Tried, r.Works, r.Why = true, f.On, f.Why
		}
	}
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

// loopbackUp makes loopback carry datagrams, which it doesn't in a new namespace.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("%w: bringing loopback up: %w", errNotTried, err)
	}
	return nil
}

// errNotTried: there is no place to try things in.
var errNotTried = errors.New("not tried")
