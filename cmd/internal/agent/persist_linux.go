package agent

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"weft/tunnel"
)

// persist has the queue's device outlive whoever holds it, or go with the last of them (TUNSETPERSIST, of the device and not of
// this descriptor).
func persist(q tunnel.Queue, on bool) error {
	p, ok := q.(tunnel.Pollable)
	if !ok {
		return errors.New("the portable queue's device can't be kept when the agent ends, and the lane with it: drop --io portable")
	}
	value := 0
	if on {
		value = 1
	}
	if err := unix.IoctlSetInt(p.FD(), unix.TUNSETPERSIST, value); err != nil {
		return fmt.Errorf("keeping the TUN device for the lane: %w", err)
	}
	return nil
}
