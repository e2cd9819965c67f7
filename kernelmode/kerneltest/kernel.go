package kerneltest

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"weft/kernelmode"
)

// Kernel is a network namespace in memory. Make one with New.
type Kernel struct {
	mu         sync.Mutex
	state      kernelmode.State
	interfaces []kernelmode.Interface
	reach      map[netip.Addr]string
	failDo     func(kernelmode.Op) error
	failRead   func() error
	ops        []kernelmode.Op
	watchers   map[*watcher]struct{}
}

type watcher struct {
	events chan kernelmode.Event
	broken chan error
}

var _ kernelmode.Kernel = (*Kernel)(nil)

// New returns a kernel with no device, both families, and forwarding off.
func New() *Kernel {
	return &Kernel{
		reach:    map[netip.Addr]string{},
		watchers: map[*watcher]struct{}{},
		state: kernelmode.State{Sysctls: []kernelmode.Sysctl{
			{Name: "net/ipv4/ip_forward", Value: "0"},
			{Name: "net/ipv6/conf/all/forwarding", Value: "0"},
		}},
	}
}

// Read implements kernelmode.Kernel.
func (k *Kernel) Read(scope kernelmode.Scope) (kernelmode.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failRead != nil {
		if err := k.failRead(); err != nil {
			return kernelmode.State{}, err
		}
	}
	var in []kernelmode.Object
	for _, o := range k.state.Objects() {
		if within(scope, o) {
			in = append(in, o)
		}
	}
	return kernelmode.State{}.With(in...), nil
}

func within(scope kernelmode.Scope, o kernelmode.Object) bool {
	switch o := o.(type) {
	case kernelmode.Route:
		return o.Protocol == kernelmode.RouteProtocol || slices.Contains(scope.Destinations, o.Dst) || slices.Contains(scope.Own, o.Dev)
	case kernelmode.Sysctl:
		return slices.Contains(scope.Sysctls, o.Name)
	}
	return slices.Contains(scope.Devices, o.Device())
}

// Do implements kernelmode.Kernel. The operation is recorded, whether it fails or not.
func (k *Kernel) Do(op kernelmode.Op) error {
	k.mu.Lock()
	k.ops = append(k.ops, op)
	fail := k.failDo
	k.mu.Unlock()
	if fail != nil {
		if err := fail(op); err != nil {
			return err
		}
	}
	return k.ByHand(op)
}

// Watch implements kernelmode.Kernel.
func (k *Kernel) Watch(ctx context.Context, yield func(kernelmode.Event)) error {
	w := &watcher{events: make(chan kernelmode.Event, 4096), broken: make(chan error, 1)}
	k.mu.Lock()
	k.watchers[w] = struct{}{}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.watchers, w)
		k.mu.Unlock()
	}()
	yield(kernelmode.Event{Kind: kernelmode.EventResync})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.broken:
			return err
		case e := <-w.events:
			yield(e)
		}
	}
}

// Interfaces implements kernelmode.Kernel.
func (k *Kernel) Interfaces() ([]kernelmode.Interface, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.interfaces), nil
}

// Reach implements kernelmode.Kernel.
func (k *Kernel) Reach(ip netip.Addr) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if device, ok := k.reach[ip]; ok {
		return device, nil
	}
	return "", syscall.ENETUNREACH
}

// notify hands an event to every watcher. Its caller holds the lock. A watcher that is 4,096 events
// behind misses some, as with a full socket buffer.
func (k *Kernel) notify(e kernelmode.Event) {
	for w := range k.watchers {
		select {
		case w.events <- e:
		default:
		}
	}
}
