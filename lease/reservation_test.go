package lease

import (
	"cmp"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const (
	reserveV4   = `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.200.0"}`
	reserveDual = `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48"}`
	reserveV6   = `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`
)

// wish makes a reservation of subnets, joined by blanks, for addresses likewise.
func wish(t *testing.T, subnets, addresses string) Reservation {
	t.Helper()
	var r Reservation
	for text := range strings.FieldsSeq(subnets) {
		if p := netip.MustParsePrefix(text); p.Addr().Is4() {
			r.Subnets.V4 = p
		} else {
			r.Subnets.V6 = p
		}
	}
	for text := range strings.FieldsSeq(addresses) {
		if a := netip.MustParseAddr(text); a.Is4() {
			r.Attrs.PublicIP = a
		} else {
			r.Attrs.PublicIPv6 = a
		}
	}
	return r
}

// stored makes entries of "name value" texts; a name with a "!" before it is a reservation's.
func stored(t *testing.T, records ...string) []Entry {
	t.Helper()
	var entries []Entry
	for i, text := range records {
		name, value, _ := strings.Cut(text, " ")
		name, reserved := strings.CutPrefix(name, "!")
		e := Decode("/net/subnets/"+name, name, []byte(value))
		e.Created, e.Lease.Reserved, e.Lease.Token = int64(i+1), reserved, name
		entries = append(entries, e)
	}
	return entries
}

func TestReservationsRefused(t *testing.T) {
	for _, test := range []struct {
		name, config, subnets, addresses string
		force                            bool
		records                          []string
		reason, want                     string
	}{
		{name: "outside the network", subnets: "10.6.7.0/24", reason: OutOfRange,
			want: "10.6.7.0/24 is not inside the network 10.5.0.0/16: use a /24 from 10.5.1.0 to 10.5.200.0"},
		{name: "another length", subnets: "10.5.7.0/25", reason: OffBorder,
			want: "10.5.7.0/25 is a /25, and hosts of this network have a /24: use 10.5.7.0/24"},
		{name: "wider than the network", subnets: "10.0.0.0/8", reason: OutOfRange, want: "not inside"},
		{name: "off the border", subnets: "10.5.7.5/24", reason: OffBorder,
			want: "10.5.7.5/24 is not on the border of a /24 subnet: use 10.5.7.0/24"},
		{name: "before SubnetMin", subnets: "10.5.0.0/24", reason: OutOfRange, want: "before the first subnet, SubnetMin 10.5.1.0"},
		{name: "behind SubnetMax", subnets: "10.5.201.0/24", reason: OutOfRange, want: "behind the last subnet, SubnetMax 10.5.200.0"},
		{name: "IPv6 in an IPv4 network", subnets: "fd00:5:0:7::/64", reason: BadFamily,
			want: "the IPv4 subnet is missing: the network 10.5.0.0/16 gives each host a /24 of its own"},
		{name: "both in an IPv4 network", subnets: "10.5.7.0/24 fd00:5:0:7::/64", reason: BadFamily,
			want: "fd00:5:0:7::/64 is IPv6, which the network doesn't have: give an IPv4 subnet alone"},
		{name: "half of a dual stack", config: reserveDual, subnets: "10.5.7.0/24", reason: BadFamily,
			want: "the IPv6 subnet is missing: the network fd00:5::/48 gives each host a /64 of its own"},
		{name: "IPv6 off the border", config: reserveV6, subnets: "fd00:5:0:7::1/64", reason: OffBorder, want: "use fd00:5:0:7::/64"},

		{name: "no address", addresses: " ", reason: BadPublicIP, want: "public address is missing"},
		{name: "unspecified", addresses: "0.0.0.0", reason: BadPublicIP, want: "0.0.0.0 is not the address of a host"},
		{name: "loopback", addresses: "127.0.0.1", reason: BadPublicIP, want: "127.0.0.1 is a loopback"},
		{name: "multicast", addresses: "224.0.0.1", reason: BadPublicIP, want: "multicast"},
		{name: "broadcast", addresses: "255.255.255.255", reason: BadPublicIP, want: "broadcast"},
		{name: "IPv6 multicast beside a good one", addresses: "192.0.2.7 ff02::1", reason: BadPublicIP, want: "ff02::1"},
		{name: "with a zone", addresses: "fe80::1%eth0", reason: BadPublicIP, want: "fe80::1%eth0"},
		{name: "inside the network", addresses: "10.5.9.9", reason: BadPublicIP, want: "10.5.9.9 is inside the network itself"},

		{name: "leased by another", records: []string{`10.5.7.0-24 {"PublicIP":"192.0.2.3"}`}, reason: Leased,
			want: "10.5.7.0/24 is leased by 192.0.2.3: choose a free subnet, or take it from that host by force"},
		{name: "a part leased by another", records: []string{`10.5.7.128-25 {"PublicIP":"192.0.2.3"}`}, reason: Leased,
			want: "10.5.7.128/25 is leased by 192.0.2.3"},
		{name: "inside a wider lease of another", records: []string{`10.5.4.0-22 {"PublicIP":"192.0.2.3"}`}, reason: Leased, want: "10.5.4.0/22 is leased"},
		{name: "its IPv6 half leased by another", config: reserveDual, subnets: "10.5.7.0/24 fd00:5:0:7::/64",
			records: []string{`10.5.9.0-24&fd00:5:0:7::-64 {"PublicIP":"192.0.2.3"}`}, reason: Leased, want: "10.5.9.0/24 and fd00:5:0:7::/64 is leased by 192.0.2.3"},
		{name: "reserved for another", records: []string{`!10.5.7.0-24 {"PublicIP":"192.0.2.3"}`}, reason: Overlap,
			want: "10.5.7.0/24 is reserved for 192.0.2.3: release that first"},
		{name: "reserved for another, even by force", force: true, records: []string{`!10.5.7.0-24 {"PublicIP":"192.0.2.3"}`}, reason: Overlap, want: "release that first"},
		{name: "a broken record in the way", records: []string{`10.5.7.0-24 {`}, reason: Overlap,
			want: "the broken record /net/subnets/10.5.7.0-24 (bad_json) is in the way: release it by its key first"},
		{name: "the host leases another", records: []string{`10.5.3.0-24 {"PublicIP":"192.0.2.7"}`}, reason: Leased,
			want: "192.0.2.7 leases 10.5.3.0/24 now: reserve that for it, or move it by force"},
		{name: "the host has another reservation", records: []string{`!10.5.3.0-24 {"PublicIP":"192.0.2.7"}`}, reason: DuplicatePublicIP,
			want: "192.0.2.7 has the reservation 10.5.3.0/24 already"},
		{name: "the host has another reservation, even by force", force: true, records: []string{`!10.5.3.0-24 {"PublicIP":"192.0.2.7"}`}, reason: DuplicatePublicIP, want: "release that first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := ParseConfig([]byte(cmp.Or(test.config, reserveV4)))
			if err != nil {
				t.Fatal(err)
			}
			r := wish(t, cmp.Or(test.subnets, "10.5.7.0/24"), cmp.Or(test.addresses, "192.0.2.7"))
			r.Force = test.force
			_, err = config.PlanReservation(r, stored(t, test.records...))
			refusal, ok := errors.AsType[*Fault](err)
			if !ok || refusal.Reason != test.reason || !strings.Contains(refusal.Detail, test.want) {
				t.Errorf("got %#v\nwant %s: %s", err, test.reason, test.want)
			}
		})
	}
}

