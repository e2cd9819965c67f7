package lease

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

const migrating = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9000},"Extra":[1,2],` +
	`"Weft":{"Migration":{"To":{"Type":"vxlan","VNI":7},"Hosts":["192.0.2.1","2001:db8::2"]}}}`

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each host sees its own side, and the other one beside it.
func TestConfigFor(t *testing.T) {
	c := mustParse(t, migrating)
	udp, vxlan := Format{"udp", Options{Port: 9000}}, Format{"vxlan", Options{VNI: 7, Port: 8472}}
	if c.BackendType != "udp" || c.Beside != vxlan {
		t.Errorf("the config itself: %s beside %+v", c.BackendType, c.Beside)
	}
	for _, test := range []struct {
		name  string
		addrs []netip.Addr
		moved bool
	}{
		{"moved", []netip.Addr{netip.MustParseAddr("192.0.2.1"), {}}, true},
		{"moved, known by its other address", []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::2")}, true},
		{"not moved", []netip.Addr{netip.MustParseAddr("192.0.2.3"), {}}, false},
		{"without an address", []netip.Addr{{}, {}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			want, beside := udp, vxlan
			if test.moved {
				want, beside = vxlan, udp
			}
			got := c.For(test.addrs...)
			if (Format{got.BackendType, got.Options}) != want || got.Beside != beside || got.Network != c.Network {
				t.Errorf("%s %+v beside %+v", got.BackendType, got.Options, got.Beside)
			}
			var backend struct{ Type string }
			if err := json.Unmarshal(got.Backend, &backend); err != nil || backend.Type != want.BackendType {
				t.Errorf("Backend %s (%v)", got.Backend, err)
			}
			// Asked again, or read back from a copy on disk, it is the same.
			again, back := got.For(test.addrs...), mustParse(t, string(got.Raw)).For(test.addrs...)
			for _, other := range []Config{again, back} {
				if string(other.Raw) != string(got.Raw) || other.BackendType != got.BackendType || other.Beside != got.Beside {
					t.Errorf("the second time %s %s beside %+v", other.Raw, other.BackendType, other.Beside)
				}
			}
		})
	}
}

// What another host does is no news to a host that it doesn't concern.
func TestConfigForHidesOthers(t *testing.T) {
	c, own := mustParse(t, migrating), netip.MustParseAddr("192.0.2.3")
	raw, err := c.Moving(append(c.Migration.Hosts, netip.MustParseAddr("192.0.2.4"))...)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := c.For(own), mustParse(t, string(raw)).For(own); string(before.Raw) != string(after.Raw) {
		t.Errorf("%s\n%s", before.Raw, after.Raw)
	}
	plain := mustParse(t, `{"Network":"10.5.0.0/16"}`)
	if same := plain.For(own); string(same.Raw) != string(plain.Raw) || same.Beside != (Format{}) {
		t.Errorf("without a migration: %+v", same)
	}
}

// A migration from its beginning to either end. What the document has besides stays, in its order.
func TestMigrationDocuments(t *testing.T) {
	const begin = `{ "Network": "10.5.0.0/16", "backend": {"Type": "udp"}, "Extra": {"a": [1, 2]} }`
	first := netip.MustParseAddr("192.0.2.1")
	steps := []struct {
		what string
		step func(Config) ([]byte, error)
		want string
	}{
		{"begin", func(c Config) ([]byte, error) { return c.Migrating([]byte(`{"Type":"vxlan"}`)) },
			`{"Network":"10.5.0.0/16","backend":{"Type":"udp"},"Extra":{"a":[1,2]},"Weft":{"Migration":{"To":{"Type":"vxlan"},"Hosts":[]}}}`},
		{"move one", func(c Config) ([]byte, error) { return c.Moving(first) },
			`{"Network":"10.5.0.0/16","backend":{"Type":"udp"},"Extra":{"a":[1,2]},"Weft":{"Migration":{"To":{"Type":"vxlan"},"Hosts":["192.0.2.1"]}}}`},
		{"end", func(c Config) ([]byte, error) { return c.Migrated() },
			`{"Network":"10.5.0.0/16","backend":{"Type":"vxlan"},"Extra":{"a":[1,2]}}`},
	}
	c := mustParse(t, begin)
	var moved Config
	for _, s := range steps {
		raw, err := s.step(c)
		if err != nil || string(raw) != s.want {
			t.Fatalf("%s: %s, %v\nwant %s", s.what, raw, err, s.want)
		}
		moved, c = c, mustParse(t, string(raw))
	}
	if c.BackendType != "vxlan" || c.Migration != nil {
		t.Errorf("at the end %s, %+v", c.BackendType, c.Migration)
	}
	raw, err := moved.Staying()
	if want := `{"Network":"10.5.0.0/16","backend":{"Type":"udp"},"Extra":{"a":[1,2]}}`; err != nil || string(raw) != want {
		t.Errorf("given up: %s, %v\nwant %s", raw, err, want)
	}
}

// What weft keeps in its key for later versions isn't lost.
func TestMigrationLeavesWeftsOtherKeys(t *testing.T) {
	c := mustParse(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"},"Weft":{"Later":1}}`)
	raw, err := c.Migrating([]byte(`{"Type":"vxlan"}`))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := mustParse(t, string(raw)).Staying(); err != nil || string(back) != string(c.Raw) {
		t.Errorf("%s, %v", back, err)
	}
}

