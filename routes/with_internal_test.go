package routes

import (
	"net/netip"
	"testing"
)

// TestUpdateCopiesOnlyThePagesItTouches counts the pages that two versions of a table don't share.
func TestUpdateCopiesOnlyThePagesItTouches(t *testing.T) {
	layout := Layout{Network: netip.MustParsePrefix("10.0.0.0/8"), SubnetLen: 24}
	before, err := New(layout, nil)
	if err != nil {
		t.Fatal(err)
	}
	hop := &Hop{Outer: netip.MustParseAddrPort("192.0.2.1:8285")}
	var changes []Route
	for _, subnet := range []string{"10.0.0.0/24", "10.0.1.0/24", "10.1.255.0/24", "10.255.255.0/24"} {
		changes = append(changes, Route{Subnet: netip.MustParsePrefix(subnet), Hop: hop})
	}
	after, err := before.With(changes...)
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for i := range before.index.root {
		if before.index.root[i] != after.index.root[i] {
			own++
		}
	}
	if own != 2 || len(before.index.root) != 128 {
		t.Errorf("%d of %d pages copied for changes on 2", own, len(before.index.root))
	}
}