func TestReservationsPlanned(t *testing.T) {
	for _, test := range []struct {
		name, config, subnets, addresses string
		force                            bool
		records                          []string
		keep                             string
		done                             bool
		replace                          []string
	}{
		{name: "free", records: []string{`10.5.6.0-24 {"PublicIP":"192.0.2.3"}`, `junk {}`}},
		{name: "the first one", subnets: "10.5.1.0/24"},
		{name: "the last one", subnets: "10.5.200.0/24"},
		{name: "a key that claims everything holds nothing", records: []string{`10.0.0.0-8 {"PublicIP":"192.0.2.3"}`}},
		{name: "dual stack", config: reserveDual, subnets: "10.5.7.0/24 fd00:5:0:7::/64"},
		{name: "v6 only", config: reserveV6, subnets: "fd00:5:0:7::/64", addresses: "2001:db8::7"},
		{name: "the host's own lease stops expiring", records: []string{`10.5.7.0-24 {"PublicIP":"192.0.2.7","BackendType":"vxlan"}`}, keep: "/net/subnets/10.5.7.0-24"},
		{name: "done before", records: []string{`!10.5.7.0-24 {"PublicIP":"192.0.2.7"}`}, keep: "/net/subnets/10.5.7.0-24", done: true},
		{name: "by force from another", force: true, records: []string{`10.5.7.0-24 {"PublicIP":"192.0.2.3"}`}, replace: []string{"/net/subnets/10.5.7.0-24"}},
		{name: "by force from wherever the host is", force: true, records: []string{`10.5.3.0-24 {"PublicIP":"192.0.2.7"}`}, replace: []string{"/net/subnets/10.5.3.0-24"}},
		{name: "by force, both", force: true, records: []string{`10.5.3.0-24 {"PublicIP":"192.0.2.7"}`, `10.5.7.0-24 {"PublicIP":"192.0.2.3"}`},
			replace: []string{"/net/subnets/10.5.3.0-24", "/net/subnets/10.5.7.0-24"}},
		{name: "another agent on the same address", records: []string{`10.5.3.0-24 {"PublicIP":"192.0.2.7","BackendData":{"Weft":{"Version":1,"Port":9000}}}`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := ParseConfig([]byte(cmp.Or(test.config, reserveV4)))
			if err != nil {
				t.Fatal(err)
			}
			r := wish(t, cmp.Or(test.subnets, "10.5.7.0/24"), cmp.Or(test.addresses, "192.0.2.7"))
			r.Force = test.force
			p, err := config.PlanReservation(r, stored(t, test.records...))
			if err != nil {
				t.Fatal(err)
			}
			var replaced []string
			for _, e := range p.Replace {
				replaced = append(replaced, e.Key)
			}
			if p.Keep != test.keep || p.Done != test.done || !slices.Equal(replaced, test.replace) {
				t.Errorf("plan keep %q, done %t, replace %v", p.Keep, p.Done, replaced)
			}
		})
	}
}

