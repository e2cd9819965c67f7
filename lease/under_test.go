package lease

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A config that shuts hosts out, or none at all, takes nothing from those who stay with the old one.
func TestASnapshotUnderTheConfigBefore(t *testing.T) {
	before := parse(t, `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
	entries := []Entry{
		entry("10.5.1.0-24", 1, "192.0.2.1"),
		entry("10.5.2.0-24&fd00:5:0:2::-64", 2, "192.0.2.2"),
		entry("10.6.3.0-24", 3, "192.0.2.3"), // of a host that follows the new config already
		entry("10.5.4.0-24", 4, "10.5.9.9"),  // an outer address inside the old network
		entry("junk", 5, "192.0.2.5"),
		entry("10.5.1.0-25", 6, "192.0.2.6"), // overlaps the first one
	}
	want := Assemble(9, before, nil, entries)
	if len(want.Leases) != 2 || len(want.Problems) != 4 {
		t.Fatalf("%d leases, %d problems", len(want.Leases), len(want.Problems))
	}
	for name, now := range map[string]*Snapshot{
		"another network": Assemble(9, parse(t, `{"Network":"10.6.0.0/16"}`), nil, entries),
		"one family less": Assemble(9, parse(t, `{"Network":"10.5.0.0/16"}`), nil, entries),
		"a wider network": Assemble(9, parse(t, `{"Network":"10.0.0.0/8"}`), nil, entries),
		"no config":       Assemble(9, Config{}, ErrNoConfig, entries),
	} {
		t.Run(name, func(t *testing.T) {
			got := now.Under(before)
			if diff := cmp.Diff(want.Leases, got.Leases, cmpAddrs); diff != "" {
				t.Errorf("leases (-want +got):\n%s", diff)
			}
			// Keys are as Key writes them where the store's config let the record in.
			if diff := cmp.Diff(reasons(want), reasons(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got.ConfigErr != nil || string(got.Config.Raw) != string(before.Raw) || got.Revision != 9 {
				t.Errorf("config %s, %v, revision %d", got.Config.Raw, got.ConfigErr, got.Revision)
			}
		})
	}
	if want.Under(before) != want {
		t.Error("under its own config it became another snapshot")
	}
}

// What a healthy network's snapshot sets aside is nothing, so that it costs no memory.
func TestNothingIsSetAsideInAHealthyNetwork(t *testing.T) {
	s := Assemble(9, parse(t, `{"Network":"10.5.0.0/16"}`), nil, []Entry{entry("10.5.1.0-24", 1, "192.0.2.1"), entry("junk", 2, "192.0.2.2")})
	if s.Aside != nil || errors.Is(s.ConfigErr, ErrNoConfig) {
		t.Errorf("aside: %+v", s.Aside)
	}
}
