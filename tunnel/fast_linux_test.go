package tunnel_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// openFast opens the fast queue in the current namespace and brings its device up.
func openFast(t *testing.T, options tunnel.QueueOptions) ([]*tunnel.FastQueue, error) {
	queues, err := tunnel.OpenFastQueues("weftfast%d", options)
	if err != nil {
		return nil, err
	}
	for _, q := range queues {
		t.Cleanup(func() { q.Close() })
	}
	return queues, setUp(queues[0].Name(), 1400)
}

var addrLoopback = netip.MustParseAddrPort("127.0.0.1:0")

// ladders are the states that the rungs of queue and conn can be forced into.
var ladders = map[string]tunnel.Modes{
	"auto":    {},
	"no TSO":  {TSO: tunnel.Off},
	"no USO":  {USO: tunnel.Off},
	"no GSO":  {GSO: tunnel.Off},
	"no GRO":  {GRO: tunnel.Off},
	"no mmsg": {Batch: tunnel.Off},
	"nothing": {TSO: tunnel.Off, USO: tunnel.Off, GSO: tunnel.Off, GRO: tunnel.Off, Batch: tunnel.Off},
}

func TestFastQueue(t *testing.T) {
	for name, modes := range ladders {
		if strings.Contains(name, "G") || name == "no mmsg" {
			continue // rungs of the conn
		}
		t.Run(name, func(t *testing.T) {
			tunneltest.TestQueue(t, func(t *testing.T) (q tunnel.Queue, k tunneltest.Kernel) {
				tunneltest.NewNamespace(t).Do(t, func() error {
					queues, err := openFast(t, tunnel.QueueOptions{Modes: modes})
					if err != nil {
						return err
					}
					q = queues[0]
					k, err = tunneltest.NewTUNKernel(t, queues[0].Name())
					return err
				})
				return q, k
			})
		})
	}
}

func TestFastConn(t *testing.T) {
	for name, modes := range ladders {
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(name+" "+addr, func(t *testing.T) {
				local := netip.MustParseAddrPort(addr)
				tunneltest.TestConn(t, func(t *testing.T) (a, b tunnel.Conn) {
					return listenFast(t, local, modes), listenFast(t, local, modes)
				})
			})
		}
	}
}

// Two versions of the ladder talk to each other in both directions.
func TestFastConnWithPortableConn(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:0")
	tunneltest.TestConn(t, func(t *testing.T) (a, b tunnel.Conn) {
		return listenFast(t, local, tunnel.Modes{}), listen(t, local, tunnel.ConnOptions{})
	})
	tunneltest.TestConn(t, func(t *testing.T) (a, b tunnel.Conn) {
		return listen(t, local, tunnel.ConnOptions{}), listenFast(t, local, tunnel.Modes{})
	})
}

