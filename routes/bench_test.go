package routes_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
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
// that don't fit it, IPv6 as many of /64, both in tries. With 64 destinations the table's memory is in the
// caches, as a host's own conversations keep it; zipf is a million with a few that most packets go to;
// with 4,096 or more at random the processor waits for memory, whatever the algorithm.
func BenchmarkLookup(b *testing.B) {
	working := map[string][]uint32{
		"64": someAddrs(64), "4096": someAddrs(4096), "any": someAddrs(1 << 20), "zipf": zipfAddrs(1 << 16),
		"in order": inOrder(1 << 20),
	}
	for _, kind := range []struct {
		name      string
		subnetLen int
		sets      []string
	}{{"fixed", 24, []string{"64", "4096"}}, {"prefix", 28, []string{"64", "4096", "zipf", "any", "in order"}}} {
		table := full(b, kind.subnetLen)
		for _, set := range kind.sets {
			addrs := working[set]
			b.Run(kind.name+"/"+set, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					sink = table.Lookup4(addrs[i&(len(addrs)-1)])
				}
			})
		}
	}
	table := full6(b)
	for _, set := range []string{"64", "4096", "zipf", "any"} {
		addrs := make([][16]byte, len(working[set]))
		for i, n := range working[set] {
			addrs[i] = in6(n >> 4 & (1<<20 - 1)).Addr().As16()
		}
		b.Run("IPv6/"+set, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				sink = table.Lookup6(addrs[i&(len(addrs)-1)])
			}
		})
	}
}

// zipfAddrs are addresses of which few come up often, spread all over 10.0.0.0/8.
func zipfAddrs(count int) []uint32 {
	z := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 1, 1<<24-1)
	all := make([]uint32, count)
	for i := range all {
		all[i] = 10<<24 | uint32(z.Uint64())*2654435761&0xffffff // an odd factor only shuffles
	}
	return all
}

func inOrder(count int) []uint32 {
	all := make([]uint32, count)
	for i := range all {
		all[i] = 10<<24 | uint32(i)<<4
	}
	return all
}

func in6(i uint32) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 5, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}), 64)
}

// full6 returns a /44 with a route for each of its /64.
func full6(tb testing.TB) *routes.Table {
	hop := hopTo("192.0.2.2")
	all := make([]routes.Route, 1<<20)
	for i := range all {
		all[i] = routes.Route{Subnet: in6(uint32(i)), Hop: hop}
	}
	return newTable(tb, routes.Layout{}, all...)
}

// BenchmarkBuild is a million routes from nothing; heap-B/route is what they take beside their hops.
func BenchmarkBuild(b *testing.B) {
	hop := hopTo("192.0.2.2")
	all := make([]routes.Route, 1<<20)
	for i := range all {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i << 4)})
		all[i] = routes.Route{Subnet: netip.PrefixFrom(addr, 28), Hop: hop}
	}
	before := heapBytes()
	var table *routes.Table
	for b.Loop() {
		table = newTable(b, routes.Layout{Network: prefix("10.0.0.0/8"), SubnetLen: 24}, all...)
	}
	b.ReportMetric(float64(heapBytes()-before)/float64(len(all)), "heap-B/route")
	runtime.KeepAlive(table)
	runtime.KeepAlive(all)
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
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

// BenchmarkSnapshot is the first snapshot of so many leases, each of another peer, as an agent gets it.
func BenchmarkSnapshot(b *testing.B) {
	for _, leases := range []int{500, 15_000} {
		all := make([]routes.Route, leases)
		for i := range all {
			outer := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
			subnet := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
			all[i] = routes.Route{Subnet: netip.PrefixFrom(subnet, 24), Hop: &routes.Hop{Outer: netip.AddrPortFrom(outer, 8285)}}
		}
		empty := newTable(b, routes.Layout{Network: prefix("10.0.0.0/8"), SubnetLen: 24})
		b.Run(fmt.Sprintf("%d leases", leases), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := empty.Replace(all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookupDuringUpdates looks up while a writer publishes tables as fast as it is told to; compare
// "idle" with the others. A batch of 32 lookups loads the table once, as the data path does.
func BenchmarkLookupDuringUpdates(b *testing.B) {
	b.Run("fixed", func(b *testing.B) { duringUpdates(b, 24) })
	b.Run("prefix", func(b *testing.B) { duringUpdates(b, 28) })
}

func duringUpdates(b *testing.B, subnetLen int) {
	for _, rate := range []struct {
		name    string
		changes int // in one update
		pause   time.Duration
	}{{"idle", 0, 0}, {"10 k updates a s", 10, time.Millisecond}, {"1 M updates a s", 1000, time.Millisecond}} {
		b.Run(rate.name, func(b *testing.B) {
			var live routes.Live
			live.Publish(full(b, subnetLen))
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
