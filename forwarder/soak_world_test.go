package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"weft/forwarder"
	"weft/kernelmode"
	"weft/perf/netlab"
	"weft/routes"
	"weft/tunnel"
)

// The fabric of these tests: hosts of one netlab, each with a forwarder of its own in this process and
// one container. Host n leases 10.5.n.0/24 and fd05:0:0:n::/64.
var (
	network4 = netip.MustParsePrefix("10.5.0.0/16")
	network6 = netip.MustParsePrefix("fd05::/48")
)

const fabricPort = 8285

// headers are the outer bytes of each family: IP and UDP.
const (
	headers4 = 20 + 8
	headers6 = 40 + 8
)

// A variant is which implementations of Queue and Conn carry the packets, and in what encapsulation.
type variant struct {
	name   string
	queues func(n int) ([]tunnel.Queue, error)
	conn   func(local netip.AddrPort, options tunnel.ConnOptions) (tunnel.Conn, error)
	encap  routes.Encapsulation
	kernel bool // no forwarder, but the kernel's vxlan devices: see vxlan_world_test.go

	outlet  bool // superpackets leave whole: see outlet_lab_test.go
	workers int  // 1; each has a conn on the port that peers send to
	ports   int  // 1; source ports of each worker
}

var (
	fast = variant{name: "fast", queues: openFastQueues, conn: openFastConn, workers: 1, ports: 1}
	gue  = variant{name: "GUE", queues: openFastQueues, conn: openFastConn, workers: 1, ports: 1, encap: routes.EncapGUE}
	many = variant{name: "many workers", queues: openFastQueues, conn: openFastConn, workers: 2, ports: 2}
	slow = variant{name: "portable", queues: openPortableQueues, conn: openPortableConn, workers: 1, ports: 1}
)

func openFastQueues(n int) (all []tunnel.Queue, err error) {
	queues, err := tunnel.OpenFastQueues(kernelmode.DefaultDevice, tunnel.QueueOptions{Queues: n})
	for _, q := range queues {
		all = append(all, q)
	}
	return all, err
}

func openFastConn(local netip.AddrPort, options tunnel.ConnOptions) (tunnel.Conn, error) {
	return tunnel.ListenFastConn(local, options, tunnel.Modes{})
}

// openPortableQueues opens one, which is all that there can be.
func openPortableQueues(int) ([]tunnel.Queue, error) {
	q, err := tunnel.OpenPortableQueue(kernelmode.DefaultDevice)
	return []tunnel.Queue{q}, err
}

func openPortableConn(local netip.AddrPort, options tunnel.ConnOptions) (tunnel.Conn, error) {
	return tunnel.ListenPortableConn(local, options)
}

// A fabricSpec says what fabric to build. The zero value of a field is what its comment says.
type fabricSpec struct {
	variants []variant // of the hosts, by turns; must be given
	hosts    int       // must be given
	topology netlab.Topology
	outer6   bool // IPv4 underlay
	inner4   bool // containers without IPv4 addresses; one family at least
	inner6   bool
	mtu      int // of the underlay: 1500
	spare    int // bytes that the containers' devices take beyond the TUN's MTU: 0

	segmented bool                   // the underlay carries MTU-sized packets, as a wire does
	echoes    bool                   // the hosts' leases say that they answer echoes
	remcsum   bool                   // VXLAN hosts leave each other inner checksums
	asking    bool                   // kernel hosts have no neighbour entries, and ask
	spoil     func(*forwarder.VXLAN) // what userspace hosts take for their own place; nil: their place
}

// A fabric is what build made. The test's cleanup takes it down.
type fabric struct {
	lab   *netlab.Lab
	spec  fabricSpec
	nodes []*node
	stop  func() error
}

// A node is one host of a fabric.
type node struct {
	variant
	host      *netlab.Host
	container *netlab.Container
	live      routes.Live
	hops      map[int]*routes.Hop // to the other hosts, by number
	workers   []forwarder.Worker
	forwarder *forwarder.Forwarder
}

