package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weft/lease"
	"weft/lease/etcd"
)

// noon is when the tests look.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// snapshotOf assembles a snapshot of "name value" texts, as a store does; "!" before a name makes it
// a reservation's.
func snapshotOf(t *testing.T, config string, records ...string) *lease.Snapshot {
	t.Helper()
	c, err := lease.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	var entries []lease.Entry
	for i, text := range records {
		name, value, _ := strings.Cut(text, " ")
		name, reserved := strings.CutPrefix(name, "!")
		e := lease.Decode(etcd.DefaultPrefix+"/subnets/"+name, name, []byte(value))
		e.Created = int64(i + 1)
		e.Lease.Reserved = reserved
		e.Lease.Token = fmt.Sprintf("%x %s", map[bool]int{false: i + 100, true: 0}[reserved], e.Key)
		if e.Fault != nil {
			e.Lease.Token = ""
		}
		e.Lease.Revision = int64(i + 1)
		entries = append(entries, e)
	}
	return lease.Assemble(int64(len(records)+1), c, nil, entries)
}

// viewAt looks at a snapshot at noon, from the host 192.0.2.1; its leases have an hour less each.
func viewAt(s *lease.Snapshot) *view {
	v := &view{snapshot: s, timings: map[string]etcd.Timing{}, now: noon,
		local: map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}}
	for i, l := range s.Leases {
		if !l.Reserved {
			v.timings[l.Token] = etcd.Timing{Expiry: noon.Add(time.Duration(24-i) * time.Hour), Renewed: noon.Add(-time.Duration(i) * time.Hour)}
		}
	}
	return v
}

var mixed = []string{
	`10.5.20.0-24 {"PublicIP":"192.0.2.2"}`,
	`10.5.3.0-24 {"PublicIP":"192.0.2.1","BackendData":{"Weft":{"Version":1,"Caps":1,"Port":9000}}}`,
	`!10.5.7.0-24 {"PublicIP":"192.0.2.7","PublicIPv6":"2001:db8::7"}`,
	`10.5.4.0-24 {"PublicIP":"192.0.2.4","BackendType":"vxlan","BackendData":{"VNI":1}}`,
	`10.5.5.0-24 {"PublicIP":"192.0.2.5","BackendType":"\u001b[31mred, and much longer than any type"}`,
	`junk {}`,
	"\x1b[2J {}",
	`10.5.9.0-24 {"PublicIP":"127.0.0.1"}`,
	`10.5.10.0-24 {"PublicIP":"192.0.2.2"}`,
	`it's {}`,
}

