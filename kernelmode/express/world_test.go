package express_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"weft/forwarder"
	"weft/kernelmode"
	"weft/kernelmode/express"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/ethtool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The fabric of these tests: hosts of one netlab, each with one container. Host n leases 10.5.n.0/24 and
// fd05:0:0:n::/64.
var (
	network4 = netip.MustParsePrefix("10.5.0.0/16")
	network6 = netip.MustParsePrefix("fd05::/48")
)

const (
	udpPort   = 8285
	vxlanPort = 8472
	testVNI   = 7
	tun       = kernelmode.DefaultDevice
)

// What carries a host's packets.
type kind uint8

const (
	byLane      kind = iota // the lane, and a userspace forwarder behind it
	byUserspace             // a userspace forwarder alone
	byKernel                // the kernel's vxlan or ipip devices
)

func (k kind) String() string { return [...]string{"express", "userspace", "kernel"}[k] }

// A spec says what fabric to build.
type spec struct {
	hosts     []kind
	encap     express.Encapsulation
	outer6    bool
	segmented bool
	inner6    bool // containers have IPv6 addresses too
	topology  netlab.Topology
	pins      string // express.DefaultPins
	lasting   bool   // TUN devices outlive their descriptors
	bulk      bool   // routes say where forwarders receive, so that flows of superpackets may go by userspace
	spare     int    // bytes that the containers' devices take beyond the TUN's MTU
}

type world struct {
	spec
	lab   *netlab.Lab
	nodes []*node
	stop  func() error
}

type node struct {
	kind
	host      *netlab.Host
	container *netlab.Container
	lane      *express.Lane
	live      routes.Live
	worker    forwarder.Worker
	forwarder *forwarder.Forwarder
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build makes the fabric and starts its forwarders and lanes.
func build(t testing.TB, s spec) *world {
	t.Helper()
	labtest.NeedTUN(t)
	lab, err := netlab.New(t.Context(), netlab.Config{
		Name: "express", Hosts: len(s.hosts), Topology: s.topology, MTU: 1500, RealSegmentation: s.segmented,
	})
	must(t, err)
	w := &world{spec: s, lab: lab, stop: func() error { return nil }}
	t.Cleanup(func() {
		for _, n := range w.nodes {
			if n.lane != nil {
				if err := n.host.Do(func() error { return n.lane.Close(true) }); err != nil {
					t.Error(err)
				}
			}
		}
		if err := errors.Join(w.stop(), lab.Close()); err != nil {
			t.Error(err)
		}
	})
	for i, k := range s.hosts {
		n := &node{kind: k, host: lab.Host(i + 1)}
		w.nodes = append(w.nodes, n)
		if err := w.open(n); err != nil {
			n.close()
			t.Fatalf("host %d: %v", n.host.Number, err)
		}
	}
	w.run()
	for _, n := range w.nodes {
		if n.kind == byLane {
			w.openLane(t, n)
		}
	}
	return w
}

// open makes all of a host but its lane.
func (w *world) open(n *node) error {
	if n.kind == byKernel {
		return w.openKernel(n)
	}
	if err := n.host.Do(func() error { return w.openUserspace(n) }); err != nil {
		return err
	}
	if err := w.publishUserspace(n); err != nil {
		return err
	}
	config := forwarder.Config{
		Workers: []forwarder.Worker{n.worker}, Routes: &n.live, MTU: w.mtu(), Stop: n.close,
		Addr4: subnet4(n).Addr(), Addr6: subnet6(n).Addr(),
		VXLAN: forwarder.VXLAN{VNI: testVNI, MAC4: macOf(n.host, false), MAC6: macOf(n.host, true)},
	}
	var err error
	if n.forwarder, err = forwarder.New(config); err != nil {
		return err
	}
	return w.addContainer(n)
}

func (w *world) addContainer(n *node) (err error) {
	n.container, err = n.host.AddContainer(fmt.Sprintf("c%d", n.host.Number), w.mtu()+w.spare, w.subnets(n)...)
	return err
}

// openUserspace opens the TUN and the socket, and applies the userspace plan.
func (w *world) openUserspace(n *node) error {
	if w.lasting {
		if err := express.KeepDevice(tun, false); err != nil {
			return err
		}
	}
	queues, err := tunnel.OpenFastQueues(tun, tunnel.QueueOptions{})
	if err != nil {
		return err
	}
	n.worker.Queue = queues[0]
	outer := w.outer(n)
	conns, port := &n.worker.Conns, uint16(udpPort)
	switch w.encap {
	case express.EncapVXLAN:
		conns, port = &n.worker.VXLAN, vxlanPort
	case express.EncapIPIP:
		conn, err := tunnel.ListenIPIPConn(outer, tunnel.Part{Of: 1}, tunnel.ConnOptions{}, tunnel.Modes{})
		if err != nil {
			return err
		}
		n.worker.IPIP = append(n.worker.IPIP, conn)
	}
	if w.encap != express.EncapIPIP {
		conn, err := tunnel.ListenFastConn(netip.AddrPortFrom(outer, port), tunnel.ConnOptions{}, tunnel.Modes{})
		if err != nil {
			return err
		}
		*conns = append(*conns, conn)
	}
	return w.configure(n)
}

func (w *world) configure(n *node) error {
	want := kernelmode.Userspace{MTU: w.mtu(), Forwarding: true, Network: network4, Subnet: subnet4(n)}
	if w.inner6 {
		want.Network6, want.Subnet6 = network6, subnet6(n)
	}
	plan, err := kernelmode.UserspacePlan(want)
	if err != nil {
		return err
	}
	// The forwarder's ICMP errors come from the host's own address, as in the agent's plan.
	plan = plan.With(kernelmode.Sysctl{Name: "net/ipv4/conf/" + tun + "/accept_local", Value: "1"})
	kernel, err := kernelmode.Open()
	if err != nil {
		return err
	}
	defer kernel.Close()
	_, err = kernelmode.Apply(kernel, plan)
	return err
}

func (w *world) publishUserspace(n *node) error {
	layout := routes.Layout{Local: w.subnets(n), Network: network4, SubnetLen: 24}
	var all []routes.Route
	for _, peer := range w.lab.Hosts() {
		if peer == n.host {
			continue
		}
		for _, r := range w.routesTo(peer) {
			hop := &routes.Hop{Outer: r.Outer, VNI: r.VNI, VTEPMAC: r.MAC}
			hop.Encapsulation = [...]routes.Encapsulation{routes.EncapUDP, routes.EncapVXLAN, routes.EncapIPIP}[r.Encapsulation]
			all = append(all, routes.Route{Subnet: r.Subnet, Hop: hop})
		}
	}
	table, err := routes.New(layout, all)
	if err != nil {
		return err
	}
	n.live.Publish(table)
	return nil
}

// config is a host's lane.
func (w *world) config(n *node) express.Config {
	c := express.Config{
		Device: tun, Underlay: n.host.Device(), Outer4: n.host.Addr, Outer6: n.host.Addr6,
		Network: network4, SubnetLen: 24, Local: w.subnets(n), MTU: w.mtu(), Pins: w.pins,
		VNI: testVNI, MAC4: macOf(n.host, false), MAC6: macOf(n.host, true), Features: ethtool.Features,
	}
	switch w.encap {
	case express.EncapUDP:
		c.UDPPort = udpPort
	case express.EncapVXLAN:
		c.VXLANPort = vxlanPort
	case express.EncapIPIP:
		c.IPIP = true
	}
	return c
}

func (w *world) openLane(t testing.TB, n *node) {
	t.Helper()
	must(t, n.host.Do(func() (err error) {
		if n.lane, err = express.Open(w.config(n)); err != nil {
			return err
		}
		return n.lane.Publish(w.routes(n))
	}))
}

// routes are those of a host to all others.
func (w *world) routes(n *node) (all []express.Route) {
	for _, peer := range w.lab.Hosts() {
		if peer != n.host {
			all = append(all, w.routesTo(peer)...)
		}
	}
	return all
}

// routesTo are the subnets of one peer.
func (w *world) routesTo(peer *netlab.Host) (all []express.Route) {
	outer, port := peer.Addr, uint16(udpPort)
	if w.outer6 {
		outer = peer.Addr6
	}
	switch w.encap {
	case express.EncapVXLAN:
		port = vxlanPort
	case express.EncapIPIP:
		port = 0
	}
	for _, subnet := range w.subnets(&node{host: peer}) {
		r := express.Route{Subnet: subnet, Outer: netip.AddrPortFrom(outer, port), Encapsulation: w.encap, ZeroSums: true, Forwarder: w.bulk}
		if w.encap == express.EncapVXLAN {
			r.VNI, r.MAC = testVNI, macOf(peer, w.outer6)
		}
		all = append(all, r)
	}
	return all
}

// run starts the forwarders; w.stop ends them and says what went wrong meanwhile.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var ends []chan error
	for _, n := range w.nodes {
		if n.forwarder != nil {
			end := make(chan error, 1)
			go func() { end <- n.forwarder.Run(ctx) }()
			ends = append(ends, end)
		}
	}
	w.stop = func() (err error) {
		cancel()
		for _, end := range ends {
			err = errors.Join(err, <-end)
		}
		return err
	}
}

