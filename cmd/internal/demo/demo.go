package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"weft/perf/netlab"
)

// Limits of Options.Hosts: a pair needs two, and each host is a process of its own.
const (
	MinHosts = 2
	MaxHosts = 32
)

// labName is the first part of every demo's lab ID, behind "weft-".
const labName = "demo"

// Options says what to show.
type Options struct {
	Hosts   int    // MinHosts to MaxHosts
	Keep    bool   // leave everything running at the end
	Program string // path of the weft binary to run as etcd and agents
}

// Run builds, tries and, unless it is to be kept, removes everything. It returns nil only if every
// pair of containers worked. Progress and result go to out.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	if err := Check(); err != nil {
		return err
	}
	// Before anything is built, or the second Ctrl-C of an impatient user ends the cleaning.
	release := holdSignals()
	defer release()
	ctx, stop := untilHangup(ctx)
	defer stop()

	show := newProgress(out)
	show.line("weft demo: %d hosts on this machine, each a network namespace with an agent of its own", o.Hosts)
	show.line("")
	lab, err := buildLab(ctx, show, o.Hosts)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	site, err := buildFabric(ctx, show, lab, o.Program)
	if err != nil {
		return interrupted(ctx, err)
	}
	// From here on a failure is a result: the table says which pair, and the demo can still be kept.
	drawTopology(out, site)
	tried := tryPairs(ctx, out, site)
	if ctx.Err() != nil {
		return interrupted(ctx, tried)
	}
	show.total(tried)
	if o.Keep {
		if err := lab.Keep(); err != nil {
			return err
		}
		printHints(out, site)
	}
	return tried
}

// buildLab is the first step: the hosts and their underlay.
func buildLab(ctx context.Context, show *progress, hosts int) (*netlab.Lab, error) {
	step := show.step("hosts")
	lab, err := netlab.New(ctx, netlab.Config{Name: labName, Hosts: hosts, Topology: netlab.Bridged, MTU: 1500})
	if err != nil {
		return nil, step.failed(err)
	}
	step.done("%d on an underlay, %s to %s (lab %s)", hosts, lab.Host(1).Addr, lab.Host(hosts).Addr, lab.ID())
	return lab, nil
}

// interrupted replaces an error that is only the consequence of the user's wish to stop.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("demo interrupted: everything it had built is removed")
	}
	return err
}

// inTime names what took too long, where a step's own deadline ended it.
func inTime(ctx context.Context, limit time.Duration, what string, step func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := step(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%s took more than %v: %w", what, limit, err)
	}
	return err
}
