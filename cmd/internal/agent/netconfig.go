package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/lease"
)

// awaitConfig asks for the network config every second until there is one that this agent can
// follow. What it waits for is said once, and again when it changes.
func (a *Agent) awaitConfig(ctx context.Context, store lease.Store, where StoreOptions) (lease.Config, error) {
	p := &a.progress
	for {
		config, err := store.Config(ctx)
		if err == nil {
			err = a.options.follows(config)
		}
		if err == nil {
			p.waiting("")
			return config, nil
		}
		if ctx.Err() != nil {
			return lease.Config{}, context.Cause(ctx)
		}
		p.waiting(missing(err, where))
		if !pause(ctx, retryEvery) {
			return lease.Config{}, context.Cause(ctx)
		}
	}
}

// missing puts the reason for waiting into a sentence with its remedy.
func missing(err error, where StoreOptions) string {
	switch {
	case errors.Is(err, lease.ErrNoConfig):
		return fmt.Sprintf("the network config at %s/config: write it with: weft config set%s FILE (weft config set --help shows one)",
			strings.TrimSuffix(where.Prefix, "/"), where.flags())
	case errors.Is(err, lease.ErrUnavailable) && where.Kind == "etcd":
		return fmt.Sprintf("etcd: %v: start it, or correct --etcd-endpoints", err)
	default:
		return fmt.Sprintf("a usable network config: %v: change it with: weft config set%s FILE", err, where.flags())
	}
}

// flags writes what another subcommand has to be told to find the same store, where it isn't the default.
func (s StoreOptions) flags() string {
	text, defaults := "", Defaults().Store
	if !slices.Equal(s.Endpoints, defaults.Endpoints) {
		text += " --etcd-endpoints " + strings.Join(s.Endpoints, ",")
	}
	if s.Prefix != defaults.Prefix {
		text += " --etcd-prefix " + s.Prefix
	}
	return text
}

// supported says whether this version carries packets of the backend type.
func supported(c lease.Config) error {
	switch c.BackendType {
	case typeUDP, typeVXLAN, typeHostGW, typeAlloc:
		return nil
	case typeIPIP:
		if !c.EnableIPv4 {
			return errors.New("backend type ipip carries IPv4 alone, and the network has none: use vxlan")
		}
		return nil
	default:
		return fmt.Errorf(`backend type %q is one that this version of weft doesn't carry: use "udp", "vxlan", "host-gw" or "ipip", `+
			`or "alloc" for leases alone`, c.BackendType)
	}
}

// follows says whether a host with these options can be in the network: what of them contradicts it is
// named with the remedy.
func (o Options) follows(c lease.Config) error {
	kind := c.BackendType
	switch {
	case supported(c) != nil:
		return supported(c)
	case c.Migration != nil && o.Datapath == inKernel:
		return errors.New("the network migrates, which takes user space on every host: use --datapath auto, or `weft switch auto` if the agent runs")
	case kind == typeHostGW && o.Datapath == userspace:
		return errors.New("--datapath userspace contradicts backend type host-gw, which is routes in the kernel: use auto or kernel, or backend type vxlan")
	case kind == typeHostGW && o.Datapath == byLane:
		return errors.New("--datapath express contradicts backend type host-gw, which is routes in the kernel and as fast: use auto or kernel, or backend type vxlan")
	case kind == typeUDP && o.Datapath == inKernel:
		return errors.New("--datapath kernel contradicts backend type udp, which this version carries in user space alone: use auto, express or userspace, or backend type vxlan")
	case o.Port != 0 && (kind == typeHostGW || kind == typeIPIP):
		return fmt.Errorf("--port %d contradicts backend type %s, which has no UDP port: drop it, or use backend type vxlan or udp", o.Port, kind)
	case kind == typeVXLAN && o.Port != 0 && o.Datapath == inKernel:
		return fmt.Errorf("--port %d contradicts --datapath kernel: the kernel's device sends to the port that it listens at, so all hosts need the network's: "+
			"drop it and set Port in the network config, or use --datapath userspace", o.Port)
	case kind == typeVXLAN && o.vxlanSums() && o.Datapath == inKernel:
		return errors.New("--offload-remote-checksum=on contradicts --datapath kernel: flannel's vxlan device doesn't take such frames: use auto, or --datapath userspace")
	}
	return nil
}

// unheard lists what of the network config the chosen datapath can't do, so that nobody looks for it.
func unheard(c lease.Config, kind string) (notes []string) {
	if kind != inKernel && c.Options.GBP {
		notes = append(notes, "GBP: user space carries the packets and not their policy marks; the kernel's datapath does both")
	}
	if kind != inKernel && c.Options.Learning {
		notes = append(notes, "Learning: user space knows its peers from their leases alone; the kernel's datapath learns")
	}
	if c.BackendType == typeIPIP && c.EnableIPv6 {
		notes = append(notes, fmt.Sprintf("ipip carries IPv4 alone, and network %s stays unconnected: use vxlan", c.IPv6Network))
	}
	return notes
}

// pause waits for d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
