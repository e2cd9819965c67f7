package agent

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"weft/cmd/internal/admin"
)

// A claim keeps a second agent of the same network namespace away from what the first one uses. It
// is an abstract unix socket: the kernel keeps those per network namespace, as it does devices, and
// drops them with their owner, however that ended (unix(7)).
//
// It is taken before anything is touched. The TUN device itself would be no lock: a multi-queue
// device lets a second agent attach, and take a share of the first one's packets.
type claim struct {
	what     string
	listener net.Listener
}

// takeClaim takes the name, or returns a HeldError.
func takeClaim(what string) (*claim, error) {
	name := "@weft/" + what
	listener, err := net.Listen("unix", name)
	if err == nil {
		return &claim{what, listener}, nil
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("claiming %s in this network namespace: %w", what, err)
	}
	held := &HeldError{What: what}
	if conn, err := net.DialTimeout("unix", name, time.Second); err == nil {
		held.PID = admin.PeerPID(conn)
		_ = conn.Close()
	}
	return nil, held
}

// release gives the name up. A claim never accepts: connecting to it is enough to learn the pid.
func (c *claim) release() { _ = c.listener.Close() }

// A HeldError says that another agent in this network namespace has what this one needs.
type HeldError struct {
	What string // "device weft0"
	PID  int    // 0 if it can't be told, as across process namespaces
}

// Error says who holds it and what to do.
func (e *HeldError) Error() string {
	who := "another agent"
	if e.PID != 0 {
		who = fmt.Sprintf("another agent, pid %d", e.PID)
	}
	return fmt.Sprintf("%s is held by %s in this network namespace: end that one first, or run this one in a namespace of its own", e.What, who)
}
