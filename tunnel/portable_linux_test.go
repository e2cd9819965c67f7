package tunnel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// setUp brings a device of the current namespace up, without an IPv6 address so that the kernel sends
// nothing of its own.
func setUp(device string, mtu int) error {
	path := fmt.Sprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", device)
	if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func TestPortableQueue(t *testing.T) {
	tunneltest.TestQueue(t, func(t *testing.T) (q tunnel.Queue, k tunneltest.Kernel) {
		tunneltest.NewNamespace(t).Do(t, func() error {
			device, err := tunnel.OpenPortableQueue("weftport%d")
			if err != nil {
				return err
			}
			t.Cleanup(func() { device.Close() })
			if err := setUp(device.Name(), 1400); err != nil {
				return err
			}
			q = device
			k, err = tunneltest.NewTUNKernel(t, device.Name())
			return err
		})
		return q, k
	})
}

func TestPortableQueueOnADeviceThatIsDownTakesNothing(t *testing.T) {
	tunneltest.NewNamespace(t).Do(t, func() error {
		q, err := tunnel.OpenPortableQueue("weftport0")
		if err != nil {
			return err
		}
		defer q.Close()
		flow := tunneltest.Flow{Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2")}
		n, err := q.WriteBatch([]tunnel.Packet{{Data: flow.UDP(nil)}, {Data: flow.UDP([]byte("longer"))}})
		if n != 0 || err != nil {
			t.Errorf("WriteBatch on a device that is down: n %d, error %v, want 0 and none", n, err)
		}
		return nil
	})
}

func TestPortableQueueSaysThatItsDeviceWasDeleted(t *testing.T) {
	tunneltest.NewNamespace(t).Do(t, func() error {
		q, err := tunnel.OpenPortableQueue("weftport0")
		if err != nil {
			return err
		}
		defer q.Close()
		if err := setUp(q.Name(), 1400); err != nil {
			return err
		}
		link, err := netlink.LinkByName(q.Name())
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(link); err != nil {
			return err
		}
		_, err = q.ReadBatch(make([]tunnel.Packet, 1))
		if err == nil || errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "weftport0: the device was deleted") {
			t.Errorf("ReadBatch: %v, want that weftport0 was deleted", err)
		}
		return nil
	})
}

func TestSecondOpenSaysWhoHoldsTheDevice(t *testing.T) {
	tunneltest.NewNamespace(t).Do(t, func() error {
		q, err := tunnel.OpenPortableQueue("weftport0")
		if err != nil {
			return err
		}
		defer q.Close()
		_, err = tunnel.OpenPortableQueue("weftport0")
		if !errors.Is(err, syscall.EBUSY) {
			t.Fatalf("second open: %v, want EBUSY", err)
		}
		// The holder is this test itself.
		want := fmt.Sprintf("device weftport0 is held by pid %d (%s): stop it or choose --tun-name", os.Getpid(), filepath.Base(os.Args[0]))
		if err.Error() != want {
			t.Errorf("second open: %q, want %q", err, want)
		}
		return nil
	})
}

func TestDeviceOfAnotherNamespaceIsNoHindrance(t *testing.T) {
	for range 2 {
		tunneltest.NewNamespace(t).Do(t, func() error {
			q, err := tunnel.OpenPortableQueue("weftport0")
			if err == nil {
				t.Cleanup(func() { q.Close() })
			}
			return err
		})
	}
}

func TestOpenQueueWithABadNameSaysSo(t *testing.T) {
	tunneltest.NewNamespace(t).Do(t, func() error {
		_, err := tunnel.OpenPortableQueue("a-name-of-more-than-15-bytes")
		if err == nil || !strings.Contains(err.Error(), "1 to 15 bytes") {
			t.Errorf("error %v does not say how long a name may be", err)
		}
		_, err = tunnel.OpenPortableQueue("lo")
		if err == nil || !strings.Contains(err.Error(), "another kind of device") {
			t.Errorf("error %v does not say that lo is another kind of device", err)
		}
		return nil
	})
}

func TestPortableConn(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			local := netip.MustParseAddrPort(addr)
			tunneltest.TestConn(t, func(t *testing.T) (a, b tunnel.Conn) {
				return listen(t, local, tunnel.ConnOptions{}), listen(t, local, tunnel.ConnOptions{})
			})
		})
	}
}

