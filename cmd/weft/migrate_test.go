package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"weft/lease"
)

const migratingConfig = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"},"Weft":{"Migration":{"To":{"Type":"vxlan"},"Hosts":["192.0.2.2"]}}}`

// tenant is a lease as a host of that type writes it. ready: it says that it takes both formats.
func tenant(t *testing.T, subnet, public, kind string, ready bool) lease.Lease {
	t.Helper()
	l := lease.Lease{Subnet: netip.MustParsePrefix(subnet), Attrs: lease.Attrs{PublicIP: netip.MustParseAddr(public)}}
	if kind != "udp" {
		l.Attrs.BackendType = kind
	}
	if ready {
		var err error
		if l.Attrs, err = l.Attrs.WithWeft(lease.Weft{Version: 1, Caps: lease.CapMigrates}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func seen(t *testing.T, config string, leases ...lease.Lease) migration {
	t.Helper()
	c, err := lease.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrationOf(c, 7, leases, "udp", "vxlan")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Where the network is, and which step is next in either direction.
func TestMigrationSteps(t *testing.T) {
	const (
		udp   = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`
		vxlan = `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`
		both  = `"192.0.2.2","192.0.2.1"]`
	)
	one := tenant(t, "10.5.100.0/24", "192.0.2.1", "udp", true)
	two := tenant(t, "10.5.20.0/24", "192.0.2.2", "vxlan", true)
	oneMoved := tenant(t, "10.5.100.0/24", "192.0.2.1", "vxlan", true)
	for _, test := range []struct {
		name           string
		m              migration
		next, previous string
		summary        string
	}{
		{"before", seen(t, udp, one, two), "no migration has begun", "", "backend type udp, with 2 hosts"},
		{"one moved", seen(t, migratingConfig, one, two), "move 10.5.100.0/24 at 192.0.2.1 to vxlan", "move 10.5.20.0/24 at 192.0.2.2 back to udp", "1 of 2 hosts moved"},
		{"all moved", seen(t, strings.Replace(migratingConfig, `"192.0.2.2"]`, both, 1), oneMoved, two),
			"make vxlan the network's type for good", "move 10.5.100.0/24 at 192.0.2.1 back to udp", "2 of 2 hosts moved"},
		{"prepared", seen(t, strings.Replace(migratingConfig, `"192.0.2.2"`, "", 1), one), "move 10.5.100.0/24", "give the migration up", "0 of 1 hosts moved"},
		{"one that moved has left", seen(t, migratingConfig, one), "move 10.5.100.0/24", "give the migration up", "0 of 1 hosts moved"},
		{"after", seen(t, vxlan, oneMoved, two), "", "has ended", "backend type vxlan, with 2 hosts"},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := func(what, want string, s *migrationStep, err error) {
				got := ""
				if s != nil {
					got = s.question
				}
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, want) || want == "" && got != "" {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
			s, err := test.m.next()
			check("next", test.next, s, err)
			s, err = test.m.previous()
			check("previous", test.previous, s, err)
			if got := test.m.summary(); !strings.Contains(got, test.summary) {
				t.Errorf("summary %q, want %q", got, test.summary)
			}
		})
	}
}

// Who isn't ready is named; agents under one address count as one host.
func TestMigrationOf(t *testing.T) {
	m := seen(t, migratingConfig,
		tenant(t, "10.5.3.0/24", "192.0.2.3", "udp", false),
		tenant(t, "10.5.2.0/24", "192.0.2.2", "vxlan", true), tenant(t, "10.5.4.0/24", "192.0.2.2", "udp", true))
	if missing := m.unready(); len(m.hosts) != 2 || len(missing) != 1 || missing[0] != "10.5.3.0/24 at 192.0.2.3" {
		t.Errorf("%d hosts, unready %v", len(m.hosts), missing)
	}
	shared, ok := m.host(netip.MustParseAddr("10.5.4.9"))
	if !ok || shared.addr != netip.MustParseAddr("192.0.2.2") || shared.kind != "vxlan and udp" || !shared.moved {
		t.Errorf("the host with the address of a container: %+v", shared)
	}
	if left := m.notOf(shared.addr, "vxlan"); len(left) != 1 {
		t.Errorf("one of two agents hasn't moved, and nobody says so: %v", left)
	}
	if left := m.notOf(netip.MustParseAddr("192.0.2.77"), "vxlan"); len(left) != 0 {
		t.Errorf("a host that has left is waited for: %v", left)
	}
	c, err := lease.ParseConfig([]byte(migratingConfig))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrationOf(c, 7, nil, "vxlan", "udp"); err == nil || !strings.Contains(err.Error(), "go on with weft migrate udp vxlan") {
		t.Errorf("the other direction: %v", err)
	}
	c.Migration, c.BackendType = nil, "host-gw"
	if _, err := migrationOf(c, 7, nil, "udp", "vxlan"); err == nil || !strings.Contains(err.Error(), "of backend type host-gw") {
		t.Errorf("another network: %v", err)
	}
}

func TestMigrationTable(t *testing.T) {
	var b strings.Builder
	m := seen(t, migratingConfig,
		tenant(t, "10.5.1.0/24", "192.0.2.1", "udp", true), tenant(t, "10.5.2.0/24", "192.0.2.2", "vxlan", true), tenant(t, "10.5.3.0/24", "192.0.2.3", "udp", false))
	if err := m.table(&b); err != nil {
		t.Fatal(err)
	}
	const want = `on its way from udp to vxlan: 1 of 3 hosts moved

SUBNET       HOST       TYPE   STATE
10.5.1.0/24  192.0.2.1  udp    prepared
10.5.2.0/24  192.0.2.2  vxlan  moved
10.5.3.0/24  192.0.2.3  udp    doesn't take both formats
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// What an operator types, and what the question then is worth.
func TestAsk(t *testing.T) {
	var out strings.Builder
	ask := askOn(iotest.OneByteReader(strings.NewReader("y\nwhat?\nALL\nn\n")), &out)
	for i, want := range []answer{answerYes, answerAll, answerNo, answerNo} { // the last: the terminal has gone
		if got, err := ask(t.Context(), "move it"); got != want || err != nil {
			t.Errorf("answer %d: %v, %v, want %v", i+1, got, err, want)
		}
	}
	if n := strings.Count(out.String(), "move it? [y]es, [a]ll that follow too, [n]o: "); n != 5 {
		t.Errorf("asked %d times:\n%s", n, out.String())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("Ctrl-C"))
	silent, stop := newSilence()
	defer stop()
	if _, err := askOn(silent, &out)(ctx, "move it"); err == nil || err.Error() != "Ctrl-C" {
		t.Errorf("broken off: %v", err)
	}
}

// silence is a terminal on which nobody types.
type silence chan struct{}

func newSilence() (silence, func()) {
	s := make(silence)
	return s, func() { close(s) }
}

func (s silence) Read([]byte) (int, error) {
	<-s
	return 0, errors.New("closed")
}
