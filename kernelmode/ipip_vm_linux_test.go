package kernelmode_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/kernelmode"
	"weft/perf/netlab"
	"weft/perf/vm/vmtest"
)

// The ipip datapath on a kernel that has the module: two hosts that the reconciler keeps.
func TestVMIPIPDatapath(t *testing.T) {
	vmtest.Required(t)
	for _, c := range []struct {
		name, network string
		topology      netlab.Topology
		tunnelled     bool
	}{
		{"behind a router", ipipNetwork, netlab.Routed, true},
		{"on one link", ipipNetwork, netlab.Bridged, true},
		{"direct routing behind a router", ipipDirect, netlab.Routed, true},
		{"direct routing on one link", ipipDirect, netlab.Bridged, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newIPIPLab(t, c.network, c.topology)
			before := l.tunnelPackets(t)
			l.carries(t)
			if through := l.tunnelPackets(t) > before; through != c.tunnelled {
				t.Errorf("packets through the tunnel: %v, want %v", through, c.tunnelled)
			}
			for n, want := range l.wants {
				if ops := kernelmode.Diff(want, look(t, l.hands[n], want)); len(ops) != 0 {
					t.Errorf("host %d, applied: still to do: %v", n+1, ops)
				}
				installed, err := kernelmode.Apply(l.hands[n], want)
				must(t, err)
				equal(t, fmt.Sprintf("host %d, applied twice", n+1), installed.String(), l.keepers[n].Status().Installed.String())
				if n := l.keepers[n].Status().Repairs; n != 0 {
					t.Errorf("%d repairs of what nobody harmed", n)
				}
			}
		})
	}
}

// What another program does to the tunnel is undone, and packets cross again.
func TestVMIPIPHeals(t *testing.T) {
	vmtest.Required(t)
	l := newIPIPLab(t, ipipNetwork, netlab.Bridged)
	for _, harm := range tunnelHarms {
		switch harm.what {
		case "device deleted", "device set down", "route deleted", "address deleted", "MTU changed":
		default: // about what only VXLAN has
			continue
		}
		t.Run(harm.what, func(t *testing.T) {
			repairs := l.keepers[0].Status().Repairs
			inflict(t, l.hands[0].Do, harm.do(l.wants[0]))
			eventually(t, "repaired", func() bool {
				return l.keepers[0].Status().Repairs > repairs && len(kernelmode.Diff(l.wants[0], look(t, l.hands[0], l.wants[0]))) == 0
			})
			l.carries(t)
		})
	}
}

// Turning the datapath off leaves nothing but the module's own catch-all device.
func TestVMIPIPGoesWithoutTrace(t *testing.T) {
	vmtest.Required(t)
	l := newIPIPLab(t, ipipNetwork, netlab.Bridged)
	l.keepers[0].Want(kernelmode.State{Owns: kernelmode.Ownership{
		Networks: l.wants[0].Owns.Networks, Devices: []string{kernelmode.IPIPDevice},
	}})
	eventually(t, "gone", func() bool {
		return l.lab.Host(1).Do(func() error {
			_, err := netlink.LinkByName(kernelmode.IPIPDevice)
			return err
		}) != nil
	})
	must(t, l.lab.Host(1).Do(func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP.To4()[0] == 10 && r.Dst.IP.To4()[1] == 244 {
				t.Errorf("route left behind: %v", r)
			}
		}
		return err
	}))
}

// An ipipLab is two hosts with the ipip datapath, kept by a reconciler each.
type ipipLab struct {
	lab     *netlab.Lab
	wants   []kernelmode.State
	hands   []*kernelmode.Netlink
	keepers []*kernelmode.Reconciler
}

func newIPIPLab(t *testing.T, network string, topology netlab.Topology) *ipipLab {
	t.Helper()
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "kmipip", Hosts: 2, Topology: topology, MTU: 1500})
	must(t, err)
	t.Cleanup(func() { must(t, lab.Close()) })
	snapshot, l := labLeases(t, lab, network), &ipipLab{lab: lab}
	for n := range lab.Hosts() {
		want, k := labPlan(t, lab, snapshot, n)
		r := start(t, k, kernelmode.ReconcilerOptions{})
		r.Want(want)
		eventually(t, fmt.Sprintf("host %d installed", n+1), func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })
		l.wants, l.hands, l.keepers = append(l.wants, want), append(l.hands, k), append(l.keepers, r)
	}
	return l
}

// tunnelPackets is how many packets host 2's tunnel has received.
func (l *ipipLab) tunnelPackets(t *testing.T) (packets uint64) {
	t.Helper()
	must(t, l.lab.Host(2).Do(func() error {
		device, err := netlink.LinkByName(kernelmode.IPIPDevice)
		if err == nil {
			packets = device.Attrs().Statistics.RxPackets
		}
		return err
	}))
	return packets
}

// carries sends datagrams and a stream between the two hosts' base addresses, each way.
func (l *ipipLab) carries(t *testing.T) {
	t.Helper()
	ends := [2]netip.Addr{addr("10.244.1.0"), addr("10.244.2.0")}
	for n := range ends {
		from, to := l.lab.Hosts()[n], l.lab.Hosts()[1-n]
		echoes(t, from, to, ends[1-n])
		streams(t, from, to, ends[1-n])
	}
}

// echoes has datagrams of every size come back: small, as large as the tunnel's MTU, in fragments.
func echoes(t *testing.T, from, to *netlab.Host, target netip.Addr) {
	t.Helper()
	server, err := to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(target, 0).String())
	must(t, err)
	defer server.Close()
	go echo(server) // ends when server is closed
	client, err := from.Dial(t.Context(), "udp", server.LocalAddr().String())
	must(t, err)
	defer client.Close()
	for _, size := range []int{1, 64, 1500 - kernelmode.OverheadIPIP4 - 28, 1500} {
		message, answer := bytes.Repeat([]byte{byte(size)}, size), make([]byte, 2048)
		deadline := time.Now().Add(20 * time.Second)
		for came := false; !came; {
			client.SetDeadline(time.Now().Add(time.Second))
			_, err := client.Write(message) // the first after a harm may meet its end
			n := 0
			if err == nil {
				n, err = client.Read(answer)
			}
			if came = err == nil && bytes.Equal(answer[:n], message); !came && time.Now().After(deadline) {
				t.Fatalf("%d bytes to %v don't come back: %v", size, target, err)
			}
		}
	}
}

// streams sends a MiB over TCP and has it back.
func streams(t *testing.T, from, to *netlab.Host, target netip.Addr) {
	t.Helper()
	listener, err := to.Listen(t.Context(), "tcp", netip.AddrPortFrom(target, 0).String())
	must(t, err)
	defer listener.Close()
	go func() {
		if c, err := listener.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	client, err := from.Dial(t.Context(), "tcp", listener.Addr().String())
	must(t, err)
	defer client.Close()
	must(t, client.SetDeadline(time.Now().Add(30*time.Second)))
	sent := bytes.Repeat([]byte("weft carries ipip"), 1<<20/17)
	go func() {
		client.Write(sent)
		client.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes to %v came back as %d others: %v", len(sent), target, len(got), err)
	}
}
