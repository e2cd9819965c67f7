package admin

import (
	"net/netip"
	"time"

	"weft/tunnel"
)

// A Source tells what state the agent is in. The result is the caller's to keep.
type Source interface{ State() State }

// State is an agent as seen from outside, and the JSON that the admin socket serves.
type State struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"`             // packets can flow
	Waiting string    `json:"waiting,omitempty"` // what keeps it from being ready, with the remedy

	Host     Host     `json:"host"`
	Network  Network  `json:"network"`
	Lease    *Lease   `json:"lease,omitempty"`
	Store    Store    `json:"store"`
	Datapath Datapath `json:"datapath"`

	Switched *LastSwitch `json:"switched,omitempty"` // the latest switch that was asked for; nil: none was
	Lane     *Lane       `json:"lane,omitempty"`     // the express lane; nil where there was none since the start

	Peers    []Peer            `json:"peers"`
	Problems []Problem         `json:"problems,omitempty"` // records in the store that were skipped
	Traffic  map[string]uint64 `json:"traffic"`            // packets and bytes carried, by direction, the lane's among them
	Drops    map[string]uint64 `json:"drops"`              // packets refused, by reason, the lane's among them
}

// Host is this machine on the underlay.
type Host struct {
	Interface  string     `json:"interface,omitempty"`
	MTU        int        `json:"mtu,omitempty"` // bytes, of the underlay interface
	PublicIP   netip.Addr `json:"publicIP,omitzero"`
	PublicIPv6 netip.Addr `json:"publicIPv6,omitzero"`
}

// Network is what the network config in force says.
type Network struct {
	IPv4        netip.Prefix `json:"ipv4,omitzero"`
	IPv6        netip.Prefix `json:"ipv6,omitzero"`
	BackendType string       `json:"backendType,omitempty"`

	Refused string `json:"refused,omitempty"` // why the config in the store isn't followed, and what to do
	Note    string `json:"note,omitempty"`    // what to know of the one that is
}

// Lease is this host's subnet.
type Lease struct {
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	Expiry  time.Time    `json:"expiry,omitzero"`   // zero: never
	Problem string       `json:"problem,omitempty"` // why it couldn't be renewed, or peers refuse it
}

// Store is where leases live and how far this host follows it.
type Store struct {
	Kind      string    `json:"kind"`
	Endpoints []string  `json:"endpoints,omitempty"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`  // when Connected last changed; zero before the first answer
	Error     string    `json:"error,omitempty"` // why it isn't connected
	Copy      *Copy     `json:"copy,omitempty"`  // what an earlier run left; nil where it wasn't needed
	Seen      int64     `json:"revisionSeen"`    // the newest revision that arrived here
	Applied   int64     `json:"revisionApplied"` // the newest one that packets follow
}

// Copy is what a start made of the copy of the leases on disk, with the store away.
type Copy struct {
	Saved   time.Time `json:"saved,omitzero"`
	InUse   bool      `json:"inUse"`             // packets follow it until the store answers
	Ignored string    `json:"ignored,omitempty"` // why it was of no use
}

// Offline reports whether packets flow without the store.
func (s State) Offline() bool { return s.Ready && !s.Store.Connected }

// Datapath is who moves this host's packets.
type Datapath struct {
	Kind     string          `json:"kind"`               // userspace, express, kernel, or none for lease-only networks
	Why      string          `json:"why,omitempty"`      // it is this one
	Better   string          `json:"better,omitempty"`   // what would have to change for a faster one
	Obstacle string          `json:"obstacle,omitempty"` // a fixed word for what stands in a faster one's way
	Notes    []string        `json:"notes,omitempty"`    // what of the network config it can't do
	Fault    string          `json:"fault,omitempty"`    // what of its kernel state isn't as it should be
	Formats  []string        `json:"formats,omitempty"`  // that sockets of the userspace datapath take
	Device   string          `json:"device,omitempty"`
	MTU      int             `json:"mtu,omitempty"` // bytes, of the device
	Port     int             `json:"port,omitempty"`
	Workers  int             `json:"workers,omitempty"`
	Offloads tunnel.Offloads `json:"offloads"`

	// RemoteChecksum: inner checksums are left to the outer one toward peers that take that.
	RemoteChecksum bool `json:"remoteChecksum"`

	// Lowered says, for each descriptor that lost a rung while running, which and by what error.
	Lowered []string `json:"lowered,omitempty"`
}

// LastSwitch is what became of the latest asking for another datapath.
type LastSwitch struct {
	At    time.Time `json:"at"`
	Asked string    `json:"asked"`           // auto, userspace, express or kernel
	Error string    `json:"error,omitempty"` // why it isn't that one
}

// Lane is the express lane in front of the userspace datapath. Its counts go on from those of an agent before, where they
// could be pinned.
type Lane struct {
	On       bool              `json:"on"`                 // packets go through it
	Underlay string            `json:"underlay,omitempty"` // the device of its outer end
	Carried  map[string]uint64 `json:"carried"`            // its part of Traffic
	Passed   map[string]uint64 `json:"passed"`             // packets that it left to user space, by cause
	Detached uint64            `json:"detached,omitempty"` // how often somebody took its programs away
	Unpinned string            `json:"unpinned,omitempty"` // why its counts end with the agent
	Cut      string            `json:"cut,omitempty"`      // why a bridge cuts superpackets that came by it
}

// Peer is another host that packets can go to.
type Peer struct {
	Subnet netip.Prefix   `json:"subnet"`
	Outer  netip.AddrPort `json:"outer"`
	MTU    int            `json:"mtu"` // bytes, the largest inner packet on the path
}

// Problem is a record in the store that was skipped.
type Problem struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}
