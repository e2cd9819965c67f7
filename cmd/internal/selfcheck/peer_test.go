package selfcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/lease"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

var compareNetip = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// Everybody is a peer but this host; a dual-stack host is two, and named by where it is.
func TestPeers(t *testing.T) {
	own := lease.Lease{Subnet: prefix("10.5.1.0/24"), Attrs: lease.Attrs{PublicIP: addr("192.0.2.1")}}
	s := &lease.Snapshot{Leases: []lease.Lease{
		own,
		{Subnet: prefix("10.5.2.0/24"), Subnet6: prefix("fd00:5:0:2::/64"), Attrs: lease.Attrs{PublicIP: addr("192.0.2.2")}},
		{Subnet6: prefix("fd00:5:0:3::/64"), Attrs: lease.Attrs{PublicIPv6: addr("2001:db8::3")}},
	}}
	var names []string
	for _, p := range slices.Concat(Peers(s, own.Subnets()), Peers(s, own.Subnets(), 1450)[:2]) {
		names = append(names, p.String())
	}
	want := []string{"10.5.2.0/24 at 192.0.2.2", "fd00:5:0:2::/64 at 192.0.2.2", "fd00:5:0:3::/64 at 2001:db8::3",
		"10.5.2.0/24 at 192.0.2.2", "10.5.2.0/24 at 192.0.2.2 with packets of 1450 bytes"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// Many peers are asked by a sample that is spread over all of them, in both families, and always the same.
func TestChosen(t *testing.T) {
	var peers []Peer
	for i := range 100 {
		peers = append(peers, Peer{Subnet: prefix(fmt.Sprintf("10.5.%d.0/24", i))})
	}
	peers = append(peers, Peer{Subnet: prefix("fd00:5:0:1::/64")}, Peer{Subnet: prefix("fd00:5:0:2::/64")})
	got := chosen(peers)
	if len(got) != perFamily+2 {
		t.Fatalf("%d chosen, want %d and both of IPv6", len(got), perFamily)
	}
	if diff := cmp.Diff(got, chosen(peers), compareNetip, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error("two choices differ", diff)
	}
	seen := map[Peer]bool{}
	for i, p := range got[:perFamily] {
		number := int(p.Subnet.Addr().As4()[2])
		if seen[p] || number < i*100/perFamily || number >= (i+1)*100/perFamily {
			t.Errorf("choice %d is %s: not the one from its sixteenth", i, p)
		}
		seen[p] = true
	}
	large := peers[0]
	large.Size = 1450 // another question to the same peer, and no reason to ask others less
	if all := chosen(append(slices.Clone(peers), large)); len(all) != perFamily+3 {
		t.Errorf("%d chosen with one for large packets, want %d", len(all), perFamily+3)
	}
	if few := chosen(peers[:3]); len(few) != 3 {
		t.Errorf("of three peers %d are asked", len(few))
	}
}