func listenFast(t *testing.T, local netip.AddrPort, modes tunnel.Modes) *tunnel.FastConn {
	t.Helper()
	c, err := tunnel.ListenFastConn(local, tunnel.ConnOptions{}, modes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestFastOffloadsAreWhatWasAskedFor(t *testing.T) {
	c := listenFast(t, netip.MustParseAddrPort("127.0.0.1:0"), ladders["nothing"])
	if o := c.Offloads(); o != (tunnel.Offloads{}) {
		t.Errorf("everything off: conn has %+v", o)
	}
	tunneltest.NewNamespace(t).Do(t, func() error {
		queues, err := openFast(t, tunnel.QueueOptions{Modes: ladders["nothing"]})
		if err == nil && queues[0].Offloads() != (tunnel.Offloads{}) {
			t.Errorf("everything off: queue has %+v", queues[0].Offloads())
		}
		return err
	})
}

func TestFastQueuesOfOneDevice(t *testing.T) {
	for _, c := range []struct {
		mode tunnel.Mode
		want int
	}{{tunnel.Auto, 3}, {tunnel.On, 3}, {tunnel.Off, 1}} {
		tunneltest.NewNamespace(t).Do(t, func() error {
			queues, err := openFast(t, tunnel.QueueOptions{Queues: 3, Modes: tunnel.Modes{MultiQueue: c.mode}})
			if err != nil {
				return err
			}
			if len(queues) != c.want {
				t.Errorf("multi-queue %v: %d queues, want %d", c.mode, len(queues), c.want)
			}
			for _, q := range queues {
				if q.Name() != queues[0].Name() || q.Offloads().MultiQueue != (c.want > 1) {
					t.Errorf("multi-queue %v: queue of %s with %+v", c.mode, q.Name(), q.Offloads())
				}
			}
			return nil
		})
	}
}

func TestFastQueueSaysThatItsDeviceWasDeleted(t *testing.T) {
	tunneltest.NewNamespace(t).Do(t, func() error {
		queues, err := openFast(t, tunnel.QueueOptions{})
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(queues[0].Name())
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(link); err != nil {
			return err
		}
		_, err = queues[0].ReadBatch(make([]tunnel.Packet, 1))
		if err == nil || errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "the device was deleted") {
			t.Errorf("ReadBatch: %v, want that the device was deleted", err)
		}
		flow := tunneltest.Flow{Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2")}
		if _, err = queues[0].WriteBatch([]tunnel.Packet{{Data: flow.UDP(nil)}}); err == nil {
			t.Error("WriteBatch succeeded on a deleted device")
		}
		return nil
	})
}

// A train that leaves in one UDP_SEGMENT message arrives as one datagram with its segment size.
func TestFastConnCarriesTrains(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:0")
	a, b := listenFast(t, local, tunnel.Modes{}), listenFast(t, local, tunnel.Modes{})
	var out []tunnel.Datagram
	var want []byte
	for i := range 40 {
		d := tunnel.Datagram{Addr: b.LocalAddr(), Head: bytes.Repeat([]byte{byte(i)}, 50), Payload: bytes.Repeat([]byte{byte(i)}, 1000)}
		out, want = append(out, d), slices.Concat(want, d.Head, d.Payload)
	}
	if n, err := a.WriteBatch(out); n != len(out) || err != nil {
		t.Fatalf("WriteBatch: %d, %v", n, err)
	}
	var got []byte
	trains := 0
	for in := make([]tunnel.Datagram, 8); len(got) < len(want); {
		n, err := b.ReadBatch(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range in[:n] {
			got = append(got, d.Payload...)
			if trains++; d.SegmentSize != 1050 {
				t.Errorf("%d bytes with segment size %d, want 1050", len(d.Payload), d.SegmentSize)
			}
		}
	}
	if !bytes.Equal(got, want) || trains > 2 {
		t.Errorf("%d bytes in %d messages, want the same %d in one", len(got), trains, len(want))
	}
}

// A run whose segments are over the path MTU is refused as a whole by the kernel: what fits must go
// out singly, the rest say EMSGSIZE, and GSO stays on.
func TestFastConnOverThePathMTU(t *testing.T) {
	for _, family := range []struct {
		local, peer string
		headers     int
	}{{"10.78.0.1", "10.78.0.2", 28}, {"fd78::1", "fd78::2", 48}} {
		tunneltest.NewNamespace(t).Do(t, func() error {
			local, peer := netip.MustParseAddr(family.local), netip.MustParseAddr(family.peer)
			if err := addSink(t, 1400, local); err != nil {
				return err
			}
			c := listenFast(t, netip.AddrPortFrom(local, 0), tunnel.Modes{})
			to, fits := netip.AddrPortFrom(peer, 8285), 1400-family.headers
			var out []tunnel.Datagram
			for _, size := range []int{fits + 1, fits + 1, fits, fits, fits - 10} {
				out = append(out, tunnel.Datagram{Addr: to, Payload: make([]byte, size)})
			}
			n, err := c.WriteBatch(out)
			if n != 3 || err != nil || !c.Offloads().GSO {
				t.Errorf("%v: %d sent, %v, GSO %v; want 3, GSO on", local, n, err, c.Offloads().GSO)
			}
			for i := range out {
				if want := map[bool]syscall.Errno{true: syscall.EMSGSIZE}[i < 2]; out[i].Errno != want {
					t.Errorf("%v: datagram %d has errno %v, want %v", local, i, out[i].Errno, want)
				}
			}
			if mtu, err := c.PathMTU(to); mtu != 1400 || err != nil {
				t.Errorf("path MTU %d, %v, want 1400", mtu, err)
			}
			return nil
		})
	}
}

// A peer that isn't there answers with ICMP; sending and receiving go on.
func TestFastConnOutlivesARefusingPeer(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:0")
	a, b := listenFast(t, local, tunnel.Modes{}), listenFast(t, local, tunnel.Modes{})
	gone := listenFast(t, local, tunnel.Modes{})
	to := gone.LocalAddr()
	gone.Close()
	for i := range 5 {
		out := []tunnel.Datagram{{Addr: to, Payload: []byte("nobody")}, {Addr: b.LocalAddr(), Payload: fmt.Appendf(nil, "%d", i)}}
		if _, err := a.WriteBatch(out); err != nil || out[1].Errno != 0 {
			t.Fatalf("sending: %v, errno %v", err, out[1].Errno)
		}
		in := make([]tunnel.Datagram, 1)
		if n, err := b.ReadBatch(in); n != 1 || err != nil || string(in[0].Payload) != fmt.Sprint(i) {
			t.Fatalf("receiving: %d, %v, %q", n, err, in[0].Payload)
		}
	}
}

func TestFastPollablesDontWait(t *testing.T) {
	c := listenFast(t, netip.MustParseAddrPort("127.0.0.1:0"), tunnel.Modes{})
	c.SetNonblocking()
	if n, err := c.ReadBatch(make([]tunnel.Datagram, 1)); n != 0 || !errors.Is(err, tunnel.ErrWouldBlock) {
		t.Errorf("conn: %d, %v", n, err)
	}
	tunneltest.NewNamespace(t).Do(t, func() error {
		queues, err := openFast(t, tunnel.QueueOptions{})
		if err != nil {
			return err
		}
		queues[0].SetNonblocking()
		if n, err := queues[0].ReadBatch(make([]tunnel.Packet, 1)); n != 0 || !errors.Is(err, tunnel.ErrWouldBlock) {
			t.Errorf("queue: %d, %v", n, err)
		}
		return nil
	})
}
