package admin

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Table writes the state for a person to read: what matters first, peers last.
func (s State) Table(w io.Writer, now time.Time) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("agent", "%s, pid %d, up %s", s.Version, s.PID, span(now.Sub(s.Started)))
	row("state", "%s", s.readiness())
	row("host", "%s", s.Host)
	row("network", "%s", s.Network)
	if s.Network.Refused != "" {
		row("refused", "%s", s.Network.Refused)
	}
	if s.Network.Note != "" {
		row("note", "%s", s.Network.Note)
	}
	row("lease", "%s", s.lease(now))
	row("store", "%s", s.Store.line(now))
	if s.Store.Copy != nil {
		row("copy", "%s", s.Store.Copy.line(now))
	}
	row("datapath", "%s", s.Datapath)
	if s.Datapath.Better != "" {
		row("better", "%s", s.Datapath.Better)
	}
	for _, note := range s.Datapath.Notes {
		row("note", "%s", note)
	}
	if s.Datapath.Fault != "" {
		row("fault", "%s", s.Datapath.Fault)
	}
	if s.Switched != nil {
		row("switched", "%s", s.Switched.line(now))
	}
	if s.Datapath.Kind == "userspace" || s.Datapath.Kind == "express" {
		row("offloads", "%s", s.Datapath.ladder())
		for _, why := range s.Datapath.Lowered {
			row("lowered", "%s", why)
		}
	}
	row("traffic", "%s", counts(s.Traffic))
	if s.Lane != nil {
		row("lane", "%s", s.Lane)
	}
	row("drops", "%s", counts(s.Drops))
	for _, p := range s.Problems {
		row("skipped", "%s: %s: %s", p.Key, p.Reason, p.Detail)
	}
	row("peers", "%d", len(s.Peers))
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(s.Peers) == 0 {
		return nil
	}
	fmt.Fprintf(tw, "\nSUBNET\tOUTER ADDRESS\tMTU\n")
	for _, p := range s.Peers {
		fmt.Fprintf(tw, "%s\t%s\t%d\n", p.Subnet, p.Outer, p.MTU)
	}
	return tw.Flush()
}

func (s State) readiness() string {
	switch {
	case s.Ready && s.Waiting == "" && s.Network.Refused != "":
		return "ready, but the network config in the store is refused"
	case s.Ready && s.Waiting == "" && s.Offline():
		return "ready, but the store is away"
	case s.Ready && s.Waiting == "":
		return "ready"
	case s.Ready:
		return "ready, but " + s.Waiting
	case s.Waiting == "":
		return "starting"
	default:
		return "waiting: " + s.Waiting
	}
}

// String shows the interface and the addresses that peers send to.
func (h Host) String() string {
	if h.Interface == "" {
		return "-"
	}
	parts := []string{}
	if h.PublicIP.IsValid() {
		parts = append(parts, h.PublicIP.String())
	}
	if h.PublicIPv6.IsValid() {
		parts = append(parts, h.PublicIPv6.String())
	}
	return fmt.Sprintf("%s on %s, MTU %d", strings.Join(parts, " and "), h.Interface, h.MTU)
}

// String shows the ranges and the backend type.
func (n Network) String() string {
	if n.BackendType == "" {
		return "-"
	}
	ranges := []string{}
	if n.IPv4.IsValid() {
		ranges = append(ranges, n.IPv4.String())
	}
	if n.IPv6.IsValid() {
		ranges = append(ranges, n.IPv6.String())
	}
	return fmt.Sprintf("%s, backend type %s", strings.Join(ranges, " and "), n.BackendType)
}

