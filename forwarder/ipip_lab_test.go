package forwarder_test

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/forwarder"
	"weft/kernelmode"
	"weft/lease"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
	"weft/routes"
)

// The IPIP hosts of a fabric. Their underlay and their containers are IPv4 only.
var (
	fastIPIP   = variant{name: "IPIP", queues: openFastQueues, workers: 1, encap: routes.EncapIPIP}
	manyIPIP   = variant{name: "IPIP of many workers", queues: openFastQueues, workers: 2, encap: routes.EncapIPIP}
	slowIPIP   = variant{name: "IPIP, portable queue", queues: openPortableQueues, workers: 1, encap: routes.EncapIPIP}
	kernelIPIP = variant{name: "kernel IPIP", kernel: true, encap: routes.EncapIPIP}
)

func TestIPIPCarriesEverything(t *testing.T) {
	labtest.NeedTUN(t)
	testIPIP(t, fastIPIP, slowIPIP, manyIPIP)
}

// testIPIP has hosts of these variants carry everything between each other, over an underlay that passes
// superpackets whole and over one that doesn't, and answer what is too big. On a kernel with the ipip
// module the kernel's own devices may be among them.
func testIPIP(t *testing.T, variants ...variant) {
	for _, segmented := range []bool{false, true} {
		t.Run(fmt.Sprintf("segmented %v", segmented), func(t *testing.T) {
			testEverythingCrosses(t, fabricSpec{variants: variants, hosts: len(variants), inner4: true, segmented: segmented})
		})
	}
	t.Run("one byte over the MTU", func(t *testing.T) {
		f := build(t, fabricSpec{variants: variants[:2], hosts: 2, inner4: true, spare: 20})
		s := openDF(t, f.nodes[0].container, f.nodes[1].container, f.nodes[1].container.Addr)
		if !s.passes(f.mtu()) {
			t.Errorf("a packet of %d bytes with DF doesn't arrive", f.mtu())
		} else if err := s.taught(f.mtu()+1, f.mtu()); err != nil {
			t.Error(err)
		}
		f.checkRefusals(t)
	})
}

// addKernelIPIP lays the kernel's datapath out as the agent does, in the current namespace.
func (f *fabric) addKernelIPIP(host *netlab.Host) error {
	config, err := lease.ParseConfig(fmt.Appendf(nil, `{"Network":%q,"Backend":{"Type":"ipip"}}`, network4))
	if err != nil {
		return err
	}
	plan := kernelmode.Host{Config: config, Forwarding: true, Snapshot: &lease.Snapshot{Config: config}}
	for _, h := range f.lab.Hosts() {
		l := lease.Lease{Subnet: f.subnets(h.Number)[0], Attrs: lease.Attrs{PublicIP: h.Addr, BackendType: config.BackendType}}
		plan.Snapshot.Leases = append(plan.Snapshot.Leases, l)
		if h == host {
			plan.Own = l
		}
	}
	kernel, err := kernelmode.Open()
	if err != nil {
		return err
	}
	defer kernel.Close()
	plan.Underlay, err = kernelmode.SelectInterface(kernel, kernelmode.Selection{Interfaces: []string{host.Device()}, IPv4: true})
	if err != nil {
		return err
	}
	want, problems, err := kernelmode.IPIPPlan(plan)
	if err != nil || len(problems) > 0 {
		return fmt.Errorf("planning ipip: %v: %w", problems, err)
	}
	_, err = kernelmode.Apply(kernel, want)
	return err
}

// TestIPIPRefusesWhatComesFromElsewhere: the checks of all formats hold for this one too, over a real socket.
func TestIPIPRefusesWhatComesFromElsewhere(t *testing.T) {
	labtest.NeedTUN(t)
	f := build(t, fabricSpec{variants: []variant{fastIPIP}, hosts: 2, inner4: true})
	// Host 2 takes host 1's subnet for host 3's, whom nobody has heard of.
	elsewhere := &routes.Hop{Outer: netip.MustParseAddrPort("10.99.0.77:0"), Encapsulation: routes.EncapIPIP}
	if err := f.nodes[1].live.Update(routes.Route{Subnet: f.subnets(1)[0], Hop: elsewhere}); err != nil {
		t.Fatal(err)
	}
	flow, err := openUDP(t.Context(), f.nodes[0].container.Namespace, f.nodes[1].container.Namespace, f.nodes[1].container.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.close()
	if _, err := flow.out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	awaitDrop(t, f.nodes[1], forwarder.UnknownPeer)
}
