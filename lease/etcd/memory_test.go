package etcd

import (
	"fmt"
	"runtime"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/leasetest"
)

// TestAFollowerOf5000LeasesIsSmall: an agent's share of a large network is its client, what it knows
// of the store, and its snapshot. The budget is 20 MB for all of it, live memory; what the garbage
// collector lets lie about comes on top, at most as much again.
func TestAFollowerOf5000LeasesIsSmall(t *testing.T) {
	const hosts, followers, budget = 5000, 8, 20 << 20
	o := Options{Endpoints: []string{leasetest.Etcd(t)}} // not in parallel: others' memory would be counted
	c := admin(t, o)
	put := func(key, value string) {
		t.Helper()
		if _, err := c.Put(t.Context(), DefaultPrefix+key, value); err != nil {
			t.Fatal(err)
		}
	}
	put("/config", `{"Network":"10.0.0.0/8","SubnetLen":24}`)
	for i := 0; i < hosts; {
		var ops []clientv3.Op
		for ; i < hosts && len(ops) < 100; i++ {
			key := fmt.Sprintf("%s/subnets/10.%d.%d.0-24", DefaultPrefix, 1+i/256, i%256)
			ops = append(ops, clientv3.OpPut(key, fmt.Sprintf(`{"PublicIP":"192.0.%d.%d","PublicIPv6":null,"BackendType":"vxlan",`+
				`"BackendData":{"VNI":1,"VtepMAC":"0e:c5:04:%02x:%02x:80"}}`, i/256, i%256, i/256, i%256)))
		}
		if _, err := c.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	before := live()
	all := make([]*lease.Follower, followers)
	for i := range all {
		all[i] = follow(t, open(t, o))
		wait(t, all[i], func(s *lease.Snapshot) bool { return len(s.Leases) == hosts })
	}
	// A change, so that what is kept between two snapshots counts too.
	put("/subnets/10.1.0.0-24", `{"PublicIP":"198.51.100.1","PublicIPv6":null}`)
	for i := range all {
		wait(t, all[i], func(s *lease.Snapshot) bool { return s.Leases[0].Attrs.BackendType == "" })
	}
	each := (live() - before) / followers
	t.Logf("%.1f MB for each follower of %d leases", float64(each)/(1<<20), hosts)
	if each > budget {
		t.Errorf("a follower takes %d bytes, more than %d", each, budget)
	}
	runtime.KeepAlive(all)
}

// live is the memory in use after a collection.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
