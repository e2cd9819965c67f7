package doctor

import (
	"weft/cmd/internal/admin"
	"weft/tunnel"
)

// A Rung is one step of the offload ladder as it stands on this machine.
type Rung struct {
	Name string `json:"name"`
	Flag string `json:"flag"`
	What string `json:"what"`

	Tried   bool   `json:"tried"`           // false: not even trying was possible
	Works   bool   `json:"works"`           // tried by itself, it could be had
	Why     string `json:"why,omitempty"`   // why not
	InUse   *bool  `json:"inUse,omitempty"` // by the running agent; nil where none answers
	Cost    string `json:"cost,omitempty"`  // what a host without it has left
	subject string // of weft bench, that measures it off
	has     func(tunnel.Offloads) bool
}

// rungs lists the ladder from the rung that is worth most to most hosts downwards.
func rungs() []Rung {
	return []Rung{
		{Name: "TSO", Flag: "--offload-tso", What: "TCP superpackets on the device", subject: "weft-notso",
			has: func(o tunnel.Offloads) bool { return o.TSO }},
		{Name: "USO", Flag: "--offload-uso", What: "UDP superpackets on the device (Linux 6.2)", subject: "weft-nouso",
			has: func(o tunnel.Offloads) bool { return o.USO }},
		{Name: "GSO", Flag: "--offload-gso", What: "one send for a run of datagrams (Linux 4.18)", subject: "weft-nogso",
			has: func(o tunnel.Offloads) bool { return o.GSO }},
		{Name: "GRO", Flag: "--offload-gro", What: "one receive for a train of datagrams (Linux 5.0)", subject: "weft-nogro",
			has: func(o tunnel.Offloads) bool { return o.GRO }},
		{Name: "tunnel GSO", Flag: "--offload-udp-tunnel-gso", What: "TCP superpackets leave whole (Linux 6.17)", subject: "weft-notgso",
			has: func(o tunnel.Offloads) bool { return o.TunnelGSO }},
		{Name: "remote checksum", Flag: "--offload-remote-checksum", What: "inner checksums left to the outer one, between weft hosts", subject: "weft-norco"},
		{Name: "multi-queue", Flag: "--offload-multi-queue", What: "a queue of the device for each worker", subject: "weft-nomq",
			has: func(o tunnel.Offloads) bool { return o.MultiQueue }},
		{Name: "batch", Flag: "--offload-batch", What: "several datagrams in one system call", subject: "weft-nobatch",
			has: func(o tunnel.Offloads) bool { return o.Batch }},
	}
}

// inUse notes what the running agent says.
func (r *Rung) inUse(d admin.Datapath) {
	used := d.RemoteChecksum
	if r.has != nil {
		used = r.has(d.Offloads)
	}
	r.InUse = &used
}
