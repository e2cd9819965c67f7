package lease

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"
)

// Errors of every Store; the conformance suite in leasetest asserts them.
var (
	// ErrNoConfig: the network config isn't in the store yet.
	ErrNoConfig = errors.New("no network config in the store")
	// ErrExhausted: every subnet of the configured range is taken.
	ErrExhausted = errors.New("no free subnet left in the configured range")
	// ErrLost: the lease is no longer this host's: it expired, was deleted, or names another host.
	ErrLost = errors.New("lease lost")
	// ErrUnavailable: the store can't be reached now; trying again may help.
	ErrUnavailable = errors.New("store unavailable")
)

// Attrs is what a host tells its peers about itself: the value of a lease.
type Attrs struct {
	PublicIP      netip.Addr      // outer IPv4 address; invalid on a v6-only host
	PublicIPv6    netip.Addr      // outer IPv6 address; invalid on a v4-only host
	BackendType   string          // empty for udp and alloc, as flannel writes it
	BackendData   json.RawMessage // nil when the backend has none
	BackendV6Data json.RawMessage
}

// A Lease is one host's ownership of one subnet (v4, v6 or both), with its attributes and expiry.
type Lease struct {
	Subnet   netip.Prefix // IPv4; invalid when the host has none
	Subnet6  netip.Prefix // IPv6; invalid when the host has none
	Attrs    Attrs
	Expiry   time.Time // zero: not known (a peer's lease in a snapshot), or never (Reserved)
	Reserved bool      // the record never expires: an operator wrote it, or the store has no expiry
	Revision int64     // store revision of the last change to this record
	Token    string    // opaque to callers: what the store needs for a fenced Renew and Release
}

// Subnets returns the subnets of both families.
func (l Lease) Subnets() Subnets { return Subnets{V4: l.Subnet, V6: l.Subnet6} }

// A Snapshot is all leases of a network at one store revision. It is immutable and shared.
type Snapshot struct {
	Revision int64
	Leases   []Lease // sorted by subnet, no two overlap
	Problems []Problem

	// Config is the network config at this revision. ConfigErr says why it can't be used
	// (ErrNoConfig, or what is wrong with it); Config is then the zero value.
	Config    Config
	ConfigErr error

	// Aside has the records that can be read, and that this config or an older record left out, or
	// left a family out of: another config may see them otherwise. [Snapshot.Under] reads it.
	Aside []Entry
}

// A Problem is one record that was skipped, and why; the others are unharmed.
type Problem struct {
	Key    string // where the record is
	Reason string // a short fixed word, fit for a counter: BadKey, BadJSON, Overlap, …
	Detail string // what a person should know, with the remedy
	Token  string // of the lease that was refused; empty when the record couldn't be read at all
}

// A Request is what a host asks for when it acquires a lease.
type Request struct {
	Attrs     Attrs
	Previous  netip.Prefix // subnet of an earlier run, from subnet.env; invalid if none
	Previous6 netip.Prefix
}

// Subnets returns the previous subnets of both families.
func (r Request) Subnets() Subnets { return Subnets{V4: r.Previous, V6: r.Previous6} }

// A Store keeps the leases of one network. All methods may be called concurrently. Errors wrap
// the sentinels above, or the context's.
type Store interface {
	// Config reads the network config once. ErrNoConfig if there is none.
	Config(ctx context.Context) (Config, error)

	// Acquire leases a subnet: the one this public address already holds, else the previous one if
	// free, else a free one. A lost race is tried again with the next candidate. ErrExhausted when
	// there is none, ErrNoConfig without a config.
	Acquire(ctx context.Context, r Request) (Lease, error)

	// Renew extends the lease, and rewrites its value where Attrs changed. It succeeds only while
	// the record still is this host's, and never recreates one: ErrLost otherwise.
	Renew(ctx context.Context, l Lease) (Lease, error)

	// Release gives the subnet back. It deletes only a record that still is this host's; nil if it
	// is gone already, ErrLost if it is somebody else's.
	Release(ctx context.Context, l Lease) error

	// Watch calls yield with the whole state at once and after every change, each call with a
	// higher Revision, until ctx ends or the store fails. It returns the reason, never nil. The
	// snapshot is the caller's to keep; yield should not block for long, since changes are batched
	// behind it, never lost.
	Watch(ctx context.Context, yield func(*Snapshot)) error
}
