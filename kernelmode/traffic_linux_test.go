package kernelmode_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"weft/kernelmode"
	"weft/lease"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// Two hosts with kernel VXLAN between them, and datagrams under way: whatever is harmed on the sender,
// the answers come back.
func TestTunnelHealsUnderTraffic(t *testing.T) {
	labtest.Need(t)
	must(t, netlab.Check())
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "kmode", Hosts: 2, MTU: 1500})
	must(t, err)
	t.Cleanup(func() { must(t, lab.Close()) })
	snapshot := labLeases(t, lab, dualNetwork)
	var wants []kernelmode.State
	var keepers []*kernelmode.Reconciler
	var hands []*kernelmode.Netlink
	for n := range lab.Hosts() {
		want, k := labPlan(t, lab, snapshot, n)
		r := start(t, k, kernelmode.ReconcilerOptions{})
		r.Want(want)
		eventually(t, fmt.Sprintf("host %d installed", n+1), func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })
		wants, keepers, hands = append(wants, want), append(keepers, r), append(hands, k)
	}
	answers := traffic(t, lab)
	flows := func() func() bool {
		had4, had6 := answers[0].Load(), answers[1].Load()
		return func() bool { return answers[0].Load() >= had4+20 && answers[1].Load() >= had6+20 }
	}
	eventually(t, "answers come", flows())
	for _, harm := range tunnelHarms {
		t.Run(harm.what, func(t *testing.T) {
			repairs := keepers[0].Status().Repairs
			inflict(t, hands[0].Do, harm.do(wants[0]))
			begin := time.Now()
			eventually(t, "repaired", func() bool {
				return keepers[0].Status().Repairs > repairs && len(kernelmode.Diff(wants[0], look(t, hands[0], wants[0]))) == 0
			})
			healed := time.Since(begin)
			eventually(t, "answers come again", flows())
			if healed > time.Second {
				t.Errorf("healed after %v, and a second is what it may take", healed)
			}
		})
	}
}

// labLeases gives each host of the lab a subnet of the network.
func labLeases(t *testing.T, lab *netlab.Lab, network string) *lease.Snapshot {
	t.Helper()
	config, err := lease.ParseConfig([]byte(network))
	must(t, err)
	s := &lease.Snapshot{Config: config}
	for n, host := range lab.Hosts() {
		s.Leases = append(s.Leases, neighbour(config, n+1, func(l *lease.Lease) {
			if l.Attrs.PublicIP = host.Addr; config.EnableIPv6 {
				l.Attrs.PublicIPv6 = host.Addr6
			}
		}))
	}
	return s
}

// labPlan plans one host, with the MAC addresses that its lease says.
func labPlan(t *testing.T, lab *netlab.Lab, s *lease.Snapshot, n int) (kernelmode.State, *kernelmode.Netlink) {
	t.Helper()
	host := lab.Hosts()[n]
	k, err := kernelmode.OpenAt(host.Path())
	must(t, err)
	t.Cleanup(func() { k.Close() })
	h := kernelmode.Host{Config: s.Config, Own: s.Leases[n], Snapshot: s, Forwarding: true}
	h.Underlay, err = kernelmode.SelectInterface(k, kernelmode.Selection{Interfaces: []string{host.Device()}, IPv4: true, IPv6: s.Config.EnableIPv6})
	must(t, err)
	if s.Config.BackendType != "vxlan" {
		return kernelPlan(t, h), k
	}
	for mac, data := range map[*kernelmode.MAC]json.RawMessage{&h.MAC: h.Own.Attrs.BackendData, &h.MAC6: h.Own.Attrs.BackendV6Data} {
		*mac = vtepMAC(t, data)
	}
	return kernelPlan(t, h), k
}

// traffic sends a datagram of each family every few milliseconds from the first host's base address to the
// second's, which answers; it counts the answers of each.
func traffic(t *testing.T, lab *netlab.Lab) *[2]atomic.Int64 {
	t.Helper()
	counts := &[2]atomic.Int64{}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for family, ends := range [][2]string{{"10.244.1.0", "10.244.2.0"}, {"fd10:244:0:1::", "fd10:244:0:2::"}} {
		from, err := lab.Host(1).ListenPacket(ctx, "udp", netip.AddrPortFrom(addr("::"), uint16(7100+family)).String())
		must(t, err)
		to, err := lab.Host(2).ListenPacket(ctx, "udp", netip.AddrPortFrom(addr("::"), uint16(7100+family)).String())
		must(t, err)
		target := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr(ends[1]), uint16(7100+family)))
		stopped := make(chan struct{}, 3)
		t.Cleanup(func() {
			cancel()
			from.Close()
			to.Close()
			for range 3 {
				<-stopped
			}
		})
		go func() { defer func() { stopped <- struct{}{} }(); echo(to) }()
		go func() { defer func() { stopped <- struct{}{} }(); count(from, &counts[family]) }()
		go func() {
			defer func() { stopped <- struct{}{} }()
			for ticker := time.NewTicker(5 * time.Millisecond); ; {
				select {
				case <-ctx.Done():
					ticker.Stop()
					return
				case <-ticker.C:
					from.WriteTo([]byte("weft"), target) // an error is a datagram lost, which is what is looked for
				}
			}
		}()
	}
	return counts
}

func echo(c net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buffer)
		if err != nil {
			return
		}
		c.WriteTo(buffer[:n], from)
	}
}

func count(c net.PacketConn, answers *atomic.Int64) {
	buffer := make([]byte, 2048)
	for {
		if _, _, err := c.ReadFrom(buffer); err != nil {
			return
		}
		answers.Add(1)
	}
}