func (s State) lease(now time.Time) string {
	if s.Lease == nil {
		return "none"
	}
	subnets := []string{}
	if s.Lease.Subnet.IsValid() {
		subnets = append(subnets, s.Lease.Subnet.String())
	}
	if s.Lease.Subnet6.IsValid() {
		subnets = append(subnets, s.Lease.Subnet6.String())
	}
	text := strings.Join(subnets, " and ")
	switch left := s.Lease.Expiry.Sub(now); {
	case s.Lease.Expiry.IsZero():
		text += ", never expires"
	case left > 0:
		text += ", expires in " + span(left)
	default:
		text += fmt.Sprintf(", expired %s ago: the store has to confirm it", span(-left))
	}
	if s.Lease.Problem != "" {
		text += " (" + s.Lease.Problem + ")"
	}
	return text
}

// line shows where the store is and whether this host is up to date with it.
func (s Store) line(now time.Time) string {
	text := s.Kind
	if len(s.Endpoints) > 0 {
		text += " " + strings.Join(s.Endpoints, ",")
	}
	if !s.Connected {
		text += ", away"
		if !s.Since.IsZero() {
			text += " for " + span(now.Sub(s.Since))
		}
		if s.Error != "" {
			text += " (" + s.Error + ")"
		}
	}
	return fmt.Sprintf("%s, revision %d applied of %d seen", text, s.Applied, s.Seen)
}

// line shows what became of the copy.
func (c Copy) line(now time.Time) string {
	switch {
	case c.Ignored != "":
		return "not used: " + c.Ignored
	case c.InUse:
		return fmt.Sprintf("in use until the store answers, saved %s ago", span(now.Sub(c.Saved)))
	default:
		return "the store has answered since"
	}
}

// String shows the datapath and its device.
func (d Datapath) String() string {
	text := d.Kind
	if text == "" {
		text = "-"
	}
	if d.Device != "" {
		text += fmt.Sprintf(", %s MTU %d", d.Device, d.MTU)
		if d.Port != 0 {
			text += fmt.Sprintf(", UDP port %d", d.Port)
		}
		if d.Workers != 0 {
			text += fmt.Sprintf(", workers %d", d.Workers)
		}
	}
	if d.Why != "" {
		text += " (" + d.Why + ")"
	}
	return text
}

// String shows what the lane carried, and what it left to user space.
func (l *Lane) String() string {
	text := "off"
	if l.On {
		text = "on " + l.Underlay
	}
	text += fmt.Sprintf("; carried %s; left to user space: %s", counts(l.Carried), counts(l.Passed))
	if l.Detached > 0 {
		text += fmt.Sprintf("; taken away by somebody %d times", l.Detached)
	}
	if l.Unpinned != "" {
		text += "; its counts end with the agent: " + l.Unpinned
	}
	if l.Cut != "" {
		text += "; superpackets are cut by a bridge behind it: " + l.Cut
	}
	return text
}

// line shows the latest switch.
func (l LastSwitch) line(now time.Time) string {
	text := fmt.Sprintf("%s was asked for %s ago", l.Asked, span(now.Sub(l.At)))
	if l.Error != "" {
		text += ", in vain: " + l.Error
	}
	return text
}

// ladder shows the offloads, those in use first.
func (d Datapath) ladder() string {
	rungs := []struct {
		name string
		on   bool
	}{
		{"tso", d.Offloads.TSO}, {"uso", d.Offloads.USO}, {"gso", d.Offloads.GSO}, {"gro", d.Offloads.GRO},
		{"tunnel gso", d.Offloads.TunnelGSO}, {"multi-queue", d.Offloads.MultiQueue}, {"batch", d.Offloads.Batch},
		{"remote checksum", d.RemoteChecksum},
	}
	var on, off []string
	for _, r := range rungs {
		if r.on {
			on = append(on, r.name)
		} else {
			off = append(off, r.name)
		}
	}
	return fmt.Sprintf("on: %s; off: %s", listed(on), listed(off))
}

// counts shows the counters that aren't zero, sorted.
func counts(by map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if by[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, by[name]))
		}
	}
	return listed(parts)
}

func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// span rounds a duration to what a person wants to know.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
