package demo

import (
	"context"
	"fmt"
	"io"
	"time"

	"weft/perf/netlab"
)

// How long a pair is tried. With three hosts all takes some three seconds.
const (
	pings         = 5
	pingPatience  = time.Second
	transferLimit = 400 * time.Millisecond // for one transfer; shorter the more there are
	transferTotal = 4 * time.Second        // for all of them together
	transferLeast = 20 * time.Millisecond  // TCP needs that to get going
)

// tryPairs pings and transfers in both directions between the containers of every pair of hosts, and
// prints the table row by row. The error says how many pairs didn't work.
func tryPairs(ctx context.Context, out io.Writer, site *Site) error {
	spaces, err := openContainers(site)
	defer closeAll(spaces)
	if err != nil {
		return err
	}
	count := len(spaces) * (len(spaces) - 1)
	length := min(max(transferTotal/time.Duration(count), transferLeast), transferLimit)
	failed := 0
	table := newTable(out)
	// One after the other: transfers side by side would measure this machine's CPUs.
	for i := range spaces {
		for k := range spaces {
			if i == k {
				continue
			}
			r := tryPair(ctx, pair{site.Hosts[i], site.Hosts[k], spaces[i], spaces[k]}, length)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if r.err != nil {
				failed++
			}
			table.row(site.Hosts[i], site.Hosts[k], r)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d directions between containers failed", failed, count)
	}
	return nil
}

// pair is one direction between two containers.
type pair struct {
	from, to           Host
	fromSpace, toSpace *netlab.Namespace
}

// result is what a pair did.
type result struct {
	trip       time.Duration // median round trip
	bitsPerSec float64
	err        error
}

// tryPair pings first: without an answer a transfer would only time out.
func tryPair(ctx context.Context, p pair, length time.Duration) (r result) {
	trip, err := ping(ctx, p, pings)
	if err != nil {
		return result{err: fmt.Errorf("ping: %w", err)}
	}
	rate, err := transfer(ctx, p, length)
	if err != nil {
		return result{trip: trip, err: fmt.Errorf("transfer: %w", err)}
	}
	return result{trip: trip, bitsPerSec: rate}
}

// openContainers enters the containers by name, which works for a lab of an earlier process too.
func openContainers(site *Site) ([]*netlab.Namespace, error) {
	var spaces []*netlab.Namespace
	for _, h := range site.Hosts {
		space, err := netlab.OpenNamespace(site.Lab, h.Container)
		if err != nil {
			return spaces, err
		}
		spaces = append(spaces, space)
	}
	return spaces, nil
}

// closeAll gives the handles up.
func closeAll(spaces []*netlab.Namespace) {
	for _, s := range spaces {
		s.Close() // only a handle that isn't open could fail
	}
}
