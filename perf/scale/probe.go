package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/lease"
	"weft/lease/etcd"
	"weft/perf"
	"weft/routes"
)

// A Job is what a probe is told, as JSON on its command line.
type Job struct {
	Endpoints []string `json:"endpoints"`
	Prefix    string   `json:"prefix"`
	Host      int      `json:"host"` // its number; the crowd has those below
}

// An applied is what a probe says of each snapshot: a line of JSON.
type applied struct {
	Revision int64 `json:"revision"`
	At       int64 `json:"at"`    // when its table was in force, Unix time, ns
	Took     int64 `json:"took"`  // to make it, ns
	Count    int   `json:"count"` // leases in the snapshot

	Last *Probed `json:"last,omitempty"` // the last line: what it took in all
}

// Probe is an agent's lease layer with nothing that others share, and a route table behind it. It runs
// until in ends, then says what it took and returns. After each snapshot it calls applying, which does what
// an agent's process does then.
func Probe(ctx context.Context, job Job, in io.Reader, out io.Writer, applying func(leases int)) error {
	empty, _, err := perf.ResidentMemory(os.Getpid())
	if err != nil {
		return err
	}
	store, err := etcd.New(etcd.Options{Endpoints: job.Endpoints, Prefix: job.Prefix})
	if err != nil {
		return err
	}
	defer store.Close()
	follower := lease.NewFollower(store, nil)
	keeper := lease.NewKeeper(lease.KeeperOptions{Store: store, Request: lease.Request{Attrs: attrs(job.Host, 1)},
		Margin: renewMargin, Snapshots: follower.Snapshots()})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return follower.Run(running) })
	g.Go(func() error { return keeper.Run(running) })
	g.Go(func() error { return applyTables(running, follower, json.NewEncoder(out), applying) })
	g.Go(func() error {
		defer cancel()
		_, err := io.Copy(io.Discard, in) // until whoever started it is done with it, or dead
		return err
	})
	<-running.Done()
	last := Probed{Empty: empty, CPU: ownCPU().Seconds()}
	if last.RSS, last.Peak, err = perf.ResidentMemory(os.Getpid()); err != nil {
		return err
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	last.Heap = m.HeapAlloc
	runtime.KeepAlive(follower)
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return json.NewEncoder(out).Encode(applied{Last: &last})
}

// applyTables makes a route table of each snapshot, as the agent's userspace datapath does.
func applyTables(ctx context.Context, f *lease.Follower, out *json.Encoder, applying func(leases int)) error {
	var live routes.Live
	for version := uint64(0); ; {
		s, seen, err := f.Snapshots().Next(ctx, version)
		if err != nil {
			return err
		}
		version = seen
		if s.ConfigErr != nil {
			continue
		}
		began := time.Now()
		table := live.Load()
		if table == nil {
			if table, err = routes.New(routes.Layout{Network: s.Config.Network, SubnetLen: s.Config.SubnetLen}, nil); err != nil {
				return err
			}
		}
		next, _, err := table.Replace(hops(s))
		if err != nil {
			return fmt.Errorf("applying revision %d of the leases: %w", s.Revision, err)
		}
		live.Publish(next)
		f.Applied(s.Revision)
		now := time.Now()
		if err := out.Encode(applied{Revision: s.Revision, At: now.UnixNano(), Took: int64(now.Sub(began)), Count: len(s.Leases)}); err != nil {
			return err
		}
		applying(len(s.Leases))
	}
}

// hops is a route for each lease.
func hops(s *lease.Snapshot) []routes.Route {
	all := make([]routes.Route, 0, len(s.Leases))
	for _, l := range s.Leases {
		port := s.Config.Options.Port
		if w, ok := l.Attrs.Weft(); ok && w.Port != 0 {
			port = w.Port
		}
		hop := &routes.Hop{Outer: netip.AddrPortFrom(l.Attrs.PublicIP, uint16(port)), Encapsulation: routes.EncapUDP}
		all = append(all, routes.Route{Subnet: l.Subnet, Hop: hop})
	}
	return all
}

// A probe is the other end of Probe.
type probe struct {
	*child
	in      io.Closer
	reading sync.WaitGroup

	mu     sync.Mutex
	lines  []applied // in the order they came, for a change's time
	took   []time.Duration
	result Probed
	err    error
}

// ProbeCommand is the subcommand of weft that runs [Probe], with a job as its argument.
const ProbeCommand = "bench-agent"

func startProbe(o Options, job Job) (*probe, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("encoding a probe's job: %w", err)
	}
	cmd := exec.Command(o.Weft, ProbeCommand, string(text))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting a probe: %w", err)
	}
	// Not cmd.StdoutPipe: that is closed when the child ends, whether all has been read or not.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting a probe: %w", err)
	}
	cmd.Stdout = theirs
	p := &probe{in: in}
	p.child, err = startChild(cmd, false)
	theirs.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	p.reading.Go(func() { p.read(out) })
	return p, nil
}

// read takes the probe's lines in until it ends.
func (p *probe) read(out *os.File) {
	defer out.Close()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a applied
		err := json.Unmarshal(lines.Bytes(), &a)
		p.mu.Lock()
		switch {
		case err != nil:
			p.err = fmt.Errorf("reading a probe's line %.60q: %w", lines.Text(), err)
		case a.Last != nil:
			p.result = *a.Last
		default:
			p.lines = append(p.lines, a)
			p.took = append(p.took, time.Duration(a.Took))
		}
		p.mu.Unlock()
	}
}

// latest is the last snapshot that the probe has applied.
func (p *probe) latest() applied {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == 0 {
		return applied{}
	}
	return p.lines[len(p.lines)-1]
}

// finish ends the probe and returns what it brought but for Changes.
func (p *probe) finish() (Probed, error) {
	p.in.Close() // at which it says its last line
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.stop()
	}
	p.reading.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && p.result.Heap == 0 {
		p.err = fmt.Errorf("a probe ended early (%v): %s", p.child.err, lastLine(p.out.String()))
	}
	r := p.result
	r.Apply = spreadOf("apply", p.took)
	if len(p.lines) > 0 {
		r.Leases = p.lines[len(p.lines)-1].Count
	}
	return r, p.err
}