// What is reserved must be what its host then takes: the two plans agree.
func TestAHostTakesItsReservation(t *testing.T) {
	config, err := ParseConfig([]byte(reserveV4))
	if err != nil {
		t.Fatal(err)
	}
	r := wish(t, "10.5.7.0/24", "192.0.2.7")
	value, err := EncodeValue(r.Attrs)
	if err != nil {
		t.Fatal(err)
	}
	entries := stored(t, `10.5.3.0-24 {"PublicIP":"192.0.2.3"}`, "!10.5.7.0-24 "+string(value))
	attrs := r.Attrs
	attrs.BackendType = "vxlan" // the host says more about itself than the operator did
	if p := config.PlanFor(Request{Attrs: attrs}, entries); p.Keep != "/net/subnets/10.5.7.0-24" {
		t.Errorf("the host keeps %q", p.Keep)
	}
	if p := config.PlanFor(Request{Attrs: wish(t, "", "192.0.2.8").Attrs, Previous: r.Subnets.V4}, entries); p.Keep != "" {
		t.Errorf("another host keeps %q", p.Keep)
	} else if s := slices.Collect(p.Candidates(300)); slices.Contains(s, r.Subnets) || len(s) != 198 {
		t.Errorf("another host may have %d subnets, the reserved one: %t", len(s), slices.Contains(s, r.Subnets))
	}
}

func TestCapacity(t *testing.T) {
	for config, want := range map[string]uint64{
		reserveV4:                                200,
		`{"Network":"10.5.0.0/16"}`:              255,
		reserveDual:                              255,
		reserveV6:                                65535,
		`{"Network":"0.0.0.0/1","SubnetLen":30}`: 1<<29 - 1,
		`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/8","IPv6SubnetLen":126}`: math.MaxUint64,
	} {
		c, err := ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Capacity(); got != want {
			t.Errorf("%s holds %d hosts, want %d", config, got, want)
		}
	}
	if got := (Config{EnableIPv4: true}).Capacity(); got != 0 {
		t.Errorf("no config holds %d hosts", got)
	}
}
