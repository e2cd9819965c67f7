package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/cmd/internal/admin"
	"weft/lease"
	"weft/perf/netlab"
)

// What every demo's network is: flannel's own example, with its default backend type.
const (
	networkConfig = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`
	etcdPort      = 2379
	etcdPeerPort  = 2380

	etcdPatience  = 20 * time.Second // to serve its first client
	agentPatience = 30 * time.Second // for all agents to be ready
	askEvery      = 20 * time.Millisecond
)

// builder is what the steps of building the fabric share.
type builder struct {
	show      *progress
	lab       *netlab.Lab
	site      *Site
	processes []*process
}

// buildFabric starts etcd, writes the network config, starts the agents and adds a container to
// every host.
func buildFabric(ctx context.Context, show *progress, lab *netlab.Lab, program string) (*Site, error) {
	_, addr, _ := lab.Underlay()
	b := &builder{show: show, lab: lab, site: &Site{
		Lab:      lab.ID(),
		Dir:      lab.Dir(),
		Program:  program,
		Endpoint: "http://" + netip.AddrPortFrom(addr, etcdPort).String(),
	}}
	for _, step := range []struct {
		name string
		do   func(context.Context, *step) error
	}{
		{"etcd", b.startEtcd},
		{"config", b.setConfig},
		{"agents", b.startAgents},
		{"containers", b.addContainers},
	} {
		at := show.step(step.name)
		if err := step.do(ctx, at); err != nil {
			return nil, at.failed(err)
		}
	}
	return b.site, b.site.save()
}

// startEtcd starts `weft etcd` beside the hosts and waits until it takes connections.
func (b *builder) startEtcd(ctx context.Context, step *step) error {
	space, addr, _ := b.lab.Underlay()
	p, err := b.start("etcd", space, "etcd",
		"--data-dir", filepath.Join(b.lab.Dir(), "etcd"),
		"--listen-client-urls", b.site.Endpoint,
		"--listen-peer-urls", "http://"+netip.AddrPortFrom(addr, etcdPeerPort).String())
	if err != nil {
		return err
	}
	err = inTime(ctx, etcdPatience, "the start of etcd", func(ctx context.Context) error {
		return p.poll(ctx, func() error {
			conn, err := space.Dial(ctx, "tcp", strings.TrimPrefix(b.site.Endpoint, "http://"))
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	})
	if err == nil {
		step.done("weft etcd at %s", b.site.Endpoint)
	}
	return err
}

// start starts a weft process in the namespace.
func (b *builder) start(name string, space *netlab.Namespace, args ...string) (*process, error) {
	p, err := start(launch{name: name, space: space, program: b.site.Program, args: args, dir: b.lab.Dir()})
	if err == nil {
		b.processes = append(b.processes, p)
	}
	return p, err
}

// poll asks until the answer is nil, the process has ended, or ctx has; then the error is the
// process's, or the last answer.
func (p *process) poll(ctx context.Context, ask func() error) error {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if ended := p.ended(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return p.explain(err)
		case <-ticker.C:
		}
	}
}

// setConfig runs `weft config set`.
func (b *builder) setConfig(ctx context.Context, step *step) error {
	space, _, _ := b.lab.Underlay()
	return inTime(ctx, etcdPatience, "weft config set", func(ctx context.Context) error {
		// etcd takes connections a moment before it serves; the client inside waits for that.
		cmd := space.Command(ctx, b.site.Program, "config", "set", "--etcd-endpoints", b.site.Endpoint, networkConfig)
		cmd.Env = cleanEnvironment(cmd.Environ())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("weft config set: %w: %s", err, strings.TrimSpace(string(out)))
		}
		step.done("weft config set '%s'", networkConfig)
		return nil
	})
}

// startAgents starts one `weft agent` per host, and waits until each has a lease, can carry
// packets, and knows all others.
func (b *builder) startAgents(ctx context.Context, step *step) error {
	// All at once, as after a power cut: they lease their subnets in a race.
	agents := make([]*process, len(b.lab.Hosts()))
	for i, h := range b.lab.Hosts() {
		host := Host{Name: "host" + strconv.Itoa(h.Number), Addr: h.Addr}
		host.Socket = filepath.Join(b.lab.Dir(), host.Name+".sock")
		host.SubnetFile = filepath.Join(b.lab.Dir(), host.Name+".subnet.env")
		b.site.Hosts = append(b.site.Hosts, host)
		p, err := b.start(host.Name, h.Namespace, "agent",
			"--etcd-endpoints", b.site.Endpoint,
			// Everything that two agents of one machine would fight over has a path of its own.
			"--iface", h.Device(),
			"--subnet-file", host.SubnetFile,
			"--admin-socket", host.Socket,
			"--release-on-exit", // and the express lane with the lease: it would go on, as is right outside of demos
			"--state-dir", filepath.Join(b.lab.Dir(), host.Name+".state"))
		if err != nil {
			return err
		}
		agents[i] = p
	}
	err := inTime(ctx, agentPatience, "the start of the agents", func(ctx context.Context) error {
		for i, p := range agents {
			step.say("%d of %d ready", i, len(agents))
			if err := p.poll(ctx, func() error { return b.ready(ctx, &b.site.Hosts[i]) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		step.done("%d × weft agent, each with a subnet of its own, each knows the others", len(agents))
	}
	return err
}

// ready tells whether the host's agent is, as `weft status` would, and notes the subnet that it
// has written for Docker.
func (b *builder) ready(ctx context.Context, h *Host) error {
	state, _, err := admin.Ask(ctx, h.Socket)
	switch {
	case err != nil:
		return err
	case !state.Ready && state.Waiting != "":
		return fmt.Errorf("%s waits: %s", h.Name, state.Waiting)
	case !state.Ready:
		return fmt.Errorf("%s is not ready", h.Name)
	case len(state.Peers) < len(b.lab.Hosts())-1:
		return fmt.Errorf("%s knows %d of %d other hosts", h.Name, len(state.Peers), len(b.lab.Hosts())-1)
	}
	// Docker reads subnet.env, and so does the demo: what the agent says elsewhere doesn't count.
	env, err := lease.ReadSubnetEnv(h.SubnetFile)
	if err != nil {
		return err
	}
	if !env.Subnet.IsValid() {
		return errors.New("no subnet in " + h.SubnetFile)
	}
	h.Subnet, h.MTU = env.Subnet, env.MTU
	return nil
}

// addContainers does Docker's part: a bridge in the leased subnet and a container behind it.
func (b *builder) addContainers(ctx context.Context, step *step) error {
	for i, lab := range b.lab.Hosts() {
		if err := ctx.Err(); err != nil {
			return err
		}
		host := &b.site.Hosts[i]
		host.Container = "c" + strconv.Itoa(lab.Number)
		// The container's MTU is the fabric's, or its large packets would need fragments.
		c, err := lab.AddContainer(host.Container, host.MTU, host.Subnet)
		if err != nil {
			return err
		}
		host.ContainerAddr = c.Addr
	}
	step.done("one behind a bridge on every host, MTU %d", b.site.Hosts[0].MTU)
	return nil
}
