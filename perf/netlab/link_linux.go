package netlab

import (
	"errors"
	"fmt"
)

// A Link is the cable between a host's eth0 and the underlay. In a Direct lab both hosts have one, and
// they are two views of the same veth pair.
type Link struct {
	lab    *Lab
	host   *Namespace
	far    *Namespace // where the other end is: the underlay, or the other host of a Direct lab
	port   string     // the other end
	bridge string     // what the other end is plugged into; empty in a Direct lab
	routed bool       // the bridge is a router's interface

	mtu   int
	real  bool   // packets are segmented
	cut   bool   // by Cut
	relay *relay // carries the packets while the link is impaired
}

// await waits until both ends, and the bridge, carry packets.
func (k *Link) await() error {
	far := []string{k.port}
	if k.bridge != "" {
		far = append(far, k.bridge)
	}
	if err := k.host.Do(func() error { return awaitCarrier(hostDevice) }); err != nil {
		return err
	}
	return k.far.Do(func() error { return awaitCarrier(far...) })
}

// Cut makes the link lose everything, both ways, silently: the host still has carrier, as with a
// failure further away. A Direct link can't be cut.
func (k *Link) Cut() error { return k.setCut(true) }

// Restore undoes Cut.
func (k *Link) Restore() error { return k.setCut(false) }

// setCut remembers the state, so that a link that is impaired or mended meanwhile stays cut.
func (k *Link) setCut(cut bool) error {
	if k.bridge == "" {
		return errors.New("cutting a link: " + nothingBetween)
	}
	k.lab.mu.Lock()
	defer k.lab.mu.Unlock()
	k.cut = cut
	return k.far.Do(k.connect)
}

// nothingBetween is why a Direct link can be neither cut nor impaired.
const nothingBetween = "a Direct lab has nothing between its hosts: build it Bridged or Routed"

// connect plugs the far end in, or takes it out, as the link's state says. It runs in the far
// namespace.
func (k *Link) connect() error {
	if k.cut {
		return setMaster(k.attached(), "")
	}
	return setMaster(k.attached(), k.bridge)
}

// attached is the device that is plugged into the bridge.
func (k *Link) attached() string {
	if k.relay != nil {
		return k.relay.name
	}
	return k.port
}

// SetMTU sets the MTU of both ends, live: the host knows at once.
func (k *Link) SetMTU(mtu int) error {
	if err := checkMTU(mtu); err != nil {
		return err
	}
	k.lab.mu.Lock()
	defer k.lab.mu.Unlock()
	k.mtu = mtu
	if err := k.host.Do(func() error { return setMTU(hostDevice, mtu) }); err != nil {
		return err
	}
	return k.far.Do(func() error { return k.setFarMTU(mtu) })
}

// SetPathMTU changes the MTU beyond the host's own device, which the host has to find out. In a
// Routed lab the router answers packets towards the host that are too big with an ICMP error (set it on
// both hosts' links for both directions). In the others such packets vanish, both ways, as in a
// network that filters ICMP; there, superpackets pass unless segmentation is real.
func (k *Link) SetPathMTU(mtu int) error {
	if err := checkMTU(mtu); err != nil {
		return err
	}
	k.lab.mu.Lock()
	defer k.lab.mu.Unlock()
	return k.far.Do(func() error {
		if k.routed {
			return setMTU(k.bridge, mtu)
		}
		return k.setFarMTU(mtu)
	})
}

// setFarMTU sets all that makes up the far end. It runs in the far namespace.
func (k *Link) setFarMTU(mtu int) error {
	err := setMTU(k.port, mtu)
	if k.relay != nil {
		err = errors.Join(err, setMTU(k.relay.name, mtu))
	}
	if k.routed {
		err = errors.Join(err, setMTU(k.bridge, mtu))
	}
	return err
}

// SetSegmentation chooses what crosses the link. With real segmentation every packet is at most one
// MTU, as on a wire: both ends segment before they send, and merge with GRO what they
// receive. Without, the veth hands superpackets over whole, as between containers of one machine.
func (k *Link) SetSegmentation(real bool) error {
	k.lab.mu.Lock()
	defer k.lab.mu.Unlock()
	if k.relay != nil && !real {
		return fmt.Errorf("switching segmentation off: the link is impaired, which needs it")
	}
	k.real = real
	return k.setOffloads()
}

// setOffloads sets both ends. An impaired link's far end must not merge: its packets are what the
// relay loses and delays.
func (k *Link) setOffloads() error {
	near := k.host.Do(func() error { return setOffloads(hostDevice, !k.real, k.real) })
	far := k.far.Do(func() error { return setOffloads(k.port, !k.real, k.real && k.relay == nil) })
	return errors.Join(near, far)
}

// Impair makes the link treat packets as i says from now on, both ways, by carrying them through
// this process; it switches real segmentation on and leaves it on. The zero Impairment lifts it.
// A Direct link can't be impaired.
func (k *Link) Impair(i Impairment) error {
	if err := i.check(); err != nil {
		return err
	}
	if k.bridge == "" {
		return errors.New("impairing a link: " + nothingBetween)
	}
	k.lab.mu.Lock()
	defer k.lab.mu.Unlock()
	switch {
	case i == Impairment{}:
		return k.lift()
	case k.relay != nil:
		k.relay.setImpairment(i)
		return nil
	}
	return k.impair(i)
}

// impair moves the port from the bridge to a relay, and the relay's TAP into the bridge.
func (k *Link) impair(i Impairment) error {
	relay, err := openRelay(k.far, k.port, k.mtu)
	if err != nil {
		return fmt.Errorf("impairing the link of %s: %w", k.host.name, err)
	}
	relay.setImpairment(i)
	if err := k.far.Do(func() error { return setMaster(k.port, "") }); err != nil {
		return errors.Join(err, relay.stop())
	}
	k.relay, k.real = relay, true
	relay.start() // after the port has left the bridge: packets must not take both ways
	return errors.Join(k.setOffloads(), k.far.Do(k.connect))
}

// lift puts the port back. The TAP goes with the relay.
func (k *Link) lift() error {
	if k.relay == nil {
		return nil
	}
	return errors.Join(k.stopRelay(), k.setOffloads(), k.far.Do(k.connect))
}

// stopRelay returns when no packet is in flight any more; the link is then plugged in nowhere.
func (k *Link) stopRelay() error {
	if k.relay == nil {
		return nil
	}
	relay := k.relay
	k.relay = nil
	return relay.stop()
}

// Counts tells what the impairment has done so far; zero while the link is not impaired.
func (k *Link) Counts() Counts {
	k.lab.mu.Lock()
	defer k.lab.mu.Unlock()
	if k.relay == nil {
		return Counts{}
	}
	return k.relay.counts()
}
