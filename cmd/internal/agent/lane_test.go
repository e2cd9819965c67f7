package agent

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"weft/kernelmode/express"
	"weft/lease"
	"weft/tunnel"
)

// fakeLanes are lanes in memory, one device's at a time.
type fakeLanes struct {
	all     []*fakeLane // in the order in which they were opened
	opens   error
	checks  []error // what the next looks at any lane find
	unkept  error   // why nothing can be pinned
	left    []string
	did     []string // what was taken away
	lasting bool
}

// fakeLane is one of them.
type fakeLane struct {
	*fakeLanes
	config express.Config
	routes []express.Route
	counts express.Counters
	closed string // how
	broken error  // what Publish says
}

func (f *fakeLanes) Open(c express.Config) (lane, error) {
	if f.opens != nil {
		return nil, f.opens
	}
	l := &fakeLane{fakeLanes: f, config: c}
	f.all = append(f.all, l)
	return l, nil
}

func (f *fakeLanes) Left(device string) bool { return slices.Contains(f.left, device) }

func (f *fakeLanes) Detach(device string) error {
	f.did = append(f.did, "detach "+device)
	return nil
}

func (f *fakeLanes) Remove(device string) error {
	f.did = append(f.did, "remove "+device)
	f.left = slices.DeleteFunc(f.left, func(d string) bool { return d == device })
	return nil
}

func (f *fakeLanes) Keep(_ tunnel.Queue, on bool) error {
	f.lasting = on
	return nil
}

func (f *fakeLanes) last() *fakeLane { return f.all[len(f.all)-1] }

func (l *fakeLane) Publish(routes []express.Route) error {
	l.routes = routes
	return l.broken
}

func (l *fakeLane) Check() error {
	if len(l.checks) == 0 {
		return nil
	}
	err := l.checks[0]
	l.fakeLanes.checks = l.checks[1:]
	return err
}

func (l *fakeLane) Counters() (express.Counters, error) { return l.counts, nil }
func (l *fakeLane) Pinned() error                       { return l.unkept }

func (l *fakeLane) Close(detach bool) error {
	l.closed = "left"
	if detach {
		l.closed = "detached"
	}
	return nil
}

// laneSession is a session of a host of a vxlan network with two peers, one of type udp, whose packets go through a device
// and sockets that never have any.
func laneSession(t *testing.T) (*session, *userPath, *fakeLanes) {
	t.Helper()
	m := memberOf(t, kernelOf(t, testVTEP.mac), t.TempDir())
	lanes := &fakeLanes{}
	m.lanes, m.fabric.vtep = lanes, testVTEP
	m.options.TUNName = "weft0"
	own := peer(t, "10.5.1.0/24", "", `{"PublicIP":"192.0.2.1","BackendType":"vxlan"}`)
	m.fabric.own = own
	snapshot := &lease.Snapshot{Revision: 3, Config: m.fabric.config, Leases: []lease.Lease{own,
		peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}`),
		peer(t, "10.5.3.0/24", "", `{"PublicIP":"192.0.2.3","PublicIPv6":null}`)}}
	table, err := newTable(m.fabric, m.options)
	if err != nil {
		t.Fatal(err)
	}
	u := &userPath{
		table: table, lineage: &lineage{}, log: slog.New(slog.NewTextHandler(io.Discard, nil)), front: newFront(lanes),
		formats: m.fabric.formats(snapshot), queues: []tunnel.Queue{idleQueue{make(chan struct{})}},
		sockets: []sockets{{kind: typeVXLAN, port: 8472}, {kind: typeUDP, port: 8285}},
	}
	s := &session{member: m, fabric: m.fabric, snapshot: snapshot, arranged: make(chan struct{})}
	s.replace(u)
	s.chosen.Store(&choice{kind: userspace})
	if _, err := u.follow(snapshot); err != nil {
		t.Fatal(err)
	}
	return s, u, lanes
}

// The lane takes the formats whose ports are this host's, and has the forwarder's routes.
func TestLaneIsTheForwarders(t *testing.T) {
	s, u, lanes := laneSession(t)
	if err := s.layLane(u); err != nil {
		t.Fatal(err)
	}
	c := lanes.last().config
	if c.Device != "weft0" || c.Underlay != "eth0" || c.Outer4 != netip.MustParseAddr("192.0.2.1") || c.VXLANPort != 8472 ||
		c.UDPPort != 8285 || c.VNI != 1 || c.MTU != 1450 || len(c.Local) != 1 || c.MAC4 != testVTEP.mac {
		t.Errorf("lane %+v", c)
	}
	to := map[netip.Prefix]express.Route{}
	for _, r := range lanes.last().routes {
		to[r.Subnet] = r
	}
	vxlan, udp := to[netip.MustParsePrefix("10.5.2.0/24")], to[netip.MustParsePrefix("10.5.3.0/24")]
	if vxlan.Encapsulation != express.EncapVXLAN || vxlan.VNI != 1 || vxlan.MAC[0] != 0xc6 || vxlan.MTU != 0 ||
		udp.Encapsulation != express.EncapUDP || udp.Outer != netip.MustParseAddrPort("192.0.2.3:8285") || len(to) != 2 {
		t.Errorf("routes %+v", lanes.last().routes)
	}
	if !slices.ContainsFunc(u.plan().Sysctls, isForwarding) {
		t.Errorf("plan without forwarding on the underlay:\n%s", u.plan())
	}

	// Another program has the port of the other format: what comes there is that one's.
	u.sockets[1].port = 0
	if _, err := u.follow(s.snapshot); err != nil {
		t.Fatal(err)
	}
	if len(lanes.all) != 2 || lanes.all[0].closed != "left" || lanes.last().config.UDPPort != 0 || lanes.last().config.VXLANPort != 8472 {
		t.Errorf("%d lanes, the last one %+v, the first one %s", len(lanes.all), lanes.last().config, lanes.all[0].closed)
	}
}

// A snapshot that changes a peer changes the lane's routes; one that the lane doesn't take is a reason to give it up, and none
// to stop forwarding.
func TestLaneFollows(t *testing.T) {
	s, u, lanes := laneSession(t)
	if err := s.layLane(u); err != nil {
		t.Fatal(err)
	}
	fewer := *s.snapshot
	fewer.Leases = fewer.Leases[:2]
	if changed, err := u.follow(&fewer); changed != 1 || err != nil || len(lanes.last().routes) != 1 {
		t.Errorf("%d changes, %v, routes %+v", changed, err, lanes.last().routes)
	}
	lanes.last().broken = errors.New("no memory")
	if _, err := u.follow(s.snapshot); err != nil {
		t.Errorf("a lane that fails ends the session: %v", err)
	}
	select {
	case fault := <-s.laneLost():
		s.giveUpLane(fault)
	default:
		t.Fatal("nobody was told")
	}
	if c := s.chosen.Load(); u.front.on() || c.kind != userspace || c.word != wordLaneFailed || lanes.lasting || lanes.last().closed != "detached" {
		t.Errorf("choice %+v, lane %s, lasting %t", c, lanes.last().closed, lanes.lasting)
	}
	if slices.ContainsFunc(u.plan().Sysctls, isForwarding) {
		t.Errorf("the plan still is for a lane:\n%s", u.plan())
	}
}