// build makes the fabric and starts its forwarders.
func build(t testing.TB, spec fabricSpec) *fabric {
	t.Helper()
	f, err := newFabric(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func newFabric(ctx context.Context, spec fabricSpec) (*fabric, error) {
	if spec.mtu == 0 {
		spec.mtu = 1500
	}
	lab, err := netlab.New(ctx, netlab.Config{
		Name: "soak", Hosts: spec.hosts, Topology: spec.topology, MTU: spec.mtu, RealSegmentation: spec.segmented,
	})
	if err != nil {
		return nil, err
	}
	f := &fabric{lab: lab, spec: spec, stop: func() error { return nil }}
	for i, host := range lab.Hosts() {
		n := &node{host: host, variant: spec.variants[i%len(spec.variants)]}
		f.nodes = append(f.nodes, n)
		if err := f.open(n); err != nil {
			for _, opened := range f.nodes {
				opened.close()
			}
			return nil, errors.Join(fmt.Errorf("host %d: %w", host.Number, err), f.close())
		}
	}
	f.run()
	return f, nil
}

// close ends the forwarders and removes the lab. Closing twice is harmless.
func (f *fabric) close() error {
	stop := f.stop
	f.stop = func() error { return nil }
	return errors.Join(stop(), f.lab.Close())
}

// run starts the forwarders; f.stop ends them and says what went wrong meanwhile.
func (f *fabric) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	errs := make([]error, len(f.nodes))
	for i, n := range f.forwarding() {
		running.Go(func() { errs[i] = n.forwarder.Run(ctx) })
	}
	f.stop = func() error {
		cancel()
		running.Wait()
		return errors.Join(errs...)
	}
}

// forwarding lists the nodes that aren't the kernel's.
func (f *fabric) forwarding() (all []*node) {
	for _, n := range f.nodes {
		if !n.kernel {
			all = append(all, n)
		}
	}
	return all
}

func (f *fabric) headers() int {
	if f.spec.outer6 {
		return headers6
	}
	return headers4
}

// deviceMTU is the TUN's. As the agent has it: IPv4's header is what counts on a host that has both
// families, and hops over IPv6 have an MTU of their own.
func (f *fabric) deviceMTU() int { return f.spec.mtu - headers4 - f.encapsulation() }

// mtu is the largest inner packet that fits the underlay.
func (f *fabric) mtu() int { return f.spec.mtu - f.headers() - f.encapsulation() }

func (f *fabric) outer(h *netlab.Host) netip.Addr {
	if f.spec.outer6 {
		return h.Addr6
	}
	return h.Addr
}

// subnets are the leases of host number n.
func (f *fabric) subnets(n int) (all []netip.Prefix) {
	if f.spec.inner4 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(n), 0}), 24))
	}
	if f.spec.inner6 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 5, 7: byte(n)}), 64))
	}
	return all
}

// open makes one host's device, sockets, routes and container.
func (f *fabric) open(n *node) error {
	if n.kernel {
		return f.openKernel(n)
	}
	err := n.host.Do(func() error {
		if err := f.openWorkers(n); err != nil {
			return err
		}
		return f.configure(n)
	})
	if err != nil {
		return err
	}
	if err := f.publish(n); err != nil {
		return err
	}
	config := forwarder.Config{
		Workers: n.workers,
		Routes:  &n.live,
		MTU:     f.deviceMTU(),
		WireMTU: f.spec.mtu - headers4,
		Stop:    n.close,
		VXLAN:   forwarder.VXLAN{VNI: testVNI, MAC4: macOf(n.host.Number, 4), MAC6: macOf(n.host.Number, 6)},
	}
	if f.spec.spoil != nil {
		f.spec.spoil(&config.VXLAN)
	}
	for _, s := range f.subnets(n.host.Number) {
		if s.Addr().Is4() {
			config.Addr4 = s.Addr()
		} else {
			config.Addr6 = s.Addr()
		}
	}
	if n.forwarder, err = forwarder.New(config); err != nil {
		return err
	}
	return f.addContainer(n)
}

func (f *fabric) addContainer(n *node) (err error) {
	name := fmt.Sprintf("c%d", n.host.Number)
	n.container, err = n.host.AddContainer(name, f.deviceMTU()+f.spec.spare, f.subnets(n.host.Number)...)
	return err
}

// openWorkers opens queues and conns, as the agent does.
func (f *fabric) openWorkers(n *node) error {
	queues, err := n.queues(n.variant.workers)
	if err != nil {
		return err
	}
	for _, q := range queues {
		n.workers = append(n.workers, forwarder.Worker{Queue: q})
	}
	if n.outlet {
		if err := n.openOutlets(); err != nil {
			return err
		}
	}
	for i := range n.workers {
		w := &n.workers[i]
		switch n.encap {
		case routes.EncapVXLAN:
			for _, outer := range []netip.Addr{n.host.Addr, n.host.Addr6} {
				if err := f.openConns(n, &w.VXLAN, netip.AddrPortFrom(outer, vxlanPort)); err != nil {
					return err
				}
			}
		case routes.EncapIPIP:
			conn, err := tunnel.ListenIPIPConn(n.host.Addr, tunnel.Part{Index: i, Of: len(n.workers)}, tunnel.ConnOptions{}, tunnel.Modes{})
			if err != nil {
				return err
			}
			w.IPIP = append(w.IPIP, conn)
		default:
			if err := f.openConns(n, &w.Conns, netip.AddrPortFrom(f.outer(n.host), fabricPort)); err != nil {
				return err
			}
		}
	}
	return nil
}

