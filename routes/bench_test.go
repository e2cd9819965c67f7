package routes_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"weft/routes"
)

var sink *routes.Hop

// someAddrs returns a power of two of addresses of 10.0.0.0/8 at random, as numbers.
func someAddrs(count int) []uint32 {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]uint32, count)
	for i := range all {
		all[i] = 10<<24 | r.Uint32()&0xffffff
	}
	return all
}

// BenchmarkLookup: fixed is the ordinary network, 65,536 subnets in the index. prefix is 2^20 routes
// that don't fit it, in the longest-prefix table. With 64 destinations the table's memory is in the
// caches, as a host's own conversations keep it; with 4,096 at random the processor waits for
// memory, whatever the algorithm.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range []struct {
		name      string
		subnetLen int
	}{{"fixed", 24}, {"prefix", 28}} {
		table := full(b, kind.subnetLen)
		for _, count := range []int{64, 4096} {
			addrs := someAddrs(count)
			b.Run(fmt.Sprintf("%s/%d", kind.name, count), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					sink = table.Lookup4(addrs[i&(len(addrs)-1)])
				}
			})
		}
	}
	v6 := routes.Route{Subnet: prefix("fd05:0:0:2::/64"), Hop: hopTo("192.0.2.2")}
	table, addr := newTable(b, layout, v6), netip.MustParseAddr("fd05:0:0:2::1").As16()
	b.Run("IPv6", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sink = table.Lookup6(addr)
		}
	})
}

// BenchmarkKnownOuter is the check that only refused packets pay for.
func BenchmarkKnownOuter(b *testing.B) {
	table, addr := full(b, 24), netip.MustParseAddr("192.7.7.0")
	b.ReportAllocs()
	for b.Loop() {
		if !table.KnownOuter(addr) {
			b.Fatal("a peer is unknown")
		}
	}
}

// BenchmarkWith is one update of a full table.
func BenchmarkWith(b *testing.B) {
	table := full(b, 24)
	subnet := prefix("10.7.7.0/24")
	for name, hop := range map[string]*routes.Hop{
		"other port": {Outer: netip.MustParseAddrPort("192.7.7.0:1")},
		"other peer": hopTo("198.51.100.1"),
		"withdrawn":  nil,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := table.With(routes.Route{Subnet: subnet, Hop: hop}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookupDuringUpdates looks up while a writer publishes tables as fast as it is told to; compare
// "idle" with the others. A batch of 32 lookups loads the table once, as the data path does.
func BenchmarkLookupDuringUpdates(b *testing.B) {
	for _, rate := range []struct {
		name    string
		changes int // in one update
		pause   time.Duration
	}{{"idle", 0, 0}, {"10 k updates a s", 10, time.Millisecond}, {"1 M updates a s", 1000, time.Millisecond}} {
		b.Run(rate.name, func(b *testing.B) {
			var live routes.Live
			live.Publish(full(b, 24))
			stop, done := make(chan struct{}), make(chan struct{})
			var made atomic.Int64
			go func() {
				defer close(done)
				churn(&live, rate.changes, rate.pause, stop, &made)
			}()
			addrs := someAddrs(64)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i += 32 {
				table := live.Load()
				for j := range 32 {
					sink = table.Lookup4(addrs[(i+j)&(len(addrs)-1)])
				}
			}
			seconds := b.Elapsed().Seconds()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*32), "ns/lookup")
			b.ReportMetric(float64(made.Load())/seconds, "updates/s")
			close(stop)
			<-done
		})
	}
}

// churn changes routes to other ports and back until told to stop, paced by the clock.
func churn(live *routes.Live, changes int, pause time.Duration, stop chan struct{}, made *atomic.Int64) {
	if changes == 0 {
		<-stop
		return
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	batches := [2][]routes.Route{make([]routes.Route, changes), make([]routes.Route, changes)}
	for subnet, hop := range live.Load().All() {
		if changes == 0 {
			break
		}
		changes--
		for i := range batches {
			outer := netip.AddrPortFrom(hop.Outer.Addr(), uint16(i+1))
			batches[i][changes] = routes.Route{Subnet: subnet, Hop: &routes.Hop{Outer: outer}}
		}
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if live.Update(batches[i%2]...) == nil {
			made.Add(int64(len(batches[0])))
		}
	}
}