// Every fault of a migration is named, with what to do.
func TestMigrationFaults(t *testing.T) {
	for weft, want := range map[string]string{
		`7`:                                                       "Weft is not a JSON object",
		`{"Migration":7}`:                                         "Migration is not a JSON object",
		`{"Migration":{}}`:                                        "To is not a JSON object",
		`{"Migration":{"To":{}}}`:                                 "has no Type",
		`{"Migration":{"To":{"Type":"udp"}}}`:                     "which are the same",
		`{"Migration":{"To":{"Type":"ipip"}}}`:                    "hosts can only move between udp and vxlan",
		`{"Migration":{"To":{"Type":"alloc"}}}`:                   "hosts can only move between udp and vxlan",
		`{"Migration":{"To":{"Type":"vxlan","VNI":-1}}}`:          "VNI is -1",
		`{"Migration":{"To":{"Type":"vxlan"},"Hosts":"all"}}`:     "write a list of addresses",
		`{"Migration":{"To":{"Type":"vxlan"},"Hosts":["host1"]}}`: `"host1", which is no address`,
	} {
		_, err := ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"udp"},"Weft":` + weft + `}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", weft, err, want)
		}
	}
	if _, err := ParseConfig([]byte(`{"Network":"10.5.0.0/16","Weft":{"Migration":null}}`)); err != nil {
		t.Errorf("null is absent: %v", err)
	}
}

// Editing any document gives one with that member and all others, or an error.
func FuzzSetMember(f *testing.F) {
	f.Add([]byte(migrating), []byte(`{"Type":"vxlan"}`))
	f.Add([]byte(`{"a":1,"A":2, "b":{"weft":null}}`), []byte(nil))
	f.Fuzz(func(t *testing.T, object, value []byte) {
		before, err := parseObject(object)
		if err != nil || value != nil && !json.Valid(value) {
			return
		}
		if len(value) == 0 {
			value = nil
		}
		edited, err := setMember(object, "Weft", value)
		if err != nil {
			t.Fatalf("%q: %v", object, err)
		}
		after, err := parseObject(edited)
		if err != nil {
			t.Fatalf("%q became %q: %v", object, edited, err)
		}
		if _, there := after["weft"]; there != (value != nil) {
			t.Errorf("%q became %q", object, edited)
		}
		delete(before, "weft")
		delete(after, "weft")
		if len(before) != len(after) {
			t.Errorf("%q became %q: members were lost", object, edited)
		}
	})
}

// Whatever config there is, a host's side of it says the same when it is read back, and has the same network.
func FuzzConfigFor(f *testing.F) {
	f.Add([]byte(migrating))
	f.Add([]byte(`{"network":"10.5.0.0/16","WEFT":{"migration":{"to":{"type":"VXLAN"},"hosts":["192.0.2.1"]}},"weft":null}`))
	f.Add([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"},"backend":{"Type":"udp"},"Weft":{"Migration":{"To":{"Type":"vxlan"}}}}`))
	own := netip.MustParseAddr("192.0.2.1")
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := ParseConfig(document)
		if err != nil {
			return
		}
		side := c.For(own)
		back, err := ParseConfig(side.Raw)
		if err != nil {
			t.Fatalf("%q became %q: %v", document, side.Raw, err)
		}
		again := back.For(own)
		if string(again.Raw) != string(side.Raw) || again.BackendType != side.BackendType || again.Options != side.Options ||
			again.Beside != side.Beside || again.Network != c.Network || again.SubnetLen != c.SubnetLen {
			t.Errorf("%q became %q of type %s and, read back, %q of type %s", document, side.Raw, side.BackendType, again.Raw, again.BackendType)
		}
		if c.Migration == nil {
			return
		}
		for what, edit := range map[string]func() ([]byte, error){"ended": c.Migrated, "given up": c.Staying} {
			raw, err := edit()
			if err != nil {
				t.Fatalf("%q, %s: %v", document, what, err)
			}
			if done, err := ParseConfig(raw); err != nil || done.Migration != nil {
				t.Errorf("%q, %s: %q, %v", document, what, raw, err)
			}
		}
	})
}