// openConns opens the socket that peers send to, and those that only give flows more source ports.
func (f *fabric) openConns(n *node, conns *[]tunnel.Conn, local netip.AddrPort) error {
	for j := range n.ports {
		options := tunnel.ConnOptions{}
		if j == 0 {
			options.ReusePort = len(n.workers) > 1
		} else {
			local = netip.AddrPortFrom(local.Addr(), 0)
		}
		conn, err := n.conn(local, options)
		if err != nil {
			return err
		}
		*conns = append(*conns, conn)
	}
	return nil
}

// close closes what is open.
func (n *node) close() {
	for _, w := range n.workers {
		w.Queue.Close()
		if w.Outlet != nil {
			w.Outlet.Close()
		}
		for _, c := range slices.Concat(w.Conns, w.VXLAN, w.IPIP) {
			c.Close()
		}
	}
}

// configure applies the plan of the userspace datapath, as the agent does.
func (f *fabric) configure(n *node) error {
	want := kernelmode.Userspace{MTU: f.deviceMTU(), Forwarding: true}
	for _, s := range f.subnets(n.host.Number) {
		if s.Addr().Is4() {
			want.Network, want.Subnet = network4, s
		} else {
			want.Network6, want.Subnet6 = network6, s
		}
	}
	plan, err := kernelmode.UserspacePlan(want)
	if err != nil {
		return err
	}
	if f.spec.inner4 {
		plan = plan.With(kernelmode.Sysctl{Name: "net/ipv4/conf/" + kernelmode.DefaultDevice + "/accept_local", Value: "1"})
	}
	kernel, err := kernelmode.Open()
	if err != nil {
		return err
	}
	defer kernel.Close()
	_, err = kernelmode.Apply(kernel, plan)
	return err
}

// publish puts the routes to all other hosts in force.
func (f *fabric) publish(n *node) error {
	layout := routes.Layout{Local: f.subnets(n.host.Number)}
	if f.spec.inner4 {
		layout.Network, layout.SubnetLen = network4, 24
	}
	n.hops = make(map[int]*routes.Hop)
	var all []routes.Route
	for _, peer := range f.lab.Hosts() {
		if peer == n.host {
			continue
		}
		hop := f.hop(peer, n.encap)
		n.hops[peer.Number] = hop
		for _, s := range f.subnets(peer.Number) {
			if n.encap == routes.EncapVXLAN {
				hop = f.vxlanHop(peer, s.Addr().Is4())
			}
			all = append(all, routes.Route{Subnet: s, Hop: hop})
		}
	}
	table, err := routes.New(layout, all)
	if err != nil {
		return err
	}
	n.live.Publish(table)
	return nil
}

// hop is a new hop to the peer, as its lease would say.
func (f *fabric) hop(peer *netlab.Host, encap routes.Encapsulation) *routes.Hop {
	port := uint16(fabricPort)
	if encap == routes.EncapIPIP {
		port = 0
	}
	hop := &routes.Hop{Outer: netip.AddrPortFrom(f.outer(peer), port), Encapsulation: encap, Echoes: f.spec.echoes}
	if f.mtu() < f.deviceMTU() {
		hop.SetMTU(f.mtu())
	}
	return hop
}

// refusals are the drop reasons that nothing in these tests gives cause for: each would be a packet
// that weft damaged, sent to the wrong host, or believed the wrong thing about.
var refusals = []forwarder.Reason{
	forwarder.NoRoute, forwarder.Malformed, forwarder.Recursion, forwarder.UnknownPeer,
	forwarder.SpoofedSource, forwarder.NotLocal, forwarder.NoConn, forwarder.UnknownEncap,
	forwarder.BadVNI, forwarder.BadMAC, forwarder.UnknownProtocol,
}

// checkRefusals fails the test for each of them that was counted. Martian isn't among them: the kernel
// reports its IPv6 multicast groups to every device.
func (f *fabric) checkRefusals(t *testing.T) {
	t.Helper()
	for _, n := range f.forwarding() {
		drops := n.forwarder.Counters().Drops
		for _, r := range refusals {
			if drops[r.String()] != 0 {
				t.Errorf("host %d dropped %d packets as %v", n.host.Number, drops[r.String()], r)
			}
		}
		for _, w := range n.workers {
			if q, ok := w.Queue.(interface{ Malformed() uint64 }); ok && q.Malformed() != 0 {
				t.Errorf("host %d: %d packets from the device contradict their metadata", n.host.Number, q.Malformed())
			}
		}
	}
}

// pairs lists every ordered pair of nodes.
func (f *fabric) pairs() (all [][2]*node) {
	for _, a := range f.nodes {
		for _, b := range f.nodes {
			if a != b {
				all = append(all, [2]*node{a, b})
			}
		}
	}
	return all
}
