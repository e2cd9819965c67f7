package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// build makes a lab that goes with the test; without root the test is skipped, in CI it fails.
func build(t *testing.T, config Config) *Lab {
	t.Helper()
	requireRoot(t)
	config.Name = "test"
	if config.MTU == 0 {
		config.MTU = 1500
	}
	lab, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

func requireRoot(t *testing.T) {
	t.Helper()
	if err := Check(); err != nil {
		if os.Getenv("REQUIRE_ROOT") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// echo sends a datagram of the size from one namespace to another and waits for it to come back.
func echo(t *testing.T, from, to *Namespace, addr netip.Addr, size int, patience time.Duration) error {
	t.Helper()
	server, err := to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buffer := make([]byte, 65536)
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
		return err
	}
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(make([]byte, size)); err != nil {
		return err
	}
	n, err := client.Read(make([]byte, 65536))
	if err == nil && n != size {
		return fmt.Errorf("%d bytes came back of %d", n, size)
	}
	return err
}

const (
	arrives = 5 * time.Second        // patience where an answer is expected
	lost    = 150 * time.Millisecond // patience where none is
)

func mustEcho(t *testing.T, from, to *Namespace, addr netip.Addr) {
	t.Helper()
	err := echo(t, from, to, addr, 64, arrives)
	for range 3 {
		if !isTimeout(err) {
			break
		}
		err = echo(t, from, to, addr, 64, arrives) // one datagram may be lost while neighbours are being found
	}
	if err != nil {
		t.Errorf("%s → %s in %s: %v", from.Name(), addr, to.Name(), err)
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func TestHostsReachEachOther(t *testing.T) {
	for _, c := range []struct {
		name     string
		topology Topology
		hosts    int
	}{{"bridged", Bridged, 3}, {"routed", Routed, 3}, {"direct", Direct, 2}} {
		t.Run(c.name, func(t *testing.T) {
			lab := build(t, Config{Hosts: c.hosts, Topology: c.topology})
			underlay, addr4, addr6 := lab.Underlay()
			for _, a := range lab.Hosts() {
				for _, b := range lab.Hosts() {
					mustEcho(t, a.Namespace, b.Namespace, b.Addr)
					if hasIPv6() {
						mustEcho(t, a.Namespace, b.Namespace, b.Addr6)
					}
				}
				mustEcho(t, a.Namespace, underlay, addr4)
				if hasIPv6() {
					mustEcho(t, a.Namespace, underlay, addr6)
				}
			}
		})
	}
}

func TestContainersReachTheirHostAndEachOther(t *testing.T) {
	lab := build(t, Config{Hosts: 1})
	host := lab.Host(1)
	subnets := []netip.Prefix{netip.MustParsePrefix("10.5.7.0/24"), netip.MustParsePrefix("fd00:5:7::/64")}
	var containers []*Container
	for _, name := range []string{"c1", "c2"} {
		c, err := host.AddContainer(name, 1472, subnets...)
		if err != nil {
			t.Fatal(err)
		}
		containers = append(containers, c)
	}
	if got, want := containers[1].Addr, netip.MustParseAddr("10.5.7.3"); got != want {
		t.Errorf("second container has %s, want %s", got, want)
	}
	mustEcho(t, containers[0].Namespace, containers[1].Namespace, containers[1].Addr)
	mustEcho(t, containers[0].Namespace, containers[1].Namespace, containers[1].Addr6)
	mustEcho(t, containers[0].Namespace, host.Namespace, netip.MustParseAddr("10.5.7.1"))
	mustEcho(t, containers[0].Namespace, host.Namespace, host.Addr) // over the default route
	err := containers[0].Do(func() error {
		device, err := net.InterfaceByName(hostDevice)
		if err == nil && device.MTU != 1472 {
			err = fmt.Errorf("container MTU is %d", device.MTU)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestContainerRefused(t *testing.T) {
	lab := build(t, Config{Hosts: 1})
	v4 := netip.MustParsePrefix("10.5.7.0/24")
	for _, c := range []struct {
		name, container string
		subnets         []netip.Prefix
		want            string
	}{
		{"bad name", "C-1", []netip.Prefix{v4}, "container name"},
		{"no subnet", "c1", nil, "no subnet"},
		{"two of a family", "c1", []netip.Prefix{v4, v4}, "one of each family"},
		{"too small", "c1", []netip.Prefix{netip.MustParsePrefix("10.5.7.0/31")}, "no room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := lab.Host(1).AddContainer(c.container, 1500, c.subnets...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one about %q", err, c.want)
			}
		})
	}
}

func TestCommandRunsInside(t *testing.T) {
	lab := build(t, Config{Hosts: 1})
	out, err := lab.Host(1).Command(t.Context(), "readlink", "/proc/self/ns/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	var inside string
	if err := lab.Host(1).Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	outside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != inside || got == outside {
		t.Errorf("process ran in %s; the host is %s, the test %s", got, inside, outside)
	}
}

func TestNewStopsWithItsContext(t *testing.T) {
	requireRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lab, err := New(ctx, Config{Name: "test", Hosts: 2, MTU: 1500})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("New returned %v, %v with its context cancelled", lab, err)
	}
	labs, err := Labs()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range labs {
		if r.Owner == os.Getpid() {
			t.Errorf("%s is still recorded", r.ID)
		}
	}
}
