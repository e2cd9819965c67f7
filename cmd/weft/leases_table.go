package main

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"weft/lease"
)

// A table is rows of text under a heading. Columns with nothing in them are left out.
type table struct {
	heading []string
	rows    [][]string // as long as heading; "" where there is nothing
	empty   string     // stands for a table without rows
}

// columnGap stands between two columns.
const columnGap = "  "

// lines aligns the columns. Where others of its column have something, an empty cell is a dash, except
// in the last column, for which that would only be noise.
func (t table) lines() []string {
	widths := make([]int, len(t.heading))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, heading := range t.heading {
		if widths[i] > 0 {
			widths[i] = max(widths[i], utf8.RuneCountInString(heading))
		}
	}
	lines := make([]string, 0, len(t.rows)+1)
	for _, row := range append([][]string{t.heading}, t.rows...) {
		lines = append(lines, align(row, widths))
	}
	return lines
}

func align(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		if widths[i] == 0 {
			continue
		}
		if cell == "" && i < len(row)-1 {
			cell = "-"
		}
		b.WriteString(cell)
		b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		b.WriteString(columnGap)
	}
	return strings.TrimRight(b.String(), " ")
}

// leaseTable has a row for each lease.
func (v *view) leaseTable(leases []lease.Lease) table {
	t := table{
		heading: []string{"SUBNET", "IPV6 SUBNET", "PUBLIC IP", "PUBLIC IPV6", "BACKEND", "WEFT", "EXPIRES IN", "RENEWED", "NOTE"},
		empty:   "no leases",
	}
	for _, l := range leases {
		expires, renewed := v.times(l)
		t.rows = append(t.rows, []string{
			prefixText(l.Subnet), prefixText(l.Subnet6), addrText(l.Attrs.PublicIP), addrText(l.Attrs.PublicIPv6),
			clipped(backendOf(l, v.snapshot.Config)), weftText(l.Attrs), expires, renewed, v.note(l),
		})
	}
	return t
}

// times says what is left of the lease, and since when.
func (v *view) times(l lease.Lease) (expires, renewed string) {
	t := v.timings[l.Token]
	switch {
	case l.Reserved:
		return "never", ""
	case t.Expiry.IsZero():
		return "", ""
	}
	return spell(t.Expiry.Sub(v.now)), spell(v.now.Sub(t.Renewed)) + " ago"
}

func (v *view) note(l lease.Lease) string {
	var notes []string
	if v.here(l.Attrs) {
		notes = append(notes, "this host")
	}
	if l.Reserved {
		notes = append(notes, "reserved")
	}
	return strings.Join(notes, ", ")
}

// backendOf is the type that the lease stands for: udp and alloc write none.
func backendOf(l lease.Lease, c lease.Config) string {
	if l.Attrs.BackendType == "" && (c.BackendType == "udp" || c.BackendType == "alloc") {
		return c.BackendType
	}
	return l.Attrs.BackendType
}

// weftText shows what a weft host adds to flannel's record.
func weftText(a lease.Attrs) string {
	w, ok := a.Weft()
	if !ok {
		return ""
	}
	text := fmt.Sprintf("v%d caps %d", w.Version, w.Caps)
	if w.Port != 0 {
		text += fmt.Sprintf(" port %d", w.Port)
	}
	return text
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// spell rounds a duration to what a person wants to know.
func spell(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

func subnetsOf(c lease.Config) string {
	if n := c.Capacity(); n != math.MaxUint64 {
		return strconv.FormatUint(n, 10) + " subnets"
	}
	return "at least 2^64 subnets"
}

// printable keeps a stranger's text from steering the terminal: anyone who may write to etcd may put
// an escape sequence into a key or a value.
func printable(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return text
	}
	quoted := strconv.QuoteToGraphic(text)
	return quoted[1 : len(quoted)-1]
}

// clipped is for a cell: one long word of a stranger's must not push all columns off the screen.
func clipped(text string) string {
	const longest = 24
	if runes := []rune(printable(text)); len(runes) > longest {
		return string(runes[:longest-1]) + "…"
	}
	return printable(text)
}