func (n *node) close() {
	if n.worker.Queue != nil {
		n.worker.Queue.Close()
	}
	for _, c := range slices.Concat(n.worker.Conns, n.worker.VXLAN, n.worker.IPIP) {
		c.Close()
	}
}

func (w *world) outer(n *node) netip.Addr {
	if w.outer6 {
		return n.host.Addr6
	}
	return n.host.Addr
}

// mtu is the TUN's: what fits the underlay.
func (w *world) mtu() int {
	mtu := 1500 - 20
	if w.outer6 {
		mtu -= 20
	}
	switch w.encap {
	case express.EncapUDP:
		mtu -= 8
	case express.EncapVXLAN:
		mtu -= 8 + tunnel.VXLANHeaderLen
	}
	return mtu
}

func subnet4(n *node) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(n.host.Number), 0}), 24)
}

func subnet6(n *node) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 5, 7: byte(n.host.Number)}), 64)
}

func (w *world) subnets(n *node) []netip.Prefix {
	if w.inner6 {
		return []netip.Prefix{subnet4(n), subnet6(n)}
	}
	return []netip.Prefix{subnet4(n)}
}

// noAddr is no address.
var noAddr netip.Addr

// macOf is the VTEP MAC of a host for one outer family.
func macOf(h *netlab.Host, v6 bool) [6]byte {
	mac := [6]byte{2, 0xe, 0, 0, 4, byte(h.Number)}
	if v6 {
		mac[4] = 6
	}
	return mac
}

// counters of a host's lane.
func (n *node) counters(t testing.TB) express.Counters {
	t.Helper()
	c, err := n.lane.Counters()
	must(t, err)
	return c
}
