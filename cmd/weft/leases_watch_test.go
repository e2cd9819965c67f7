package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease"
	"weft/lease/etcd"
	"weft/lease/leasetest"
)

// noTimings is an etcd that knows no times, and counts how often it is asked for how many.
type noTimings struct{ calls, most int }

func (n *noTimings) Timings(_ context.Context, leases []lease.Lease) ([]etcd.Timing, error) {
	n.calls++
	n.most = max(n.most, len(leases))
	return make([]etcd.Timing, len(leases)), nil
}

// A terminal keeps what was written to it.
type terminal struct {
	mu      sync.Mutex
	written bytes.Buffer
	size    window
	asked   noTimings
}

func (m *terminal) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written.Write(p)
}

func (m *terminal) all() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written.String()
}

var control = regexp.MustCompile("\x1b\\[[?0-9]*[a-zA-Z]")

// screen returns the rows of the last frame.
func (m *terminal) screen() []string {
	all := m.all()
	last := all[strings.LastIndex(all, cursorHome):]
	return strings.Split(control.ReplaceAllString(last, ""), "\r\n")
}

func (m *terminal) display(o leasesOptions) *screen {
	return &screen{out: m, options: o, timings: &m.asked, now: func() time.Time { return noon },
		size: func() (window, bool) { return m.size, true }}
}

// TestScreenFitsTheWindow: whatever its size, nothing scrolls, and what isn't shown is counted.
func TestScreenFitsTheWindow(t *testing.T) {
	s := thousands(t, 5000)
	for _, size := range []window{{200, 24}, {80, 24}, {20, 10}, {200, 6}, {80, 4}, {10, 1}, {300, 6000}} {
		m := &terminal{size: size}
		if err := m.display(leasesOptions{}).show(t.Context(), s, lease.FollowStatus{Connected: true}); err != nil {
			t.Fatal(err)
		}
		rows := m.screen()
		if len(rows) > size.rows {
			t.Errorf("%v: %d rows", size, len(rows))
		}
		for _, row := range rows {
			if len([]rune(row)) > size.columns {
				t.Errorf("%v: %d characters in %q", size, len([]rune(row)), row)
			}
		}
		visible := min(size.rows-4, 5000)
		if size.rows >= 5 && size.columns >= 80 && visible < 5000 {
			if want := fmt.Sprintf("… and %d more: enlarge the window", 5000-visible); !strings.HasPrefix(rows[len(rows)-1], want) {
				t.Errorf("%v: the last row is %q, want %s", size, rows[len(rows)-1], want)
			}
		}
		if m.asked.most > max(visible, 1) {
			t.Errorf("%v: asked for the times of %d leases", size, m.asked.most)
		}
	}
}

// Times are asked for once in a while, not with every frame; a smaller window leaves nothing behind.
func TestScreenIsRedrawnInPlace(t *testing.T) {
	m := &terminal{size: window{100, 24}}
	d := m.display(leasesOptions{})
	s := snapshotOf(t, testConfig, mixed...)
	for range 5 {
		if err := d.show(t.Context(), s, lease.FollowStatus{Connected: true}); err != nil {
			t.Fatal(err)
		}
	}
	if m.asked.calls != 1 {
		t.Errorf("asked %d times", m.asked.calls)
	}
	if strings.Count(m.all(), enterScreen) != 1 || strings.Count(m.all(), cursorHome) != 5 || strings.Count(m.all(), eraseBelow) != 5 {
		t.Errorf("written: %q", m.all())
	}
	if strings.Contains(strings.Join(m.screen(), "\n"), "\x1b") {
		t.Errorf("a record steers the terminal: %q", m.screen())
	}
	m.size = window{60, 8}
	if err := d.show(t.Context(), s, lease.FollowStatus{Connected: true}); err != nil {
		t.Fatal(err)
	}
	if rows := m.screen(); len(rows) != 8 || !strings.HasPrefix(rows[7], "… and 1 more") {
		t.Errorf("in a smaller window: %q", rows)
	}
	if err := d.end(); err != nil || !strings.HasSuffix(m.all(), leaveScreen) {
		t.Errorf("at the end: %v, %q", err, m.all()[m.written.Len()-20:])
	}
}

