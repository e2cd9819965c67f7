package lease

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func parse(t testing.TB, doc string) Config {
	t.Helper()
	c, err := ParseConfig([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFreeKeepsWhatTheHostHad(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
	taken := &Taken{}
	taken.Add(Subnets{V6: pfx("fd00:5:0:7::/64")})
	first := func(previous Subnets) Subnets {
		for s := range c.Free(previous, taken, Candidates) {
			return s
		}
		t.Fatal("nothing is free")
		return Subnets{}
	}
	both := Subnets{V4: pfx("10.5.250.0/24"), V6: pfx("fd00:5:0:9::/64")}
	if got := first(both); got != both {
		t.Errorf("had %s, got %s", both, got)
	}
	half := Subnets{V4: pfx("10.5.250.0/24"), V6: pfx("fd00:5:0:7::/64")}
	if got := first(half); got.V4 != half.V4 || got.V6 == half.V6 || !c.Fits(got) {
		t.Errorf("had %s, whose second half is taken, got %s", half, got)
	}
}

func TestFreeDrawsFromTheFirstHundred(t *testing.T) {
	c := parse(t, `{"Network":"10.0.0.0/8"}`)
	taken := &Taken{}
	taken.Add(Subnets{V4: pfx("10.0.1.0/24")})
	taken.Add(Subnets{V4: pfx("10.0.2.128/25")}) // a part of a subnet makes it useless
	var got []netip.Prefix
	for s := range c.Free(Subnets{}, taken, Candidates) {
		got = append(got, s.V4)
	}
	if slices.IsSortedFunc(got, netip.Prefix.Compare) {
		t.Error("a hundred subnets came in order")
	}
	slices.SortFunc(got, netip.Prefix.Compare)
	if len(got) != 100 || got[0] != pfx("10.0.3.0/24") || got[99] != pfx("10.0.102.0/24") {
		t.Errorf("%d from %s to %s", len(got), got[0], got[len(got)-1])
	}
}

func TestFreeEndsWithTheRange(t *testing.T) {
	for _, doc := range []string{
		`{"Network":"10.5.0.0/22"}`,
		`{"Network":"255.255.252.0/22"}`, // the next subnet would wrap around
		`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/62"}`,
	} {
		c := parse(t, doc)
		taken := &Taken{}
		for range 3 {
			n := 0
			var last Subnets
			for s := range c.Free(Subnets{}, taken, Candidates) {
				last = s
				n++
			}
			if n == 0 {
				t.Fatalf("%s is exhausted too early", doc)
			}
			taken.Add(last)
		}
		for s := range c.Free(Subnets{}, taken, Candidates) {
			t.Errorf("%s: a fourth of three: %s", doc, s)
		}
	}
}

// TestNextSubnetAgainstCounting compares with the plain way to say it: the base, plus so many
// addresses.
func TestNextSubnetAgainstCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Uint32().Draw(t, "address")
		bits := rapid.IntRange(1, 32).Draw(t, "bits")
		four := func(n uint32) netip.Addr {
			return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		}
		p := netip.PrefixFrom(four(base), bits).Masked()
		start := base &^ (1<<(32-bits) - 1)
		size := uint64(1) << (32 - bits)
		next, ok := nextSubnet(p)
		if fits := uint64(start)+size < 1<<32; ok != fits {
			t.Fatalf("after %s: %s, %v", p, next, ok)
		}
		if ok && next != netip.PrefixFrom(four(start+uint32(size)), bits) {
			t.Fatalf("after %s: %s", p, next)
		}
	})
}
