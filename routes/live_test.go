package routes_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"weft/routes"
)

// Readers load once per batch and are never stopped; one writer derives and publishes. Run with the
// race detector.
func ExampleLive() {
	var live routes.Live
	table, err := routes.New(routes.Layout{Network: netip.MustParsePrefix("10.5.0.0/16"), SubnetLen: 24}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	live.Publish(table)

	subnet, addr := netip.MustParsePrefix("10.5.2.0/24"), netip.MustParseAddr("10.5.2.20")
	hops := []*routes.Hop{
		{Outer: netip.MustParseAddrPort("192.0.2.2:8285")},
		{Outer: netip.MustParseAddrPort("192.0.2.3:8285")},
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				batch := live.Load()
				first := batch.Lookup(addr)
				for range 32 {
					if batch.Lookup(addr) != first {
						fmt.Println("a batch saw two tables")
						return
					}
				}
				if first != nil {
					first.SetMTU(1400) // what any worker may do at any time
				}
			}
		})
	}
	for i := range 2000 {
		if err := live.Update(routes.Route{Subnet: subnet, Hop: hops[i%2]}); err != nil {
			fmt.Println(err)
		}
	}
	close(stop)
	readers.Wait()
	fmt.Println(live.Load().Lookup(addr).Outer)
	// Output: 192.0.2.3:8285
}

func TestZeroLiveServesAnEmptyTable(t *testing.T) {
	var live routes.Live
	if live.Load().Lookup(netip.MustParseAddr("10.5.2.1")) != nil || live.Load().Size() != 0 {
		t.Error("an empty table has routes")
	}
	if err := live.Update(routes.Route{Subnet: prefix("10.5.2.0/24"), Hop: hopTo("192.0.2.2")}); err != nil {
		t.Fatal(err)
	}
	if live.Load().Lookup(netip.MustParseAddr("10.5.2.1")) == nil {
		t.Error("the update is not in force")
	}
	if err := live.Update(routes.Route{Subnet: prefix("10.5.2.1/24")}); err == nil || live.Load().Size() != 1 {
		t.Errorf("a bad update: error %v, %d routes left, want an error and 1", err, live.Load().Size())
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := full(t, 24)
	addr, addr6 := netip.MustParseAddr("10.200.3.4"), netip.MustParseAddr("fd05:0:0:1::5")
	allocs := testing.AllocsPerRun(100, func() {
		table.Lookup(addr)
		table.Lookup(addr6)
		table.Lookup6(addr6.As16())
		table.Local(addr)
		table.KnownOuter(addr)
		table.Recursive(addr)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// full returns a /8 with a route for each of its subnets of the given length, indexed where that
// is 24, else in the longest-prefix table.
func full(tb testing.TB, subnetLen int) *routes.Table {
	all := make([]routes.Route, 1<<(subnetLen-8))
	for i := range all {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i)<<(32-subnetLen))
		outer := b
		outer[0], outer[3] = 192, 0
		all[i] = routes.Route{
			Subnet: netip.PrefixFrom(netip.AddrFrom4(b), subnetLen),
			Hop:    &routes.Hop{Outer: netip.AddrPortFrom(netip.AddrFrom4(outer), 8285)},
		}
	}
	return newTable(tb, routes.Layout{Network: prefix("10.0.0.0/8"), SubnetLen: 24}, all...)
}
