package scale

import (
	"errors"
	"fmt"
	"io"
	"time"

	"weft/perf/report"
)

// Programs that can serve as the run's own etcd.
const (
	EtcdAuto     = "auto"     // the one on PATH, else weft's
	EtcdPath     = "path"     // the program "etcd" on PATH
	EtcdEmbedded = "embedded" // weft etcd
)

// Options says what to simulate.
type Options struct {
	Hosts         int // agents that start at once, 2 to MostHosts
	PerConnection int // agents that share one connection
	Probes        int // agents in processes of their own, beside Hosts
	Changes       int // a third each: a new lease, changed attributes, a release

	Endpoints []string // of an etcd that is there; none: one of its own is started
	Etcd      string   // which one that is: EtcdAuto, EtcdPath or EtcdEmbedded

	Weft     string        // the program to start as probe, and as etcd where that is asked for
	Limit    time.Duration // for each of the phases; a run that takes longer fails
	Host     report.Host   // described in the result
	Progress io.Writer     // nil: silence
}

// MostHosts is how many subnets the network of a run has, of which some stay free for the changes.
const MostHosts = 65000

// Defaults returns what a run is without flags: the scale that weft is made for.
func Defaults() Options {
	return Options{Hosts: 5000, PerConnection: 50, Probes: 2, Changes: 60, Etcd: EtcdAuto, Limit: 3 * time.Minute}
}

// Check returns everything that is wrong with the options.
func (o Options) Check() error {
	var errs []error
	between := func(name string, n, low, high int) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("%s %d: use %d to %d", name, n, low, high))
		}
	}
	between("hosts", o.Hosts, 2, MostHosts)
	between("hosts per connection", o.PerConnection, 1, MostHosts)
	between("probes", o.Probes, 1, 16)
	between("changes", o.Changes, 3, 10000)
	if o.Weft == "" {
		errs = append(errs, errors.New("no program to start as probe: name weft"))
	}
	if o.Limit < time.Second {
		errs = append(errs, fmt.Errorf("limit %v for a phase: use a second at least", o.Limit))
	}
	switch o.Etcd {
	case EtcdAuto, EtcdPath, EtcdEmbedded:
	default:
		errs = append(errs, fmt.Errorf("etcd %q: use %s, %s or %s", o.Etcd, EtcdAuto, EtcdPath, EtcdEmbedded))
	}
	return errors.Join(errs...)
}

// connections is how many connections all agents share.
func (o Options) connections() int { return (o.Hosts + o.PerConnection - 1) / o.PerConnection }

// say writes a line of progress.
func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", args...)
	}
}
