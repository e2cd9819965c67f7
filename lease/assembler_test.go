package lease

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// snapshotsEqual compares what two snapshots say; prefixes compare by value.
var snapshotsEqual = cmp.Options{
	cmp.Comparer(func(a, b Subnets) bool { return a == b }),
	cmpopts.EquateComparable(Lease{}.Subnet, Lease{}.Attrs.PublicIP),
	cmpopts.EquateEmpty(),
}

// TestAssemblerAgainstAssemble draws records that come, change, go and get in each other's way, a few
// at a time, and compares every snapshot with one that was made from nothing.
func TestAssemblerAgainstAssemble(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/24","SubnetLen":28}`)
	keys := []string{"10.5.0.0-28", "10.5.0.16-28", "10.5.0.16-30", "10.5.0.20-30", "10.5.0.32-28", "10.5.0.0-27",
		"10.5.0.48-28&fd00:5::-64", "10.6.0.0-28", "junk"}
	stepped, whole := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var a Assembler
		records := map[string]Entry{}
		revision := int64(1)
		all := func() []Entry { return slices.Collect(maps.Values(records)) }
		a.All(revision, c, nil, all())
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			before := maps.Clone(records)
			for range rapid.IntRange(1, 3).Draw(t, "events") {
				revision++
				key := rapid.SampledFrom(keys).Draw(t, "key")
				if old, there := records[key]; there && rapid.Bool().Draw(t, "gone") {
					delete(records, key)
				} else {
					host := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1"}).Draw(t, "host")
					e := entry(key, revision, host)
					if there {
						e.Created = old.Created
					}
					records[key] = e
				}
			}
			s, ok := a.Next(revision, changesBetween(before, records))
			if stepped++; !ok {
				whole++
				s = a.All(revision, c, nil, all())
			}
			if diff := cmp.Diff(Assemble(revision, c, nil, all()), s, snapshotsEqual); diff != "" {
				t.Fatalf("step by step it is (+), from nothing (-)\n%s", diff)
			}
		}
	})
	if whole == 0 || whole == stepped {
		t.Errorf("%d of %d snapshots were made from nothing: the two ways were not compared", whole, stepped)
	}
}

// changesBetween lists what differs, one change for each key.
func changesBetween(before, after map[string]Entry) []Change {
	var all []Change
	for key, old := range before {
		now, there := after[key]
		switch {
		case !there:
			all = append(all, Change{Old: &old})
		case now.Lease.Revision != old.Lease.Revision || now.Fault != old.Fault:
			all = append(all, Change{Old: &old, New: &now})
		}
	}
	for key, now := range after {
		if _, there := before[key]; !there {
			all = append(all, Change{New: &now})
		}
	}
	return all
}

// A snapshot that was yielded is somebody's: no later change may show in it.
func TestAssemblerLeavesEarlierSnapshotsAlone(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/16"}`)
	one, two := entry("10.5.1.0-24", 1, "192.0.2.1"), entry("10.5.2.0-24", 2, "192.0.2.2")
	moved := entry("10.5.1.0-24", 1, "192.0.2.9")
	var a Assembler
	first := a.All(2, c, nil, []Entry{one, two})
	second, ok := a.Next(3, []Change{{Old: &one, New: &moved}})
	if !ok || second.Leases[0].Attrs.PublicIP != moved.Lease.Attrs.PublicIP || first.Leases[0].Attrs.PublicIP != one.Lease.Attrs.PublicIP {
		t.Errorf("%t: %+v after %+v", ok, second.Leases, first.Leases)
	}
	third, ok := a.Next(4, []Change{{Old: &moved}})
	if !ok || len(third.Leases) != 1 || len(second.Leases) != 2 {
		t.Errorf("%t: %+v after %+v", ok, third.Leases, second.Leases)
	}
}

// A record that stood back behind another comes in when that one goes: only All can see it.
func TestAssemblerLooksAgainWhenAnOlderRecordGoes(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/16"}`)
	older, younger := entry("10.5.1.0-24", 1, "192.0.2.1"), entry("10.5.2.0-24", 2, "192.0.2.1")
	var a Assembler
	a.All(2, c, nil, []Entry{older, younger})
	if s, ok := a.Next(3, []Change{{Old: &older}}); ok {
		t.Errorf("made %+v without a look at the others", s)
	}
	if _, ok := a.Next(4, nil); ok {
		t.Error("went on from a state that it had given up")
	}
	if s := a.All(3, c, nil, []Entry{younger}); len(s.Leases) != 1 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkAssemblerNext5000(b *testing.B) {
	c := parse(b, `{"Network":"10.0.0.0/8"}`)
	entries := make([]Entry, 5000)
	for i := range entries {
		entries[i] = entry(fmt.Sprintf("10.%d.%d.0-24", 1+i/256, i%256), int64(i), fmt.Sprintf("192.0.%d.%d", i/256, i%256))
	}
	var a Assembler
	a.All(1, c, nil, entries)
	changed := entries[2500]
	changed.Lease.Attrs.BackendData = []byte(`{"VNI":1}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := a.Next(2, []Change{{Old: &entries[2500], New: &changed}}); !ok {
			b.Fatal("looked at everything")
		}
	}
}
