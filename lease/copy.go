package lease

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-msgpack/v2/codec"
)

// A Copy is what an agent remembers of the store on disk: with it a restart forwards at once, even
// while the store is away.
type Copy struct {
	Store    string    // which network of which store; a copy of another one is of no use
	Saved    time.Time // when the store last confirmed this
	Snapshot *Snapshot
	Own      Lease // this host's lease; the zero value if it had none
}

// ErrCopy: the file is no copy that this version can use. The remedy is in the message; starting
// without it is safe.
var ErrCopy = errors.New("unusable copy of the leases")

// The file: magic with the version, SHA-256 of the rest, MessagePack. Another version of the layout
// gets another magic, so that neither version ever misreads the other.
const (
	copyMagic  = "weftleases\x00\x01"
	copyHeader = len(copyMagic) + sha256.Size
	// mostCopy bounds what is read: 65,000 leases are below 20 MB.
	mostCopy = 64 << 20
)

// wireCopy and wireLease are the layout of version 1. Addresses are text, as in the store's keys.
type wireCopy struct {
	Store    string
	Saved    int64 // Unix time, ns
	Revision int64
	Config   []byte
	Leases   []wireLease
	Own      *wireLease
}

type wireLease struct {
	Subnet   string // as Key writes it
	Value    []byte // as EncodeValue writes it
	Expiry   int64  // Unix time, ns; 0: none
	Reserved bool
	Revision int64
	Token    string
}

// SaveCopy replaces the file in one step, mode 0600 in a folder made where missing. A snapshot
// without a usable config isn't saved, since a start without one couldn't use it: ErrCopy.
func SaveCopy(path string, c Copy) error {
	if c.Snapshot == nil || c.Snapshot.ConfigErr != nil {
		return fmt.Errorf("saving leases to %s: %w: the network has no config", path, ErrCopy)
	}
	data, err := encodeCopy(c)
	if err != nil {
		return fmt.Errorf("saving leases to %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making folder for the leases: %w", err)
	}
	// PSKs and public keys are in there, so not even what a kill leaves half written lies in a folder of everybody's.
	err = renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return fmt.Errorf("saving leases to %s: %w", path, err)
	}
	return nil
}

func encodeCopy(c Copy) ([]byte, error) {
	w := wireCopy{Store: c.Store, Saved: c.Saved.UnixNano(), Revision: c.Snapshot.Revision, Config: c.Snapshot.Config.Raw}
	for _, l := range c.Snapshot.Leases {
		wire, err := toWire(l)
		if err != nil {
			return nil, err
		}
		w.Leases = append(w.Leases, wire)
	}
	if c.Own.Subnets() != (Subnets{}) {
		own, err := toWire(c.Own)
		if err != nil {
			return nil, err
		}
		w.Own = &own
	}
	var body bytes.Buffer
	if err := codec.NewEncoder(&body, &codec.MsgpackHandle{}).Encode(w); err != nil {
		return nil, err
	}
	return seal(body.Bytes()), nil
}

// seal puts the header before a body.
func seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(copyMagic), sum[:], body)
}

func toWire(l Lease) (wireLease, error) {
	value, err := EncodeValue(l.Attrs)
	w := wireLease{Subnet: Key(l.Subnets()), Value: value, Reserved: l.Reserved, Revision: l.Revision, Token: l.Token}
	if !l.Expiry.IsZero() {
		w.Expiry = l.Expiry.UnixNano()
	}
	return w, err
}

// LoadCopy reads the file. A missing one is os.ErrNotExist, anything else that is wrong ErrCopy. The
// records are judged again as if they came from the store.
func LoadCopy(path string) (Copy, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > mostCopy {
		err = fmt.Errorf("%w: it has %d bytes", ErrCopy, info.Size())
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return Copy{}, fmt.Errorf("reading leases from %s: %w", path, err)
	}
	c, err := decodeCopy(data)
	if err != nil {
		return Copy{}, fmt.Errorf("reading leases from %s: %w: delete the file", path, err)
	}
	return c, nil
}

func decodeCopy(data []byte) (Copy, error) {
	if len(data) < copyHeader || string(data[:len(copyMagic)]) != copyMagic {
		return Copy{}, fmt.Errorf("%w: it is of another version, or no copy at all", ErrCopy)
	}
	body := data[copyHeader:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], data[len(copyMagic):copyHeader]) {
		return Copy{}, fmt.Errorf("%w: its checksum is wrong", ErrCopy)
	}
	var w wireCopy
	if err := codec.NewDecoderBytes(body, &codec.MsgpackHandle{}).Decode(&w); err != nil {
		return Copy{}, fmt.Errorf("%w: %w", ErrCopy, err)
	}
	config, err := ParseConfig(w.Config)
	if err != nil {
		return Copy{}, fmt.Errorf("%w: %w", ErrCopy, err)
	}
	entries := make([]Entry, len(w.Leases))
	for i, l := range w.Leases {
		entries[i] = l.entry()
		entries[i].Created = int64(i)
	}
	c := Copy{Store: w.Store, Saved: time.Unix(0, w.Saved), Snapshot: Assemble(w.Revision, config, nil, entries)}
	if w.Own != nil {
		c.Own = w.Own.entry().Lease
	}
	return c, nil
}

func (w wireLease) entry() Entry {
	e := Decode(w.Subnet, w.Subnet, w.Value)
	if e.Fault == nil {
		e.Lease.Reserved, e.Lease.Revision, e.Lease.Token = w.Reserved, w.Revision, w.Token
		if w.Expiry != 0 {
			e.Lease.Expiry = time.Unix(0, w.Expiry)
		}
	}
	return e
}

// Usable reports whether a restart may act by the copy: it is of this store, and the host's own
// lease is in it and was valid at the given time.
func (c Copy) Usable(store string, now time.Time) error {
	switch {
	case c.Store != store:
		return fmt.Errorf("%w: it is of %s", ErrCopy, c.Store)
	case c.Own.Subnets() == (Subnets{}):
		return fmt.Errorf("%w: this host had no lease", ErrCopy)
	case !c.Own.Expiry.IsZero() && !now.Before(c.Own.Expiry):
		return fmt.Errorf("%w: this host's lease expired at %s", ErrCopy, c.Own.Expiry)
	}
	return nil
}
