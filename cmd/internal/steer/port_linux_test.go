package steer

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"weft/perf/netlab/labtest"
)

// apart runs the test in a network namespace of its own, with loopback up.
func apart(t *testing.T) {
	t.Helper()
	labtest.NeedRoot(t)
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = space.Close() })
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T, at string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.UDPConn)
}

func descriptor(t *testing.T, c *net.UDPConn) (fd int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(d uintptr) { fd = int(d) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// arrives sends a datagram from one socket to an address, and says whether it came out at another.
func arrives(t *testing.T, from *net.UDPConn, to net.Addr, at *net.UDPConn) error {
	t.Helper()
	if _, err := from.WriteTo([]byte(t.Name()), to); err != nil {
		return err
	}
	if err := at.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	buffer := make([]byte, 100)
	n, _, err := at.ReadFrom(buffer)
	if err == nil && string(buffer[:n]) != t.Name() {
		err = fmt.Errorf("got %q", buffer[:n])
	}
	return err
}

// The port's datagrams come to another socket while it is steered, bound or not, and to its own after.
func TestPortChangesHands(t *testing.T) {
	for _, family := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(family, func(t *testing.T) {
			apart(t)
			owner, other, sender, bystander := listen(t, family), listen(t, family), listen(t, family), listen(t, family)
			at := owner.LocalAddr()
			fds := [2]int{-1, -1}
			fds[map[bool]int{true: 0, false: 1}[family[0] == '1']] = descriptor(t, other)
			p, err := Open(uint16(at.(*net.UDPAddr).Port), fds[0], fds[1])
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := arrives(t, sender, at, other); err != nil {
				t.Errorf("steered: %v", err)
			}
			if err := arrives(t, sender, bystander.LocalAddr(), bystander); err != nil {
				t.Errorf("another port: %v", err)
			}
			_ = owner.Close()
			if err := arrives(t, sender, at, other); err != nil {
				t.Errorf("steered, with nobody bound: %v", err)
			}
			next := listen(t, at.String())
			if err := arrives(t, sender, at, other); err != nil {
				t.Errorf("steered, with the next owner bound: %v", err)
			}
			p.Close()
			if err := arrives(t, sender, at, next); err != nil {
				t.Errorf("not steered any more: %v", err)
			}
		})
	}
}

// What can't be steered says so, and leaves nothing behind.
func TestSteeringNeedsSockets(t *testing.T) {
	apart(t)
	if p, err := Open(9, 1<<20, -1); err == nil {
		p.Close()
		t.Error("a descriptor that isn't open was taken")
	}
	var none *Port
	none.Close()
}
