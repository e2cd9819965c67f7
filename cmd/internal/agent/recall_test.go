package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/lease"
)

// copied is what a healthy host leaves: its lease and one peer's.
func copied(t *testing.T, where StoreOptions, now time.Time) lease.Copy {
	t.Helper()
	own := peer(t, "10.5.1.0/24", "", `{"PublicIP":"192.0.2.1"}`)
	own.Token, own.Expiry = "own", now.Add(time.Hour)
	return lease.Copy{Store: where.identity(), Saved: now.Add(-time.Minute), Own: own,
		Snapshot: &lease.Snapshot{Revision: 9, Config: config(t, onlyV4), Leases: []lease.Lease{own}}}
}

// Which copies a start may go by, and what is said of the others.
func TestUsable(t *testing.T) {
	now := time.Now()
	where := Defaults().Store
	for _, test := range []struct {
		name   string
		change func(*lease.Copy)
		where  func(*StoreOptions)
		want   string // "": usable
	}{
		{"a healthy one", nil, nil, ""},
		{"a cluster that got another member", nil, func(s *StoreOptions) { s.Endpoints = []string{"http://127.0.0.1:2379", "http://new:2379"} }, ""},
		{"another cluster", nil, func(s *StoreOptions) { s.Endpoints = []string{"http://new:2379"} }, "this agent's store is etcd /coreos.com/network at http://new:2379"},
		{"another prefix", nil, func(s *StoreOptions) { s.Prefix = "/blue" }, "it is of etcd /coreos.com/network at"},
		{"another kind of store", nil, func(s *StoreOptions) { s.Kind = "embedded" }, "this agent's store is embedded"},
		{"an expired lease", func(c *lease.Copy) { c.Own.Expiry = now }, nil, "expired at"},
		{"a reservation never expires", func(c *lease.Copy) { c.Own.Expiry, c.Own.Reserved = time.Time{}, true }, nil, ""},
		{"no lease", func(c *lease.Copy) { c.Own = lease.Lease{} }, nil, "this host had no lease"},
		{"a lease of another network", func(c *lease.Copy) { c.Snapshot.Config = config(t, `{"Network":"10.6.0.0/16"}`) }, nil, "10.5.1.0-24 isn't of its own network"},
		{"a backend type of a later version", func(c *lease.Copy) {
			c.Snapshot.Config = config(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard"}}`)
		}, nil, `backend type "wireguard"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, here := copied(t, where, now), where
			if test.change != nil {
				test.change(&c)
			}
			if test.where != nil {
				test.where(&here)
			}
			err := usable(c, here, now)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (!errors.Is(err, lease.ErrCopy) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

// A copy that can't be used is named in the log and the state; a first start has none, and says nothing.
func TestRecall(t *testing.T) {
	var log strings.Builder
	dir := t.TempDir()
	o := Defaults()
	o.StateDir = dir
	a := New(o, slog.New(slog.NewTextHandler(&log, nil)), "test")
	if c := a.recall(o.Store); c != nil || log.Len() != 0 || a.State().Store.Copy != nil {
		t.Errorf("first start: %+v, log %q", c, log.String())
	}
	if err := lease.SaveCopy(o.Store.copyPath(dir), copied(t, o.Store, time.Now())); err != nil {
		t.Fatal(err)
	}
	if c := a.recall(o.Store); c == nil || c.Snapshot.Revision != 9 || log.Len() != 0 {
		t.Errorf("after a healthy run: %+v, log %q", c, log.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "leases"), []byte("weftleases\x00\x01 and junk behind it, longer than a checksum is"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := a.recall(o.Store); c != nil || !strings.Contains(log.String(), "delete the file") {
		t.Errorf("a broken one: %+v, log %q", c, log.String())
	}
	if c := a.State().Store.Copy; c == nil || c.InUse || !strings.Contains(c.Ignored, "checksum") {
		t.Errorf("state of a broken one: %+v", c)
	}
}
