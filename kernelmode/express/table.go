package express

import (
	"errors"
	"fmt"
	"net/netip"
)

// A store is the kernel's memory that packets are routed by. Every method takes effect for the next packet.
type store interface {
	// SetSubnet leads a slot of the index to a hop; 0 is none. A packet sees the old or the new number.
	SetSubnet(slot, hop uint32)
	// SetPrefix leads a prefix of the trie to a hop; 0 takes the prefix out.
	SetPrefix(p netip.Prefix, hop uint32) error
	// SetHop writes a hop that no route leads to.
	SetHop(number uint32, hop laneHop)
	// SetPeer says whether an outer address is some peer's.
	SetPeer(outer netip.Addr, known bool) error
	// Settle returns when every packet that was under way at the call has left the programs.
	Settle() error
}

// A table is what has been published, and the hops' housekeeping. It has one owner at a time.
type table struct {
	store  store
	shape  shape
	routes map[netip.Prefix]Route
	hops   map[laneHop]*numbered
	free   []uint32 // numbers that no packet can hold
	left   []uint32 // numbers whose last route went away: packets under way may still hold them
	next   uint32   // the first number never used
	room   uint32   // how many numbers there are
	outers map[netip.Addr]int
	beside beside
}

// numbered is a hop that routes lead to.
type numbered struct {
	number uint32
	routes int
}

func newTable(s store, sh shape, room uint32) *table {
	return &table{
		store: s, shape: sh, room: room, next: 1, // number 0 means no hop
		routes: map[netip.Prefix]Route{}, hops: map[laneHop]*numbered{}, outers: map[netip.Addr]int{},
	}
}

// publish makes the routes the only ones. Of two for one subnet the later one wins. On an error some routes
// are new and some old, each of them whole; publishing again goes on from there.
func (t *table) publish(routes []Route) error {
	want := make(map[netip.Prefix]Route, len(routes))
	for _, r := range routes {
		if err := r.check(); err != nil {
			return err
		}
		want[r.Subnet] = r
	}
	// Those that go make room for those that come, which matters where hops are few.
	for subnet := range t.routes {
		if _, stays := want[subnet]; !stays {
			if err := t.remove(subnet); err != nil {
				return err
			}
		}
	}
	for _, r := range want {
		if err := t.set(r); err != nil {
			return err
		}
	}
	return nil
}

// set adds a checked route or replaces the one of its subnet.
func (t *table) set(r Route) error {
	old, had := t.routes[r.Subnet]
	// Most of a snapshot is as it was, and an agent publishes it at every change.
	if had && old == r {
		return nil
	}
	number, err := t.hold(r.hop())
	if err != nil {
		return fmt.Errorf("express: adding route to %v via %v: %w", r.Subnet, r.Outer, err)
	}
	// The peer is known before the first packet of its can come, and forgotten after the last.
	if err := t.meet(r.Outer.Addr()); err != nil {
		t.release(r.hop())
		return err
	}
	if err := t.lead(r.Subnet, number); err != nil {
		t.release(r.hop())
		return errors.Join(err, t.forget(r.Outer.Addr()))
	}
	t.routes[r.Subnet] = r
	if had {
		t.release(old.hop())
		return t.forget(old.Outer.Addr())
	}
	return nil
}

// remove takes a subnet's route away; one that isn't there is no error.
func (t *table) remove(subnet netip.Prefix) error {
	old, had := t.routes[subnet]
	if !had {
		return nil
	}
	// The other way round than in set: first nothing leads to the hop, then it may be given up.
	if err := t.lead(subnet, 0); err != nil {
		return err
	}
	delete(t.routes, subnet)
	t.release(old.hop())
	return t.forget(old.Outer.Addr())
}

// lead makes packets to a subnet go to a hop.
func (t *table) lead(subnet netip.Prefix, number uint32) error {
	if slot, ok := t.shape.slot(subnet); ok {
		t.store.SetSubnet(slot, number)
		return nil
	}
	if number != 0 {
		t.widen(subnet)
	}
	if err := t.store.SetPrefix(subnet, number); err != nil {
		return fmt.Errorf("express: routing %v: %w", subnet, err)
	}
	return nil
}

// hold returns the number of a hop, which is written first where no route leads to it yet.
func (t *table) hold(h laneHop) (number uint32, err error) {
	if n := t.hops[h]; n != nil {
		n.routes++
		return n.number, nil
	}
	// Fresh numbers first: every one that is used again costs a wait for packets.
	switch {
	case t.next < t.room:
		number = t.next
		t.next++
	case len(t.free) == 0:
		if err := t.recycle(); err != nil {
			return 0, err
		}
		fallthrough
	default:
		last := len(t.free) - 1
		number, t.free = t.free[last], t.free[:last]
	}
	// Written before any route leads here: this order is what keeps a packet from half a hop.
	t.store.SetHop(number, h)
	t.hops[h] = &numbered{number: number, routes: 1}
	return number, nil
}

// release gives a hop up for one route.
func (t *table) release(h laneHop) {
	n := t.hops[h]
	if n.routes--; n.routes == 0 {
		delete(t.hops, h)
		t.left = append(t.left, n.number)
	}
}

// recycle makes the numbers that were left usable again. Without the wait a packet that has read a number, but
// not the hop yet, would go where another route leads.
func (t *table) recycle() error {
	if len(t.left) == 0 {
		return fmt.Errorf("all %d hops are in use", t.room-1)
	}
	if err := t.store.Settle(); err != nil {
		return fmt.Errorf("waiting for packets under way: %w", err)
	}
	t.free, t.left = append(t.free, t.left...), t.left[:0]
	return nil
}

// meet counts one more route to a peer.
func (t *table) meet(outer netip.Addr) error {
	if t.outers[outer] == 0 {
		if err := t.store.SetPeer(outer, true); err != nil {
			return fmt.Errorf("express: adding peer %v: %w", outer, err)
		}
	}
	t.outers[outer]++
	t.watch(outer)
	return nil
}

// forget counts one route less.
func (t *table) forget(outer netip.Addr) error {
	if t.outers[outer]--; t.outers[outer] > 0 {
		return nil
	}
	delete(t.outers, outer)
	if err := t.store.SetPeer(outer, false); err != nil {
		return fmt.Errorf("express: forgetting peer %v: %w", outer, err)
	}
	return nil
}
