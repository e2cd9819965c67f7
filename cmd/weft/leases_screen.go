package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"weft/lease"
	"weft/lease/etcd"
)

// A window is the terminal's size in characters.
type window struct{ columns, rows int }

// Control sequences that every terminal since the VT220 and xterm has (ECMA-48; xterm's ctlseqs).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l" // what was there before is there again
	cursorHome  = "\x1b[H"
	eraseLine   = "\x1b[K" // from the cursor on
	eraseBelow  = "\x1b[J"
)

// timingsEvery is how often the times of the leases that are visible are asked for again: renewals
// change nothing in the records, so that no event tells of them.
const timingsEvery = 10 * time.Second

// A screen is the display for a terminal: as much of the table as the window holds, drawn in place.
type screen struct {
	out     io.Writer
	options leasesOptions
	timings interface {
		Timings(context.Context, []lease.Lease) ([]etcd.Timing, error)
	}
	size func() (window, bool)
	now  func() time.Time

	entered bool
	known   map[string]etcd.Timing // by token, of the leases that are visible
	asked   time.Time
}

func newScreen(out io.Writer, o leasesOptions, s *etcd.Store, size func() (window, bool)) *screen {
	return &screen{out: out, options: o, timings: s, size: size, now: time.Now}
}

func (s *screen) end() error {
	if !s.entered {
		return nil
	}
	_, err := io.WriteString(s.out, leaveScreen)
	return err
}

func (s *screen) show(ctx context.Context, snapshot *lease.Snapshot, status lease.FollowStatus) error {
	size, _ := s.size()
	var b strings.Builder
	if !s.entered {
		s.entered = true
		b.WriteString(enterScreen)
	}
	var lines []string
	if snapshot == nil {
		lines = append(lines, "asking etcd …")
	}
	if status.Err != nil {
		lines = append(lines, s.awayLine(snapshot, status))
	}
	if snapshot != nil {
		lines = append(lines, s.body(ctx, snapshot, status, size.rows-len(lines))...)
	}
	b.WriteString(frame(lines, size))
	_, err := io.WriteString(s.out, b.String()) // one write: no half frame is seen
	return err
}

// awayLine says since when what is shown may be old.
func (s *screen) awayLine(snapshot *lease.Snapshot, status lease.FollowStatus) string {
	text := "etcd is away"
	if snapshot != nil {
		text += " since " + status.Since.Format(time.TimeOnly) + "; this is what it said last"
	}
	return text + ": " + printable(status.Err.Error())
}

// body is the summary, the table, and what of it doesn't fit into so many rows.
func (s *screen) body(ctx context.Context, snapshot *lease.Snapshot, status lease.FollowStatus, rows int) []string {
	v := newView(snapshot)
	v.now = s.now()
	room := max(rows-4, 1) // summary, a blank line, heading, and what is not shown
	visible := snapshot.Leases[:min(room, len(snapshot.Leases))]
	if !s.options.problems {
		s.learn(ctx, visible, status.Connected)
		v.timings = s.known
	}
	lines := []string{
		fmt.Sprintf("%s  %s  revision %d", v.now.Format(time.TimeOnly), v.summary(), snapshot.Revision),
		"",
	}
	t := v.table(s.options)
	hidden := len(t.rows) - room
	if len(t.rows) == 0 {
		return append(lines, t.empty)
	}
	text := t.lines() // all rows, so that columns stay where they are
	if hidden <= 0 {
		return append(lines, text...)
	}
	lines = append(lines, text[:room+1]...)
	return append(lines, fmt.Sprintf("… and %d more: enlarge the window, or list them with weft leases", hidden))
}

// learn finds out the times of the visible leases: of all now and then, of a new one at once. While
// it can't, they are left out.
func (s *screen) learn(ctx context.Context, visible []lease.Lease, connected bool) {
	fresh := s.now().Sub(s.asked) < timingsEvery
	for _, l := range visible {
		_, known := s.known[l.Token]
		fresh = fresh && known
	}
	if fresh || !connected {
		return
	}
	limited, cancel := context.WithTimeout(ctx, clockTick)
	defer cancel()
	timings, err := s.timings.Timings(limited, visible)
	if err != nil {
		return // the follower will say what is wrong
	}
	s.asked, s.known = s.now(), make(map[string]etcd.Timing, len(visible))
	for i, t := range timings {
		s.known[visible[i].Token] = t
	}
}

// frame draws the lines from the top left corner, cut to the window. Each is erased behind its end,
// and the rest of the window below: nothing of the last frame stays, and nothing flickers.
func frame(lines []string, size window) string {
	var b strings.Builder
	b.WriteString(cursorHome)
	for i, line := range lines[:min(len(lines), max(size.rows, 1))] {
		if i > 0 {
			b.WriteString("\r\n") // a newline behind the last row would scroll
		}
		if runes := []rune(line); size.columns > 0 && len(runes) > size.columns {
			line = string(runes[:size.columns-1]) + "…"
		}
		b.WriteString(line)
		b.WriteString(eraseLine)
	}
	b.WriteString(eraseBelow)
	return b.String()
}
