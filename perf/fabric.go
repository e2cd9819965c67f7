package perf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"weft/perf/netlab"
	"weft/perf/report"
)

// A fabric is one subject, built: two hosts, a container on each, and everything that joins them.
type fabric struct {
	name       string
	kind       report.Kind
	detail     string
	lab        *netlab.Lab
	mtu        int
	forwarders []*process // what carries packets, or stands behind what does, one per host; none for kernel datapaths
	others     []*process // what only has to run, such as an etcd

	lanes [2]*lane // of either host, nil where it has none

	near, far end  // where the source and the sink run
	brief     bool // measured in few scenarios
	failures  int  // in a row
}

// An end is where load runs: a namespace, and its address there.
type end struct {
	space *netlab.Namespace
	addr  netip.Addr
}

// newFabric makes a lab of two hosts joined by one veth pair and nothing in between: a bridge there
// would cost every subject the same, and make all ratios look better than they are.
func newFabric(ctx context.Context, s subject, o *Options) (*fabric, error) {
	lab, err := netlab.New(ctx, netlab.Config{
		Name: "bench", Hosts: 2, Topology: netlab.Direct, MTU: o.UnderlayMTU,
	})
	if err != nil {
		return nil, fmt.Errorf("building a lab for %s: %w", s.name, err)
	}
	return &fabric{name: s.name, kind: s.kind, detail: s.detail, lab: lab, brief: s.group != ""}, nil
}

// subnetOf is the subnet of host n where the subject has no leases of its own. Every lab may use the
// same ones: no packet leaves its lab.
func subnetOf(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n), 0}), 24)
}

// otherHost is the number of the other one of two hosts.
func otherHost(n int) int { return 3 - n }

// connect puts a container of the fabric's MTU on each host and chooses where load will run.
func (f *fabric) connect(ends string, subnets [2]netip.Prefix) error {
	var found [2]end
	for i, host := range f.lab.Hosts() {
		container, err := host.AddContainer(fmt.Sprintf("c%d", host.Number), f.mtu, subnets[i])
		if err != nil {
			return err
		}
		found[i] = end{container.Namespace, container.Addr}
		if ends == EndsHosts {
			found[i] = end{host.Namespace, subnets[i].Masked().Addr().Next()} // the bridge's own address
		}
	}
	f.near, f.far = found[0], found[1]
	return nil
}

// fabricPatience is how long a fabric may take from its last process's start to the first packet.
const fabricPatience = 30 * time.Second

// awaitPath waits until a connection from near to far comes about. Tunnels with a handshake (nebula,
// wireguard-go) lose what comes before it, and agents need a moment to see each other's leases; none
// of that may fall into a sample.
func (f *fabric) awaitPath(ctx context.Context) error {
	listener, err := f.far.space.Listen(ctx, "tcp", netip.AddrPortFrom(f.far.addr, 0).String())
	if err != nil {
		return fmt.Errorf("listening in %s: %w", f.far.space.Name(), err)
	}
	defer listener.Close()
	what := fmt.Sprintf("a path from %s to %s in %s", f.near.addr, f.far.addr, f.lab.ID())
	return await(ctx, fabricPatience, what, f.processes(), func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		conn, err := f.near.space.Dial(ctx, "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// processes lists the forwarders, then what they depend on: the order to stop them in.
func (f *fabric) processes() []*process {
	return append(append([]*process(nil), f.forwarders...), f.others...)
}

// check says which process of the fabric has ended.
func (f *fabric) check() error {
	var ended []error
	for _, p := range f.processes() {
		ended = append(ended, p.check())
	}
	return errors.Join(ended...)
}

// close ends the processes, forwarders before the etcd they talk to, and takes the lab down. Programs
// get the chance to end by themselves, since wireguard-go leaves its socket behind otherwise.
func (f *fabric) close() error {
	for _, p := range f.processes() {
		p.stop()
	}
	var failed []error
	for _, l := range f.lanes {
		failed = append(failed, l.remove())
	}
	if err := f.lab.Close(); err != nil {
		failed = append(failed, fmt.Errorf("taking down the lab of %s: %w", f.name, err))
	}
	return errors.Join(failed...)
}
