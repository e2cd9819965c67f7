package lease

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func entry(key string, created int64, publicIP string) Entry {
	e := Decode(key, key, []byte(`{"PublicIP":"`+publicIP+`","PublicIPv6":null}`))
	e.Created, e.Lease.Revision, e.Lease.Token = created, created, key
	return e
}

func reasons(s *Snapshot) map[string]string {
	m := map[string]string{}
	for _, p := range s.Problems {
		m[p.Key] = p.Reason
	}
	return m
}

func TestTheOlderOfTwoStays(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/16"}`)
	s := Assemble(9, c, nil, []Entry{
		entry("10.5.1.0-25", 5, "192.0.2.5"),
		entry("10.5.1.0-24", 3, "192.0.2.3"),
		entry("10.5.0.0-22", 4, "192.0.2.4"), // wide enough to swallow it
		entry("10.5.2.0-24", 6, "192.0.2.3"), // says it is the first one's host
		entry("10.5.3.0-24", 7, "192.0.2.7"),
	})
	want := map[string]string{"10.5.1.0-25": Overlap, "10.5.0.0-22": Overlap, "10.5.2.0-24": DuplicatePublicIP}
	if diff := cmp.Diff(want, reasons(s)); diff != "" || len(s.Leases) != 2 {
		t.Errorf("%s\n%+v", diff, s.Leases)
	}
}

func TestDualStackLeaseInASingleStackNetwork(t *testing.T) {
	// Upstream crashes on it in IPv4-only hosts.
	both := entry("10.5.1.0-24&fd00:5:0:1::-64", 1, "192.0.2.1")
	for doc, want := range map[string]Subnets{
		`{"Network":"10.5.0.0/16"}`: {V4: pfx("10.5.1.0/24")},
		`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`:                          {V6: pfx("fd00:5:0:1::/64")},
		`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`:                     {V4: pfx("10.5.1.0/24"), V6: pfx("fd00:5:0:1::/64")},
		`{"Network":"10.6.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`:                     {},
		`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:6::/48","Network":"10.5.0.0/16"}`:  {},
		`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","IPv6SubnetLen":126}`: {V4: pfx("10.5.1.0/24"), V6: pfx("fd00:5:0:1::/64")},
	} {
		s := Assemble(1, parse(t, doc), nil, []Entry{both})
		var got Subnets
		if len(s.Leases) > 0 {
			got = s.Leases[0].Subnets()
		} else if reasons(s)[both.Key] != OutOfRange {
			t.Errorf("%s: %+v", doc, s.Problems)
		}
		if got != want {
			t.Errorf("%s: got %v, want %v", doc, got, want)
		}
	}
	if s := Assemble(1, Config{}, ErrNoConfig, []Entry{both}); len(s.Leases) != 1 || s.ConfigErr == nil {
		t.Errorf("without a config: %+v", s)
	}
	only4 := entry("10.5.1.0-24", 1, "192.0.2.1")
	v6 := parse(t, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
	if s := Assemble(1, v6, nil, []Entry{only4}); reasons(s)[only4.Key] != OutOfRange {
		t.Errorf("an IPv4 lease in an IPv6 network: %+v", s)
	}
}

func TestPublicAddressesThatNoPeerHas(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
	for value, good := range map[string]bool{
		`{"PublicIP":"192.0.2.1"}`: true, `{"PublicIPv6":"fd99::1"}`: true, `{"PublicIP":"169.254.1.1"}`: true,
		`{"PublicIPv6":"fe80::1"}`: true,
		`{}`:                       false, `{"PublicIP":"0.0.0.0"}`: false, `{"PublicIP":"127.9.9.9"}`: false, `{"PublicIP":"239.1.1.1"}`: false,
		`{"PublicIP":"255.255.255.255"}`: false, `{"PublicIP":"10.5.255.1"}`: false, `{"PublicIPv6":"::1"}`: false,
		`{"PublicIPv6":"ff02::1"}`: false, `{"PublicIPv6":"fd00:5::9"}`: false,
		`{"PublicIP":"192.0.2.1","PublicIPv6":"ff02::1"}`: false,
	} {
		e := Decode("k", "10.5.1.0-24", []byte(value))
		s := Assemble(1, c, nil, []Entry{e})
		if (len(s.Leases) == 1) != good || (!good && reasons(s)["k"] != BadPublicIP) {
			t.Errorf("%s: %+v", value, s.Problems)
		}
	}
}

// TestAssembleAgainstThePlainRule draws records that get in each other's way, and compares with
// the rule said one pair at a time. The order in which a store hands them over must not count.
func TestAssembleAgainstThePlainRule(t *testing.T) {
	c := parse(t, `{"Network":"10.5.0.0/24","SubnetLen":28}`)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "records")
		var entries []Entry
		seen := map[string]bool{}
		for i := range n {
			bits := rapid.IntRange(25, 30).Draw(t, "bits")
			addr := netip.AddrFrom4([4]byte{10, 5, 0, rapid.Byte().Draw(t, "address")})
			key := Key(Subnets{V4: netip.PrefixFrom(addr, bits).Masked()})
			if seen[key] {
				continue
			}
			seen[key] = true
			entries = append(entries, entry(key, int64(i), fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 6).Draw(t, "host"))))
		}
		want := plainRule(c, entries)
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		s := Assemble(1, c, nil, entries)
		got := map[string]bool{}
		for _, l := range s.Leases {
			got[l.Token] = true
		}
		if diff := cmp.Diff(want, got); diff != "" || len(s.Leases)+len(s.Problems) != len(entries) {
			t.Fatalf("%s\n%+v", diff, s)
		}
	})
}

// plainRule admits records in order of age, each compared with all admitted before it.
func plainRule(c Config, entries []Entry) map[string]bool {
	admitted := map[string]bool{}
	var before []Lease
	for _, e := range entries {
		ok := c.Contains(e.Lease.Subnet)
		for _, b := range before {
			if b.Subnet.Overlaps(e.Lease.Subnet) || b.Attrs.PublicIP == e.Lease.Attrs.PublicIP {
				ok = false
			}
		}
		if ok {
			admitted[e.Key] = true
			before = append(before, e.Lease)
		}
	}
	return admitted
}

func BenchmarkAssemble5000(b *testing.B) {
	c := parse(b, `{"Network":"10.0.0.0/8"}`)
	var entries []Entry
	for i := range 5000 {
		entries = append(entries, entry(fmt.Sprintf("10.%d.%d.0-24", 1+i/256, i%256), int64(rand.IntN(1<<20)),
			fmt.Sprintf("192.0.%d.%d", i/256, i%256)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := Assemble(1, c, nil, entries); len(s.Leases) != 5000 {
			b.Fatal(len(s.Leases))
		}
	}
}