// TestTables compares with testdata/leases: what a person sees, for each kind of network.
func TestTables(t *testing.T) {
	for _, test := range []struct {
		golden string
		s      *lease.Snapshot
		o      leasesOptions
	}{
		{"mixed", snapshotOf(t, testConfig, mixed...), leasesOptions{}},
		{"problems", snapshotOf(t, testConfig, mixed...), leasesOptions{problems: true}},
		{"empty", snapshotOf(t, testConfig), leasesOptions{}},
		{"no-problems", snapshotOf(t, testConfig), leasesOptions{problems: true}},
		{"dual-stack", snapshotOf(t, `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`,
			`10.5.3.0-24&fd00:5:0:3::-64 {"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan"}`,
			`!10.5.7.0-24&fd00:5:0:7::-64 {"PublicIP":"192.0.2.7"}`), leasesOptions{}},
		{"v6-only", snapshotOf(t, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/8","IPv6SubnetLen":126}`,
			`fd00:5:0:3::4-126 {"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}`), leasesOptions{}},
		{"no-config", lease.Assemble(3, lease.Config{}, fmt.Errorf("/net/config: %w", lease.ErrNoConfig), nil), leasesOptions{}},
		{"bad-config", lease.Assemble(3, lease.Config{}, errors.New("key /net/config: it is \x1b[31mred"), nil), leasesOptions{}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			got := strings.Join(viewAt(test.s).lines(test.o), "\n") + "\n"
			path := filepath.Join("testdata", "leases", test.golden+".txt")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// thousands is a snapshot of n leases.
func thousands(t *testing.T, n int) *lease.Snapshot {
	t.Helper()
	records := make([]string, n)
	for i := range records {
		records[i] = fmt.Sprintf(`10.%d.%d.0-24 {"PublicIP":"192.%d.%d.1"}`, 1+i/250, i%250, i/250, i%250)
	}
	return snapshotOf(t, `{"Network":"10.0.0.0/8"}`, records...)
}

// Five thousand leases stand in columns, in the order of their subnets.
func TestFiveThousandLeasesAreAligned(t *testing.T) {
	v := viewAt(thousands(t, 5000))
	lines := v.lines(leasesOptions{})
	if len(lines) != 5003 || lines[5002] != "5000 leases, 0 reservations, 0 problems; 5000 of 65535 subnets used" {
		t.Fatalf("%d lines, the last: %s", len(lines), lines[len(lines)-1])
	}
	column := strings.Index(lines[0], "PUBLIC IP")
	var last netip.Prefix
	for _, line := range lines[1:5001] {
		if line[column-1] != ' ' || !strings.HasPrefix(line[column:], "192.") {
			t.Fatalf("not in its column: %s", line)
		}
		p := netip.MustParsePrefix(strings.Fields(line)[0])
		if last.IsValid() && last.Compare(p) >= 0 {
			t.Fatalf("%s behind %s", p, last)
		}
		last = p
	}
}

// Whatever stands in etcd, the text that is shown steers no terminal and stays in its line.
func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J")
	f.Add("a\xffb\u202e")
	f.Add("10.5.7.0-24")
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' }) {
			t.Errorf("printable(%q) = %q", text, got)
		}
		if n := utf8.RuneCountInString(clipped(text)); n > 24 {
			t.Errorf("clipped(%q) has %d characters", text, n)
		}
	})
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", time.Minute: "1m", 61 * time.Minute: "1h01m",
		24*time.Hour - time.Second: "23h59m", 48 * time.Hour: "2d",
	} {
		if got := spell(d); got != want {
			t.Errorf("spell(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestSubnetWords(t *testing.T) {
	for text, want := range map[string]string{
		"10.5.7.0/24":                 "10.5.7.0/24",
		"10.5.7.0-24":                 "10.5.7.0/24",
		"10.5.7.9/24":                 "10.5.7.9/24",
		"10.5.7.0/24 fd00:5:0:7::/64": "10.5.7.0/24 and fd00:5:0:7::/64",
		"10.5.7.0-24&fd00:5:0:7::-64": "10.5.7.0/24 and fd00:5:0:7::/64",
		"fd00:5:0:7::/64,10.5.7.0/24": "10.5.7.0/24 and fd00:5:0:7::/64",
		"":                            "!the subnet is missing",
		"&":                           "!the subnet is missing",
		"10.5.7.0":                    `!"10.5.7.0" is no subnet`,
		"10.5.7.0/33":                 `!"10.5.7.0/33" is no subnet`,
		"::ffff:10.5.7.0/120":         `!"::ffff:10.5.7.0/120" is no subnet`,
		"10.5.7.0/24 10.5.8.0/24":     "!10.5.7.0/24 and 10.5.8.0/24 are of one family",
		"fd00:5:0:7::/64 fd00:6::/64": "!are of one family",
	} {
		s, err := subnetWords(strings.Fields(text))
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: %v, want %s", text, err, wrong)
			}
		} else if err != nil || s.CIDR() != want {
			t.Errorf("%q: %s, %v, want %s", text, s.CIDR(), err, want)
		}
	}
}

func attrsOf(ip string) lease.Attrs {
	if a := netip.MustParseAddr(ip); a.Is6() {
		return lease.Attrs{PublicIPv6: a}
	}
	return lease.Attrs{PublicIP: netip.MustParseAddr(ip)}
}
