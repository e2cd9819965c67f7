package forwarder

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// trials are those of all hops that runs are sent to. The lock is off the packets' way: egress takes
// it for the first run to a hop in half a second.
type trials struct {
	mu      sync.Mutex
	byHop   map[*routes.Hop]*trial
	byToken map[uint64]*trial // those with echoes on their way
	whole   bool              // to some hop runs arrive, so the fault isn't this host's
	lanes   *lanes            // the first worker's: where echoes leave
	mtu     int
	log     *slog.Logger
	buf     []byte // the goroutine's that run is on
}

func newTrials(c *Config, l *lanes) trials {
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	return trials{
		byHop: make(map[*routes.Hop]*trial), byToken: make(map[uint64]*trial),
		lanes: l, mtu: c.MTU, log: log,
	}
}

// hostFault is how many hops, and no other, must lose runs for the fault to be this host's.
const hostFault = 3

// watch is told of runs to a hop that answers echoes.
func (ts *trials) watch(hop *routes.Hop) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	hop.Runs.Seen.Store(true)
	if ts.byHop[hop] == nil {
		t := &trial{hop: hop}
		if hop.Runs.Off.Load() { // by a forwarder from before
			t.score = trialsToBelieve
		}
		ts.byHop[hop] = t
	}
}

// run makes trials until ctx ends.
func (ts *trials) run(ctx context.Context) error {
	return every(ctx, trialTick, func(now time.Time) {
		for _, t := range ts.step(now) {
			ts.send(t)
		}
	})
}

// step judges the trials whose time is up, and returns those whose echoes are to be sent.
func (ts *trials) step(now time.Time) (due []*trial) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for hop, t := range ts.byHop {
		if t.token != 0 {
			delete(ts.byToken, t.token)
			if t.judge(now) {
				ts.tell(t)
			}
			ts.whole = ts.whole || t.score == 0 && t.text != ""
		}
		if hop.Runs.Seen.Swap(false) {
			t.seen = now
		}
		switch {
		case now.Sub(t.seen) >= trialForget:
			hop.Runs.Off.Store(false)
			delete(ts.byHop, hop)
		case t.due(now):
			due = append(due, t)
		}
	}
	return due
}

// tell logs that runs to a hop went off or on, and takes them off this host's sockets where no hop gets any.
func (ts *trials) tell(t *trial) {
	if !t.hop.Runs.Off.Load() {
		ts.log.Info("runs arrive at a peer again", "peer", t.hop.Outer, "trial", t.text)
		return
	}
	ts.log.Warn("runs don't arrive at a peer: sending it every datagram alone, which is slower", "peer", t.hop.Outer, "trial", t.text)
	off := 0
	for hop := range ts.byHop {
		if hop.Runs.Off.Load() {
			off++
		}
	}
	if off < hostFault || ts.whole {
		return
	}
	why := fmt.Sprintf("they arrive at none of %d peers (to %v, %s)", off, t.hop.Outer, t.text)
	for _, l := range ts.lanes.all {
		if conn, ok := l.conn.Conn.(interface{ TurnOffRuns(why string) }); ok {
			conn.TurnOffRuns(why)
		}
	}
}

// send sends the echoes of one trial. Where the kernel doesn't take all, there is nothing to conclude.
func (ts *trials) send(t *trial) {
	conn := ts.conn(t.hop)
	if conn == nil || !conn.Offloads().GSO {
		return
	}
	size := t.hop.MTU()
	if size == 0 {
		size = ts.mtu
	}
	ts.mu.Lock()
	var out []tunnel.Datagram
	out, ts.buf = t.begin(ts.buf, size)
	ts.byToken[t.token] = t
	ts.mu.Unlock()
	// A conn that is gone shows itself to the next read; echoes that aren't sent don't come back.
	_, _ = conn.WriteBatch(out)
}

// conn returns the first UDP conn of a hop's format and address family; nil for none.
func (ts *trials) conn(hop *routes.Hop) *sharedConn {
	family := &ts.lanes.v6
	if hop.Outer.Addr().Is4() {
		family = &ts.lanes.v4
	}
	if all := family[formatOf(hop.Encapsulation)]; len(all) > 0 && all[0].format != formatIPIP {
		return all[0].conn
	}
	return nil
}

// answered is told of every answer. One that comes too late, or to nothing that was asked of that peer, says
// nothing: only who has seen an echo knows its token.
func (ts *trials) answered(from netip.Addr, e tunnel.Echo) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byToken[e.Token]
	if t != nil && t.hop.Outer.Addr() == from && int(e.Place) < len(places) {
		t.back |= 1 << e.Place
	}
}

// Lowered lists the peers that get every datagram alone, since runs to them don't arrive: a line for
// each, with what showed it and since when. Safe to call from any goroutine.
func (f *Forwarder) Lowered() (lines []string) {
	f.trials.mu.Lock()
	defer f.trials.mu.Unlock()
	for hop, t := range f.trials.byHop {
		if hop.Runs.Off.Load() {
			lines = append(lines, fmt.Sprintf("%v: UDP_SEGMENT off since %s: %s: this kernel or one on the way mangles runs; "+
				"tried again every minute", hop.Outer, t.since.Format(time.TimeOnly), t.text))
		}
	}
	slices.SortFunc(lines, strings.Compare)
	return lines
}
