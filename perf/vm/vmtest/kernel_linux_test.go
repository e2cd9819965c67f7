package vmtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
	"weft/perf/vm/vmtest"
)

// What the machine is there for: kernel parts that this one may lack, each doing its work once.

const fouPort = 5555

// lab makes two hosts joined by one veth pair.
func lab(t *testing.T) (one, two *netlab.Host) {
	t.Helper()
	vmtest.Required(t)
	l, err := netlab.New(t.Context(), netlab.Config{Name: "vm", Hosts: 2, Topology: netlab.Direct, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Host(1), l.Host(2)
}

// addTunnel makes the ipip device of one host with the address inside it. A remote port other than 0
// means in UDP (FOU).
func addTunnel(own, peer *netlab.Host, inner netip.Prefix, port uint16) error {
	return own.Do(func() error {
		tunnel := &netlink.Iptun{
			LinkAttrs: netlink.LinkAttrs{Name: "inner"},
			Local:     own.Addr.AsSlice(), Remote: peer.Addr.AsSlice(), PMtuDisc: 1,
		}
		if port != 0 {
			tunnel.EncapType, tunnel.EncapSport, tunnel.EncapDport = uint16(netlink.FOU), port, port
		}
		if err := netlink.LinkAdd(tunnel); err != nil {
			return fmt.Errorf("adding ipip device: %w", err)
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: inner.Addr().AsSlice(), Mask: net.CIDRMask(inner.Bits(), 32)}}
		return errors.Join(netlink.AddrAdd(tunnel, addr), netlink.LinkSetUp(tunnel))
	})
}

// received returns how many packets the device has received.
func received(t *testing.T, h *netlab.Host, device string) (packets uint64) {
	t.Helper()
	if err := h.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err == nil {
			packets = link.Attrs().Statistics.RxPackets
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return packets
}

// echo sends a message over UDP and returns how long its echo took; an error after the patience.
func echo(t *testing.T, from, to *netlab.Host, addr netip.Addr, size int, patience time.Duration) (time.Duration, error) {
	t.Helper()
	server, err := to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { // ends when server is closed
		buffer := make([]byte, 1<<16)
		for {
			n, peer, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			server.WriteTo(buffer[:n], peer)
		}
	}()
	client, err := from.Dial(t.Context(), "udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	message, answer := bytes.Repeat([]byte("weft"), size/4), make([]byte, size+1)
	begun := time.Now()
	if err := client.SetDeadline(begun.Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(message); err != nil {
		return 0, err
	}
	n, err := client.Read(answer)
	if err == nil && !bytes.Equal(answer[:n], message) {
		t.Errorf("%d bytes to %v came back as %d others", size, addr, n)
	}
	return time.Since(begun), err
}

var innerOne, innerTwo = netip.MustParsePrefix("10.6.0.1/30"), netip.MustParsePrefix("10.6.0.2/30")

// carries sends small and fragmented messages through the tunnel and sees that they went through it.
func carries(t *testing.T, one, two *netlab.Host) {
	t.Helper()
	for _, size := range []int{4, 1400, 8000} {
		if _, err := echo(t, one, two, innerTwo.Addr(), size, 10*time.Second); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for _, h := range []*netlab.Host{one, two} {
		if n := received(t, h, "inner"); n < 3 {
			t.Errorf("host %d received %d packets through its tunnel, want at least 3", h.Number, n)
		}
	}
}

func TestVMKernelIPIP(t *testing.T) {
	one, two := lab(t)
	if err := errors.Join(addTunnel(one, two, innerOne, 0), addTunnel(two, one, innerTwo, 0)); err != nil {
		t.Fatal(err)
	}
	carries(t, one, two)
}

func TestVMKernelIPIPOverFOU(t *testing.T) {
	one, two := lab(t)
	for _, h := range []*netlab.Host{one, two} {
		if err := h.Do(func() error {
			return netlink.FouAdd(netlink.Fou{Family: unix.AF_INET, Port: fouPort, Protocol: unix.IPPROTO_IPIP, EncapType: netlink.FOU_ENCAP_DIRECT})
		}); err != nil {
			t.Fatalf("adding FOU port: %v", err)
		}
	}
	if err := errors.Join(addTunnel(one, two, innerOne, fouPort), addTunnel(two, one, innerTwo, fouPort)); err != nil {
		t.Fatal(err)
	}
	carries(t, one, two)
}

func TestVMKernelMakesDevices(t *testing.T) {
	one, _ := lab(t)
	for _, link := range []netlink.Link{
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "dummy-vm"}},
		&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wireguard-vm"}},
		&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan-vm"}, VxlanId: 1, Port: 8472, Learning: true},
		&netlink.Sittun{LinkAttrs: netlink.LinkAttrs{Name: "sit-vm"}, Local: one.Addr.AsSlice(), Remote: net.IPv4(10, 99, 0, 9)},
		&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun-vm"}, Mode: netlink.TUNTAP_MODE_TUN},
	} {
		if err := one.Do(func() error {
			if err := netlink.LinkAdd(link); err != nil {
				return err
			}
			made, err := netlink.LinkByName(link.Attrs().Name)
			if err != nil {
				return err
			}
			if made.Type() != link.Type() {
				t.Errorf("%s is of type %s, want %s", link.Attrs().Name, made.Type(), link.Type())
			}
			return netlink.LinkSetUp(made)
		}); err != nil {
			t.Errorf("%s device: %v", link.Type(), err)
		}
	}
}

// impair puts netem in front of the host's underlay device, instead of what is there.
func impair(t *testing.T, h *netlab.Host, how netlink.NetemQdiscAttrs) {
	t.Helper()
	if err := h.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		root := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
		return netlink.QdiscReplace(netlink.NewNetem(root, how))
	}); err != nil {
		t.Fatalf("setting netem: %v", err)
	}
}

func TestVMKernelNetem(t *testing.T) {
	one, two := lab(t)
	const delay = 300 * time.Millisecond
	impair(t, one, netlink.NetemQdiscAttrs{Latency: uint32(delay.Microseconds())})
	took, err := echo(t, one, two, two.Addr, 100, 10*time.Second)
	if err != nil || took < delay {
		t.Errorf("with %v of delay one way the echo took %v (%v)", delay, took, err)
	}
	impair(t, one, netlink.NetemQdiscAttrs{Loss: 100})
	if took, err := echo(t, one, two, two.Addr, 100, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with all packets lost the echo took %v (%v)", took, err)
	}
	impair(t, one, netlink.NetemQdiscAttrs{})
	if _, err := echo(t, one, two, two.Addr, 100, 10*time.Second); err != nil {
		t.Errorf("on the good link again: %v", err)
	}
}
