package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"weft/perf/netlab"
)

const (
	pings         = 5
	pingPatience  = time.Second
	transferLimit = 400 * time.Millisecond // for one transfer; shorter the more there are
	transferTotal = 4 * time.Second        // for all of them together
	transferLeast = 50 * time.Millisecond  // TCP needs that to get going
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

func closeAll(spaces []*netlab.Namespace) {
	var err error
	for _, s := range spaces {
		err = errors.Join(err, s.Close())
	}
	_ = err // closing a namespace handle that was open can't fail
}