func listen(t *testing.T, local netip.AddrPort, options tunnel.ConnOptions) *tunnel.PortableConn {
	t.Helper()
	c, err := tunnel.ListenPortableConn(local, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestPortInUseSaysWhichAndWhatToDo(t *testing.T) {
	first := listen(t, netip.MustParseAddrPort("127.0.0.1:0"), tunnel.ConnOptions{})
	_, err := tunnel.ListenPortableConn(first.LocalAddr(), tunnel.ConnOptions{})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("second listen: %v, want EADDRINUSE", err)
	}
	port := fmt.Sprintf("UDP port %d is in use", first.LocalAddr().Port())
	if text := err.Error(); !strings.Contains(text, port) || !strings.Contains(text, "Port in the network config") {
		t.Errorf("second listen: %q names neither port nor remedy", text)
	}
}

func TestPortIsSharedByConnsThatAskForIt(t *testing.T) {
	first := listen(t, netip.MustParseAddrPort("127.0.0.1:0"), tunnel.ConnOptions{ReusePort: true})
	second := listen(t, first.LocalAddr(), tunnel.ConnOptions{ReusePort: true})
	if first.LocalAddr() != second.LocalAddr() {
		t.Errorf("conns on %v and %v, want one address", first.LocalAddr(), second.LocalAddr())
	}
}

func TestAddressThatIsNotHereSaysSo(t *testing.T) {
	_, err := tunnel.ListenPortableConn(netip.MustParseAddrPort("192.0.2.1:8285"), tunnel.ConnOptions{})
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "this host does not have the address") {
		t.Errorf("error %v, want EADDRNOTAVAIL with the reason", err)
	}
}

// TestDatagramOverThePathMTUIsRefused has a device of MTU 1,400 in the way: one byte more than fits
// must come back as EMSGSIZE and never leave as fragments.
func TestDatagramOverThePathMTUIsRefused(t *testing.T) {
	for _, family := range []struct {
		name, local, peer string
		headers           int
	}{
		{"IPv4", "10.78.0.1", "10.78.0.2", 28},
		{"IPv6", "fd78::1", "fd78::2", 48},
	} {
		t.Run(family.name, func(t *testing.T) {
			tunneltest.NewNamespace(t).Do(t, func() error {
				local, peer := netip.MustParseAddr(family.local), netip.MustParseAddr(family.peer)
				if err := addSink(t, 1400, local); err != nil {
					return err
				}
				c := listen(t, netip.AddrPortFrom(local, 0), tunnel.ConnOptions{})
				to := netip.AddrPortFrom(peer, 8285)
				fits := 1400 - family.headers
				out := []tunnel.Datagram{{Addr: to, Payload: make([]byte, fits+1)}, {Addr: to, Payload: make([]byte, fits)}}
				n, err := c.WriteBatch(out)
				if n != 1 || err != nil || out[0].Errno != syscall.EMSGSIZE || out[1].Errno != 0 {
					t.Errorf("n %d, error %v, errnos %v and %v; want one EMSGSIZE", n, err, out[0].Errno, out[1].Errno)
				}
				if mtu, err := c.PathMTU(to); mtu != 1400 || err != nil {
					t.Errorf("path MTU %d, error %v, want 1400", mtu, err)
				}
				return nil
			})
		})
	}
}

// addSink adds a device that swallows what is sent: a TUN device that nobody reads, with addr and its
// /24 or /64 on it.
func addSink(t *testing.T, mtu int, addr netip.Addr) error {
	q, err := tunnel.OpenPortableQueue("weftsink%d")
	if err != nil {
		return err
	}
	t.Cleanup(func() { q.Close() })
	link, err := netlink.LinkByName(q.Name())
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	bits := map[bool]int{true: 24, false: 64}[addr.Is4()]
	parsed, err := netlink.ParseAddr(netip.PrefixFrom(addr, bits).String())
	if err != nil {
		return err
	}
	if !addr.Is4() {
		parsed.Flags = 0x02 // IFA_F_NODAD: usable at once
	}
	return netlink.AddrAdd(link, parsed)
}
