package forwarder_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// soakTime is how long the soak lasts: WEFT_SOAK=10m for the real thing.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("WEFT_SOAK")
	switch {
	case text == "" && testing.Short():
		return 4 * time.Second
	case text == "":
		return 8 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 4*time.Second {
		t.Fatalf("WEFT_SOAK %q: use a duration of at least 4s, as 10m", text)
	}
	return d
}

// The underlay in the soak. It loses and repeats packets all the time; the last two thirds of the time
// it reorders them as well.
var (
	lossy      = netlab.Impairment{Loss: 0.01, Duplicate: 0.005, Seed: 1}
	reordering = netlab.Impairment{Loss: 0.01, Duplicate: 0.005, Reorder: 0.01, Seed: 2}
)

// underlayMTUs are taken by turns. The smallest leaves inner IPv6 its 1,280.
var underlayMTUs = []int{1400, 1308, 1450, 1350, 1500}

// What the process may grow by after the warm-up. It is the garbage collector's breath that makes
// the resident set move; what is really kept shows in the heap.
const (
	residentGrowth = 24 << 20
	heapGrowth     = 4 << 20
)

// TestSoak has three hosts that differ in everything (the fast queue and conn with GUE and superpackets that leave whole, the same without, and
// the portable ones) carry TCP, UDP and ICMP of all sizes in both families between all of them, while
// the underlay loses, repeats and reorders packets and changes its MTU, and every host's routes change
// 10,000 times a second.
//
// Nothing may arrive damaged: every byte is compared. Nothing may be dropped for a reason that isn't
// there. While the underlay keeps the order, every UDP flow must arrive in order: what comes late then
// was reordered by weft. What the process uses at the end must be what it used at the start.
func TestSoak(t *testing.T) {
	labtest.NeedTUN(t)
	length := soakTime(t)
	before, err := measure()
	if err != nil {
		t.Fatal(err)
	}
	first := gue
	if outletsHere() == nil {
		first = wholeGUE
	}
	f, err := newFabric(t.Context(), fabricSpec{variants: []variant{first, fast, slow}, hosts: 3, inner4: true, inner6: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{fabric: f, churns: make([]churn, len(f.nodes))}
	err = s.run(t, length)
	if closed := f.close(); err == nil {
		err = closed
	}
	if err != nil {
		t.Error(err)
	}
	f.checkRefusals(t)
	checkGiven(t, before)
}

// A soak is one run of TestSoak.
type soak struct {
	*fabric
	load   *load
	churns []churn
}

func (s *soak) run(t *testing.T, length time.Duration) (err error) {
	for _, n := range s.nodes {
		for _, space := range []*netlab.Namespace{n.host.Namespace, n.container.Namespace} {
			// Paths are tried in full again soon after they have shrunk, by senders too.
			for _, key := range []string{"net.ipv4.route.mtu_expires", "net.ipv6.route.mtu_expires"} {
				if err := space.Sysctl(key, "1"); err != nil {
					return err
				}
			}
		}
	}
	// First, since a link that is changed over to another path may reorder what is on its way.
	if err := s.impair(lossy); err != nil {
		return err
	}
	s.load, err = openLoad(t.Context(), s.fabric)
	defer s.load.close()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.load.run(ctx) })
	all.Go(func() error { return s.changeMTU(ctx, length) })
	for i, n := range s.nodes {
		all.Go(func() error { return s.churns[i].run(ctx, s.fabric, n) })
	}
	all.Go(func() error { return s.watch(ctx, t, length) })
	if err := all.Wait(); err != nil {
		return err
	}
	s.checkChecksums(t)
	return s.load.idle()
}

// watch goes through the phases of a soak: in order, out of order, and memory at the start and end.
func (s *soak) watch(ctx context.Context, t *testing.T, length time.Duration) error {
	if !pause(ctx, length/6) { // warm-up
		return nil
	}
	kept := heap()
	resident, err := sampleFor(ctx, length/6)
	if err != nil {
		return err
	}
	if late := s.load.late(); late != 0 {
		t.Errorf("%d UDP messages came behind later ones over an underlay that keeps the order", late)
	}
	if err := s.impair(reordering); err != nil {
		return err
	}
	pause(ctx, length/2)
	residentEnd, err := sampleFor(ctx, length/6)
	if err != nil {
		return err
	}
	keptEnd := heap()
	if residentEnd > resident+residentGrowth {
		t.Errorf("resident set grew from %d to %d MB", resident>>20, residentEnd>>20)
	}
	if keptEnd > kept+heapGrowth {
		t.Errorf("heap in use grew from %d to %d MB", kept>>20, keptEnd>>20)
	}
	t.Logf("%v: %v; RSS %d MB to %d MB, heap %.1f MB to %.1f MB; %v", length, s.load,
		resident>>20, residentEnd>>20, float64(kept)/(1<<20), float64(keptEnd)/(1<<20), s)
	return nil
}

// impair has every pair's packets cross at least one bad link.
func (s *soak) impair(i netlab.Impairment) error {
	for _, n := range s.nodes[1:] {
		if err := n.host.Uplink.Impair(i); err != nil {
			return err
		}
	}
	return nil
}

// changeMTU gives the underlay another MTU every few seconds.
func (s *soak) changeMTU(ctx context.Context, length time.Duration) error {
	every := min(3*time.Second, length/8)
	for i := 0; pause(ctx, every); i++ {
		if err := s.lab.SetMTU(underlayMTUs[i%len(underlayMTUs)]); err != nil {
			return err
		}
	}
	return nil
}

// pause waits; false: ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func sampleFor(ctx context.Context, d time.Duration) (resident uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return sample(ctx)
}

// String sums up what the forwarders did.
func (s *soak) String() string {
	var packets, bytes, updates uint64
	sums := map[string]uint64{}
	for i, n := range s.nodes {
		c := n.forwarder.Counters()
		packets, bytes = packets+c.Ingress.Packets, bytes+c.Ingress.Bytes
		updates += s.churns[i].updates.Load()
		for reason, count := range c.Drops {
			sums[reason] += count
		}
		sums["icmp_sent"] += c.ICMPSent
	}
	var drops []string
	for reason, count := range sums {
		if count != 0 {
			drops = append(drops, fmt.Sprintf("%s %d", reason, count))
		}
	}
	slices.Sort(drops)
	return fmt.Sprintf("forwarded %d packets and superpackets of %d MB, %d table updates, dropped: %s",
		packets, bytes>>20, updates, strings.Join(drops, ", "))
}
