package express

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
)

// A Lane is the two programs and their maps. Its methods may be called from any goroutine whose thread is in the
// devices' network namespace.
type Lane struct {
	config  Config
	objects laneObjects
	store   *kernelStore
	hooks   []*hook
	detour  detour
	pins    pins

	mu       sync.Mutex // the table, and what is attached
	table    *table
	attached bool
	closed   bool
}

// hopRoom is how many hops there is room for beside one for each subnet of the index: peers of the trie, and hops
// that packets under way may still hold.
const hopRoom = 1024

// maxHops bounds them: 48 bytes each.
const maxHops = 1 << 20

// Open loads the programs into the kernel. Packets go on as before until the first Publish: by the lane of
// an earlier agent where there is one, else by userspace.
//
// The errors are those of Config, of the devices, and whatever the kernel refuses, each with its remedy; see Probe.
func Open(config Config) (*Lane, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	l := &Lane{config: config}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.objects.Close())
	}
	return l, nil
}

func (l *Lane) open() error {
	set := l.config.settings()
	kernel, err := look(&l.config)
	if err != nil {
		return err
	}
	set.Tun, set.Underlay = uint32(kernel.tun), uint32(kernel.underlay)
	set.CrossFamily, set.FrameInside = bit(kernel.crossFamily), bit(kernel.frameInside)
	l.pins = openPins(l.config.Pins, l.config.Device)
	l.pins.sweep()
	room := min(2*l.config.shape().subnets+hopRoom, maxHops)
	if err := load(&l.objects, set, room, l.pins); err != nil {
		return err
	}
	if l.store, err = newKernelStore(&l.objects.laneMaps); err != nil {
		return err
	}
	l.table = newTable(l.store, l.config.shape(), room)
	l.hooks = []*hook{
		{lane: l.config.Device, device: l.config.Device, index: kernel.tun, direction: outward, pin: egressPin, program: l.objects.Egress, pins: l.pins},
		{lane: l.config.Device, device: l.config.Underlay, index: kernel.underlay, direction: inward, pin: ingressPin, program: l.objects.Ingress, pins: l.pins},
	}
	l.detour = detour{lane: l.config.Device, program: l.objects.Returned, pins: l.pins, counts: l.objects.Counts, err: errUntried}
	return nil
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// errClosed is what a closed Lane answers.
var errClosed = errors.New("express: the lane is closed")

// Publish makes the routes the only ones, as one snapshot. A packet takes the old hop of its destination or the
// new one, never a mixture. The first call attaches the programs: from then on the lane carries packets.
//
// On an error the routes are partly the new ones; calling again mends it. The slice is not kept.
func (l *Lane) Publish(routes []Route) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if err := l.table.publish(routes); err != nil {
		return err
	}
	return l.attach()
}

// Change sets some routes and takes those of some subnets away, without looking at all others: for many small
// changes a second. It may not come before the first Publish.
func (l *Lane) Change(set []Route, gone []netip.Prefix) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return errClosed
	case !l.attached:
		return errors.New("express: Change before Publish: the lane knows no routes that could be changed")
	}
	for _, r := range set {
		if err := r.check(); err != nil {
			return err
		}
		if err := l.table.set(r); err != nil {
			return err
		}
	}
	for _, subnet := range gone {
		if err := l.table.remove(subnet); err != nil {
			return err
		}
	}
	return nil
}

// attach puts both programs where packets pass, ingress first: a peer that hears from us may answer. It replaces
// those of an earlier agent in place, without a packet between.
func (l *Lane) attach() error {
	if l.attached {
		return nil
	}
	for i := len(l.hooks) - 1; i >= 0; i-- {
		if err := l.hooks[i].attach(); err != nil {
			return err
		}
	}
	l.attached = true
	l.tendSuperpackets()
	return l.pins.keep(countsPin, l.objects.Counts)
}

// tendSuperpackets has incoming ones go round while that works, and outgoing ones by the forwarder while the
// underlay would cut them; offloads can be switched at any time.
func (l *Lane) tendSuperpackets() {
	l.detour.check()
	l.table.follow(l.detour.device(), l.config.cuts())
}

// Detour reports why superpackets keep the kernel's mark that they are encapsulated, by which a bridge behind the TUN
// has them cut: the remedy is in it. nil: they lose it. Nothing else depends on it. Check keeps it up to date.
func (l *Lane) Detour() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.detour.err
}

// Check looks after the lane; call it about once a second. It reports whether both programs still are where packets
// pass: where somebody has taken one away it is attached again and the error says so, since packets have gone
// through userspace meanwhile. And it keeps the kernel's neighbour entries fresh. nil before the first Publish.
func (l *Lane) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if !l.attached {
		return nil
	}
	var all error
	for _, h := range l.hooks {
		if err := h.check(); err != nil {
			all = errors.Join(all, err, h.attach())
		} else if h.overtaken() {
			all = errors.Join(all, h.attach())
		}
	}
	l.tendSuperpackets()
	return errors.Join(all, l.tend())
}

// Pinned reports why nothing of the lane can be pinned; nil: it is. A lane without pins outlives its agent all the
// same, by filters that need none, but the next one's counters begin anew.
func (l *Lane) Pinned() error { return l.pins.err }

// Counters returns the counts so far.
func (l *Lane) Counters() (Counters, error) {
	all, err := tallies(l.objects.Counts)
	return sum(all), err
}

// tallies reads every processor's counts.
func tallies(counts *ebpf.Map) (all []laneTally, err error) {
	var key uint32
	if err := counts.Lookup(&key, &all); err != nil {
		return nil, fmt.Errorf("express: reading counters: %w", err)
	}
	return all, nil
}

// Close gives the lane up. With detach the programs and the pins go, and packets go through userspace again.
// Without, they stay and forward with the routes they have, until the next lane on the device takes
// over, as after a crash. Closing twice is harmless.
func (l *Lane) Close(detach bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	for _, h := range l.hooks {
		err = errors.Join(err, h.close(detach && l.attached))
	}
	if detach && l.attached {
		// Nothing is sent round any more; what still is on its way comes back before its device goes.
		err = errors.Join(err, l.store.Settle(), removeDetour(l.config.Device), l.pins.remove())
	}
	if l.detour.hook != nil {
		err = errors.Join(err, l.detour.hook.close(false))
	}
	return errors.Join(err, l.store.close(), l.objects.Close())
}

// load puts the programs into the kernel, with a map of counters that an earlier lane left.
func load(objects *laneObjects, set laneSettings, room uint32, p pins) error {
	spec, err := loadLane()
	if err != nil {
		return fmt.Errorf("express: reading programs: %w", err)
	}
	if err := spec.Variables[laneVarSet].Set(set); err != nil {
		return fmt.Errorf("express: setting up programs: %w", err)
	}
	spec.Maps[laneMapBySubnet].MaxEntries = max(set.Subnets, 1)
	spec.Maps[laneMapHops].MaxEntries = room
	options := &ebpf.CollectionOptions{}
	if counts := p.counts(spec.Maps[laneMapCounts]); counts != nil {
		defer counts.Close()
		options.MapReplacements = map[string]*ebpf.Map{laneMapCounts: counts}
	}
	if err := spec.LoadAndAssign(objects, options); err != nil {
		return refused("loading programs", err)
	}
	return nil
}
