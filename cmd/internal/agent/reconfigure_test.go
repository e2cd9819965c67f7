package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"weft/lease"
)

// with has a snapshot say a config, or what is wrong with it.
func with(t *testing.T, text string) *lease.Snapshot {
	t.Helper()
	c, err := lease.ParseConfig([]byte(text))
	return lease.Assemble(7, c, err, nil)
}

// What of a new config a running host follows, and what it refuses with which remedy.
func TestWeigh(t *testing.T) {
	own := lease.Subnets{V4: netip.MustParsePrefix("10.5.7.0/24")}
	where := Defaults().Store
	where.Prefix = "/blue"
	const set = "weft config set --etcd-prefix /blue FILE"
	deleted := &lease.Snapshot{ConfigErr: lease.ErrNoConfig}
	for _, test := range []struct {
		name     string
		snapshot *lease.Snapshot
		refused  string // "": followed
		note     string
	}{
		{"the same", with(t, onlyV4), "", ""},
		{"another port", with(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9000}}`), "", ""},
		{"alloc", with(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}`), "", ""},
		{"a wider network", with(t, `{"Network":"10.4.0.0/15"}`), "", ""},
		{"another range for new leases", with(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.128.0"}`), "", "10.5.7.0-24 is kept"},
		{"another length for new leases", with(t, `{"Network":"10.5.0.0/16","SubnetLen":26}`), "", "10.5.7.0-24 is kept"},
		{"deleted", deleted, "was deleted from the store", ""},
		{"no JSON", with(t, `{"Network"`), "correct it with", ""},
		{"a backend type to come", with(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard"}}`), `backend type "wireguard"`, ""},
		{"another network", with(t, `{"Network":"10.6.0.0/16"}`), "no room for this host's lease 10.5.7.0-24: it is for 10.6.0.0/16", ""},
		{"a network within which this host is too big", with(t, `{"Network":"10.5.7.0/24"}`), "no room", ""},
		{"a second family", with(t, dual), "it is for 10.5.0.0/16 and fd00:5::/48", ""},
		{"the other family", with(t, onlyV6), "it is for fd00:5::/48", ""},
		{"what failed before", with(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":1}}`), "port 1 is taken", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &member{where: where, fabric: fabric{config: config(t, onlyV4)}}
			m.failed = failure{[]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":1}}`), errors.New("port 1 is taken")}
			v := m.weigh(test.snapshot, own)
			if test.refused == "" {
				if v.refused != "" || string(v.config.Raw) != string(test.snapshot.Config.Raw) {
					t.Errorf("refused: %s", v.refused)
				}
			} else if !strings.Contains(v.refused, test.refused) || !strings.Contains(v.refused, set) ||
				!strings.Contains(v.refused, "stays in force here") || string(v.config.Raw) != onlyV4 {
				t.Errorf("refused %q\nwant it to say %q, %q and what stays in force", v.refused, test.refused, set)
			}
			if !strings.Contains(v.note, test.note) || test.note == "" && v.note != "" {
				t.Errorf("note %q, want %q", v.note, test.note)
			}
		})
	}
}

// A session ends for what it stands on, and for nothing else.
func TestFooting(t *testing.T) {
	for text, reopens := range map[string]bool{
		`{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`:                            false, // what onlyV4 means
		`{"Network":"10.5.0.0/16","SubnetLen":26}`:                                      false,
		`{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0"}`:                              false,
		`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9}}`:                   true,
		`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":1400}}`:                 true,
		`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":1500}}`:                 false, // the underlay's
		`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":9000},"Unknown":"key"}`: false,
		`{"Network":"10.4.0.0/15"}`:                                                     true,
		`{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}`:                          true,
	} {
		before := fabric{config: config(t, onlyV4), underlay: host("192.0.2.1", "")}
		after := before
		after.config = config(t, text)
		if got := before.footing(Options{}) != after.footing(Options{}); got != reopens {
			t.Errorf("%s: session ends %t, want %t", text, got, reopens)
		}
	}
	// With a port of its own the host doesn't care for the network's.
	before := fabric{config: config(t, onlyV4), underlay: host("192.0.2.1", "")}
	after := before
	after.config = config(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9}}`)
	if o := (Options{Port: 7}); before.footing(o) != after.footing(o) {
		t.Error("another port of the network ends a session that has its own")
	}
}

// A refusal is one line in the log, however often the store says the same.
func TestARefusalIsSaidOnce(t *testing.T) {
	var log strings.Builder
	p := &progress{log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		p.config("no JSON", "")
	}
	p.config("", "kept")
	p.config("", "kept")
	if got := strings.Count(log.String(), "\n"); got != 3 {
		t.Errorf("%d lines, want the refusal, its end and the note:\n%s", got, log.String())
	}
	if n := p.snapshot().Network; n.Refused != "" || n.Note != "kept" {
		t.Errorf("state %+v", n)
	}
}
