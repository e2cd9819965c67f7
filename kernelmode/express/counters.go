package express

// Counters is what a lane has done since the first agent attached it, summed over processors and takeovers. Every
// count only grows.
type Counters struct {
	Egress  Traffic           `json:"egress"`  // TUN to wire
	Ingress Traffic           `json:"ingress"` // wire to TUN
	Detours uint64            `json:"detours"` // of Ingress, the superpackets that went round: see Lane.Detour
	Drops   map[string]uint64 `json:"drops"`   // by the names of forwarder.Reason, zeros included
	Passed  map[string]uint64 `json:"passed"`  // left to the userspace forwarder, by cause, zeros included
}

// Traffic counts inner packets, a superpacket as one, and their bytes without encapsulation.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// dropNames are the names of enum reason in bpf/counters.h, which are those of forwarder.Reason.
var dropNames = [...]string{
	"malformed", "martian", "recursion", "bad_vni", "bad_mac", "spoofed_source", "not_local",
}

// passNames are the names of enum cause in bpf/counters.h. They are part of what status and metrics promise: a new
// cause gets a new name, and none changes its meaning.
var passNames = [...]string{
	"out_not_plain", "out_no_hop", "out_too_big", "out_no_neighbour", "out_no_path", "out_no_format", "out_bulk", "out_refused",
	"in_not_plain", "in_unknown_peer", "in_train", "in_bulk", "in_control", "in_too_big", "in_refused",
}

// The names fit the programs, or this file doesn't compile.
var (
	_ = [len(laneTally{}.Drops)]struct{}([len(dropNames)]struct{}{})
	_ = [len(laneTally{}.Passed)]struct{}([len(passNames)]struct{}{})
)

// sum adds up the tallies of all processors, and of lanes before.
func sum(tallies []laneTally) Counters {
	c := Counters{Drops: map[string]uint64{}, Passed: map[string]uint64{}}
	for _, name := range dropNames {
		c.Drops[name] = 0
	}
	for _, name := range passNames {
		c.Passed[name] = 0
	}
	for _, t := range tallies {
		c.Egress.Packets += t.OutPackets
		c.Egress.Bytes += t.OutBytes
		c.Ingress.Packets += t.InPackets
		c.Ingress.Bytes += t.InBytes
		c.Detours += t.Detours
		for i, n := range t.Drops {
			c.Drops[dropNames[i]] += n
		}
		for i, n := range t.Passed {
			c.Passed[passNames[i]] += n
		}
	}
	return c
}

// trials sums the trials of the detour that came back.
func trials(tallies []laneTally) (n uint64) {
	for _, t := range tallies {
		n += t.Trials
	}
	return n
}
