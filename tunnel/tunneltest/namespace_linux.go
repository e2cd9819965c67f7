package tunneltest

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/tunnel"
)

// NeedRoot skips a test that can't run without root. With REQUIRE_ROOT=1 in the environment, as in
// CI, it fails instead: there a skip would hide that nothing was tested.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatal("this test needs root, and REQUIRE_ROOT=1 says that there is to be root")
	}
	t.Skip("needs root for network namespaces")
}

// A Namespace is a network namespace of a test's own, without a name, gone when its last user is.
type Namespace struct{ handle netns.NsHandle }

// NewNamespace makes one with its loopback up. It needs root.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	NeedRoot(t)
	n := new(Namespace)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread has left its namespace and dies with the goroutine
		handle, err := netns.New()
		n.handle = handle
		if err == nil {
			err = netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}})
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("making network namespace: %v", err)
	}
	t.Cleanup(func() { n.handle.Close() })
	return n
}

// Do runs f on a thread inside the namespace and fails the test with its error. What f opens stays
// in the namespace, whichever thread uses it later. f may end the test.
func (n *Namespace) Do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan struct{})
	err := errEndedTest
	go func() {
		defer close(done)
		runtime.LockOSThread() // as above
		if err = netns.Set(n.handle); err == nil {
			err = errEndedTest
			err = f()
		}
	}()
	<-done
	if err == errEndedTest {
		t.FailNow() // on the test's own goroutine too
	}
	if err != nil {
		t.Fatal(err)
	}
}

// errEndedTest is what is left when f didn't return.
var errEndedTest = errors.New("the test was ended from inside the namespace")

// FD returns the descriptor of the namespace, valid until the test ends.
func (n *Namespace) FD() int { return int(n.handle) }

// A TUNKernel is the Kernel side of a real TUN device: a packet socket, to which a device's transmit
// path and its receive path are all one.
type TUNKernel struct {
	fd, index int
	t         testing.TB
}

// NewTUNKernel opens the packet socket of a device that is up. It must be called inside the
// device's namespace.
func NewTUNKernel(t testing.TB, device string) (*TUNKernel, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return nil, err
	}
	k := &TUNKernel{fd: fd, index: link.Attrs().Index, t: t}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: k.index}); err != nil {
		return nil, err
	}
	// A queue that doesn't coalesce writes a hundred packets before the test looks at the first.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		return nil, err
	}
	limit := unix.NsecToTimeval(int64(patience))
	return k, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
}

// Send implements Kernel. Metadata of superpackets is not passed on.
func (k *TUNKernel) Send(packets ...tunnel.Packet) {
	for _, p := range packets {
		protocol := uint16(unix.ETH_P_IP)
		if p.Data[0]>>4 == 6 {
			protocol = unix.ETH_P_IPV6
		}
		to := &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: k.index}
		if err := unix.Sendto(k.fd, p.Data, 0, to); err != nil {
			k.t.Errorf("sending %d bytes to the device: %v", len(p.Data), err)
		}
	}
}

// Receive implements Kernel. A superpacket comes as one packet without its metadata.
func (k *TUNKernel) Receive(t testing.TB) tunnel.Packet {
	t.Helper()
	buf := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(k.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("receiving what was written to the device: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return described(buf[:n])
		}
	}
}

// described restores what a packet socket leaves out: that the checksum is still partial.
func described(data []byte) tunnel.Packet {
	p, ok := tunnel.Superpacket(data, 0, len(data))
	if !ok {
		return tunnel.Packet{Data: data}
	}
	return p
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
