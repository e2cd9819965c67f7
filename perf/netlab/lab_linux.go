package netlab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// underlayBridge is the one L2 segment of a Bridged lab. In a Routed lab every host has one of its
// own, called "net" and its number.
const underlayBridge = "underlay"

// A Lab is a network that New built. Close it.
type Lab struct {
	config Config
	record *record
	hosts  []*Host

	underlay     *Namespace // nil in a Direct lab
	addr4, addr6 netip.Addr

	mu         sync.Mutex // changes to the network, one at a time
	namespaces []*Namespace
	closed     bool
}

// New sweeps what dead owners left, then builds a lab. When ctx ends meanwhile, or anything
// fails, it removes what it has built and returns the reason.
func New(ctx context.Context, config Config) (*Lab, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if err := Check(); err != nil {
		return nil, err
	}
	if _, err := Sweep(); err != nil {
		return nil, fmt.Errorf("sweeping earlier labs: %w", err)
	}
	l, err := newRecorded(config)
	if err != nil {
		return nil, err
	}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("building lab %s: %w", l.ID(), err), l.Close())
	}
	return l, nil
}

// newRecorded draws an ID and leaves the record: from here on a sweep finds everything.
func newRecorded(config Config) (*Lab, error) {
	var random [3]byte
	rand.Read(random[:]) // never fails, see crypto/rand
	// Two labs with one ID are caught by the record, which is created exclusively.
	id := "weft-" + config.Name + "-" + hex.EncodeToString(random[:])
	r, err := createRecord(Record{
		ID:      id,
		Owner:   os.Getpid(),
		Started: time.Now(),
		Dir:     filepath.Join(os.TempDir(), id),
		Hosts:   config.Hosts,
	})
	if err != nil {
		return nil, err
	}
	// Mkdir, not MkdirAll: a directory that is there already may be somebody else's trap.
	if err := os.Mkdir(r.Dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("making lab directory: %w", err), r.remove())
	}
	return &Lab{config: config, record: r}, nil
}

// build makes everything in the order in which packets will need it. What it has made when it fails is
// Close's to remove.
func (l *Lab) build(ctx context.Context) error {
	if err := mountRunNetns(); err != nil {
		return err
	}
	if l.config.Topology != Direct {
		if err := l.buildUnderlay(); err != nil {
			return err
		}
	}
	for n := 1; n <= l.config.Hosts; n++ {
		// A host takes milliseconds: often enough to ask whether somebody pressed Ctrl-C.
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.addHost(n); err != nil {
			return fmt.Errorf("adding host %d: %w", n, err)
		}
	}
	if l.config.Topology == Direct {
		if err := l.joinDirect(); err != nil {
			return err
		}
	}
	for _, h := range l.hosts {
		if err := l.address(h); err != nil {
			return fmt.Errorf("addressing host %d: %w", h.Number, err)
		}
	}
	for _, h := range l.hosts {
		if err := h.Uplink.await(); err != nil {
			return fmt.Errorf("waiting for host %d: %w", h.Number, err)
		}
	}
	if l.config.RealSegmentation {
		return l.SetSegmentation(true)
	}
	return nil
}

// addNamespace makes a namespace that Close will remove.
func (l *Lab) addNamespace(name string) (*Namespace, error) {
	if l.closed {
		return nil, fmt.Errorf("adding namespace %s: lab %s is closed", name, l.ID())
	}
	space, err := newNamespace(l.ID(), name)
	if err == nil {
		l.namespaces = append(l.namespaces, space)
	}
	return space, err
}

// ID is unique on this machine: "weft-NAME-" and six hex digits.
func (l *Lab) ID() string { return l.record.ID }

// Dir is a directory for files of the lab, mode 0700. It goes with the lab.
func (l *Lab) Dir() string { return l.record.Dir }

// Hosts are the lab's hosts, host number 1 first. The slice is the lab's: don't change it.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Host returns host number n, 1 to the configured number.
func (l *Lab) Host(n int) *Host { return l.hosts[n-1] }

// Underlay is a namespace that reaches every host without belonging to one, at the addresses given
// (v6 invalid where the kernel has none): the place for an etcd. In a Direct lab it is host 1.
func (l *Lab) Underlay() (space *Namespace, addr4, addr6 netip.Addr) {
	if l.underlay == nil {
		return l.hosts[0].Namespace, l.hosts[0].Addr, l.hosts[0].Addr6
	}
	return l.underlay, l.addr4, l.addr6
}

// SetSegmentation sets Link.SetSegmentation on every host's uplink.
func (l *Lab) SetSegmentation(real bool) error {
	return l.everyUplink(func(k *Link) error { return k.SetSegmentation(real) })
}

// SetMTU sets Link.SetMTU on every host's uplink.
func (l *Lab) SetMTU(mtu int) error {
	return l.everyUplink(func(k *Link) error { return k.SetMTU(mtu) })
}

// everyUplink stops at the first failure: half-changed labs are for closing, not for measuring.
func (l *Lab) everyUplink(f func(*Link) error) error {
	for _, h := range l.hosts {
		if err := f(h.Uplink); err != nil {
			return fmt.Errorf("uplink of host %d: %w", h.Number, err)
		}
	}
	return nil
}

// Keep leaves the lab running when Close is called and when the process ends; Remove ends it.
// Impaired links can't be kept: this process carries their packets.
func (l *Lab) Keep() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		if h.Uplink.relay != nil {
			return fmt.Errorf("keeping lab %s: the link of host %d is impaired by this process: lift that first", l.ID(), h.Number)
		}
	}
	l.record.Kept = true
	if err := l.record.save(); err != nil {
		return fmt.Errorf("keeping lab %s: %w", l.ID(), err)
	}
	return nil
}

// Close ends the lab's processes and removes its namespaces, devices and files, unless it was
// kept. Closing twice is harmless.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	// Relays first: they hold a socket and a TAP in the underlay, which would keep it alive.
	var err error
	for _, h := range l.hosts {
		if h.Uplink != nil {
			err = errors.Join(err, h.Uplink.stopRelay())
		}
	}
	for _, n := range l.namespaces {
		err = errors.Join(err, n.Close())
	}
	if l.record.Kept {
		// Giving up the lock without removing the record is what keeping means.
		return errors.Join(err, l.record.file.Close())
	}
	return errors.Join(err, l.record.clean())
}

// addHost makes the namespace of host n and, but in a Direct lab, plugs it into the underlay.
func (l *Lab) addHost(n int) error {
	space, err := l.addNamespace("host" + strconv.Itoa(n))
	if err != nil {
		return err
	}
	h := &Host{Namespace: space, Number: n, lab: l}
	l.hosts = append(l.hosts, h)
	if l.config.Topology == Direct {
		return nil
	}
	return l.plugHost(h)
}