// TestWatchSurvivesTheStore runs the whole loop over a store that comes, changes, goes and returns,
// once on a terminal and once into a pipe, and ends as Ctrl-C ends it.
func TestWatchSurvivesTheStore(t *testing.T) {
	for _, onTerminal := range []bool{true, false} {
		t.Run(fmt.Sprintf("terminal %t", onTerminal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := leasetest.NewMemory(24 * time.Hour)
				store.SetDown(errors.New("nobody is there"))
				m := &terminal{size: window{100, 24}}
				var d display = m.display(leasesOptions{})
				if !onTerminal {
					d = newChangeLines(m, leasesOptions{})
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- watch(ctx, lease.NewFollower(store, nil), d, nil) }()
				expect := func(terminal, line string) {
					t.Helper()
					time.Sleep(20 * time.Second) // of the bubble
					synctest.Wait()
					want, got := line, m.all()
					if onTerminal {
						want, got = terminal, strings.Join(m.screen(), "\n")
					}
					if !strings.Contains(got, want) {
						t.Errorf("it shows\n%s\nwant %s", got, want)
					}
				}
				expect("etcd is away: ", " away    ")
				store.SetDown(nil)
				store.SetConfig([]byte(testConfig))
				expect("0 of 255 subnets used", " listed  0 leases")
				store.Put("10.5.7.0-24", `{"PublicIP":"192.0.2.7"}`)
				expect("10.5.7.0/24", " added   10.5.7.0/24 192.0.2.7 reserved\n")
				store.Put("10.5.7.0-24", `{"PublicIP":"192.0.2.8"}`)
				expect("192.0.2.8", " changed 10.5.7.0/24 192.0.2.8: public IP 192.0.2.7 is now 192.0.2.8\n")
				store.Put("junk", `{}`)
				expect("1 problem (weft leases --problems)", " problem ")
				store.SetDown(errors.New("it is gone"))
				expect("this is what it said last: ", " away    ")
				expect("192.0.2.8", "it is gone\n")
				store.SetDown(nil)
				expect("1 reservation", " back    the store answers again\n")
				store.Delete("10.5.7.0-24")
				expect("no leases", " removed 10.5.7.0/24 192.0.2.8 reserved\n")
				if strings.Contains(strings.Join(m.screenOrNothing(onTerminal), "\n"), "away") {
					t.Error("it still says that the store is away")
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("it ended with %v", err)
				}
				if onTerminal && !strings.HasSuffix(m.all(), leaveScreen) {
					t.Error("the terminal isn't what it was")
				}
			})
		})
	}
}

func (m *terminal) screenOrNothing(onTerminal bool) []string {
	if !onTerminal {
		return nil
	}
	return m.screen()
}

// TestWatchLinesAreJSON: each line is a document of its own.
func TestWatchLinesAreJSON(t *testing.T) {
	m := &terminal{}
	d := newChangeLines(m, leasesOptions{asJSON: true})
	d.now = func() time.Time { return noon }
	was := snapshotOf(t, testConfig, mixed...)
	is := snapshotOf(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9001}}`, append([]string{
		`10.5.20.0-24 {"PublicIP":"192.0.2.2","BackendType":"vxlan"}`, `10.5.30.0-24 {"PublicIP":"192.0.2.30"}`}, mixed[2:5]...)...)
	connected := lease.FollowStatus{Connected: true, Revision: 11}
	for _, s := range []*lease.Snapshot{was, was, is} {
		if err := d.show(t.Context(), s, connected); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.show(t.Context(), is, lease.FollowStatus{Err: lease.ErrUnavailable}); err != nil {
		t.Fatal(err)
	}
	var events []string
	for line := range strings.Lines(m.all()) {
		var d lineDocument
		if err := json.Unmarshal([]byte(line), &d); err != nil || !d.Time.Equal(noon) {
			t.Errorf("%q: %v", line, err)
		}
		subject := ""
		switch {
		case d.List != nil:
			subject = fmt.Sprint(len(d.List.Leases), len(d.List.Problems))
		case d.Lease != nil:
			subject = d.Lease.Subnet.String()
		case d.Problem != nil:
			subject = d.Problem.Reason
		}
		events = append(events, strings.TrimSpace(d.Event+" "+subject))
	}
	got := strings.Join(events, "; ")
	for _, part := range []string{"listed 5 5; config; ", "added 10.5.30.0/24", "changed 10.5.20.0/24", "removed 10.5.3.0/24", "solved bad_key", "solved bad_public_ip", "away"} {
		if !strings.Contains(got, part) {
			t.Errorf("events %s\nlack %s", got, part)
		}
	}
}

// Before the first request has failed, which takes seconds, whoever waits is told that there is no
// answer; once.
func TestWatchSaysThatThereIsNoAnswer(t *testing.T) {
	m := &terminal{}
	d := newChangeLines(m, leasesOptions{})
	for i, want := range []int{0, 1, 1, 1} {
		if err := d.show(t.Context(), nil, lease.FollowStatus{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(m.all(), noAnswer); got != want {
			t.Errorf("after %d seconds it was told %d times", i, got)
		}
	}
}

// A full disk or a closed pipe ends the watch with its error.
func TestWatchEndsWhenNobodyReads(t *testing.T) {
	store := leasetest.NewMemory(time.Hour)
	store.SetConfig([]byte(testConfig))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	err = watch(t.Context(), lease.NewFollower(store, nil), newChangeLines(w, leasesOptions{}), nil)
	if err == nil || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("it ended with %v", err)
	}
}
