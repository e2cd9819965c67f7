package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease/embedded"
	"weft/lease/leasetest"
)

// A notebook keeps what is logged about smaller files.
type notebook struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (n *notebook) Handle(_ context.Context, r slog.Record) error {
	if !strings.Contains(r.Message, "smaller") {
		return nil
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, text)
	return nil
}

func (n *notebook) Enabled(context.Context, slog.Level) bool { return true }
func (n *notebook) WithAttrs([]slog.Attr) slog.Handler       { return n }

func (n *notebook) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.lines...)
}

func size(t *testing.T, o embedded.Options) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(o.DataDir, "member", "snap", "db"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// churn writes one key n times, a quarter of a MiB each, and forgets the history.
func churn(t *testing.T, c *clientv3.Client, n int) {
	t.Helper()
	value := strings.Repeat("x", 256<<10)
	var last int64
	for range n {
		resp, err := c.Put(t.Context(), "/churn", value)
		if err != nil {
			t.Fatal(err)
		}
		last = resp.Header.Revision
	}
	if _, err := c.Compact(t.Context(), last, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, c *clientv3.Client) {
	t.Helper()
	if _, err := c.Put(t.Context(), "/after", "1"); err != nil {
		t.Fatal(err)
	}
}

// small is more than bbolt takes from the disk at a time, 16 MiB, with the little that is in the file.
const small = 20 << 20

// TestEveryMemberShrinksInItsTurn: after a flood all three files become small, and none of the
// three pauses while it leads.
func TestEveryMemberShrinksInItsTurn(t *testing.T) {
	members := trio(t)
	log := &notebook{}
	for i := range members {
		members[i].Log = slog.New(log)
		members[i].Defrag = embedded.Defrag{Every: 500 * time.Millisecond, Above: small}
	}
	startAll(t, members)
	c := client(t, members[0], leasetest.PKI{})
	churn(t, c, 120)
	deadline := time.Now().Add(30 * time.Second)
	for i := 0; i < len(members); {
		if size(t, members[i]) < small && len(log.all()) > i { // the line follows the file
			i++
		} else if time.Now().After(deadline) {
			t.Fatalf("member %d still has %d bytes: %v", i, size(t, members[i]), log.all())
		} else {
			// As any network does: pages count as free when a later write has been committed. This one
			// may meet a change of leaders.
			_, _ = c.Put(t.Context(), "/after", "1")
			time.Sleep(50 * time.Millisecond)
		}
	}
	got, err := c.Get(t.Context(), "/churn")
	if err != nil || len(got.Kvs) != 1 || len(got.Kvs[0].Value) != 256<<10 {
		t.Errorf("the key after all that: %v", err)
	}
	if leases, err := c.Leases(t.Context()); err != nil || len(leases.Leases) > 1 {
		t.Errorf("leases left behind: %v, %v", leases, err)
	}
	done := map[string]bool{}
	for _, line := range log.all() {
		done[strings.Fields(line)[6]] = true // member=…
		if !strings.Contains(line, "leads=false") {
			t.Errorf("a leader paused: %s", line)
		}
	}
	if len(done) != 3 {
		t.Errorf("want lines of three members:\n%s", strings.Join(log.all(), "\n"))
	}
}

// TestASmallOrFullFileIsLeftAlone: pausing for nothing would be the worse fault.
func TestASmallOrFullFileIsLeftAlone(t *testing.T) {
	log := &notebook{}
	o := options(t)
	o.Log = slog.New(log)
	o.Defrag = embedded.Defrag{Every: time.Millisecond} // Above: the default, 32 MiB
	leasetest.StartEtcd(t, o)
	c := client(t, o, leasetest.PKI{})
	churn(t, c, 40)
	for range 5 { // some hundred looks
		put(t, c)
		time.Sleep(60 * time.Millisecond)
	}
	if lines := log.all(); len(lines) != 0 || size(t, o) < 8<<20 {
		t.Errorf("%d bytes, %v", size(t, o), lines)
	}
}
