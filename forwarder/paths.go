package forwarder

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// Bytes in front of a datagram's payload: outer IP and UDP header. A raw socket has no UDP header.
const (
	outerHeaders4 = 20 + 8
	outerHeaders6 = 40 + 8
	outerIPIP     = 20
)

// A lowered path MTU doesn't stay. What the kernel knows of a path is followed: it forgets what an ICMP
// has told it after 10 minutes (net.ipv4.route.mtu_expires), and sees at once that an own device
// has grown. What was only guessed is forgotten after pathLifetime, as RFC 1191 6.3 asks; the next
// packet that is too big teaches the lower one anew.
const (
	pathLifetime = 10 * time.Minute
	pathCheck    = 2 * time.Second
)

// paths remembers which hops got a lower path MTU. Its lock is off the packets' way.
type paths struct {
	mu      sync.Mutex
	lowered map[*routes.Hop]lowering
}

// A lowering is what a hop's path MTU was lowered for.
type lowering struct {
	since  time.Time // when last
	before int       // the hop's MTU until then, 0 for none
	asker  pathAsker // who knows the path; nil: the MTU is a guess
}

// A pathAsker is a conn that can ask the kernel what it believes about a path.
type pathAsker interface {
	PathMTU(peer netip.AddrPort) (bytes int, err error)
}

// lower records that a datagram of size bytes (payload of the socket) to the hop was over the path MTU,
// and returns the largest inner packet that fits now.
func (p *paths) lower(conn tunnel.Conn, hop *routes.Hop, size int) (mtu int) {
	size += outerHeaders(hop)
	path := plateau(size)
	asker, _ := conn.(pathAsker)
	if asker != nil {
		if known, err := asker.PathMTU(hop.Outer); err == nil && known < size {
			path = known
		} else {
			asker = nil
		}
	}
	mtu = max(path, minPathMTU) - overhead(hop)
	p.mu.Lock()
	defer p.mu.Unlock()
	l, again := p.lowered[hop]
	now := hop.MTU()
	if !again {
		l.before = now
	}
	if now != 0 && now < mtu {
		mtu = now // another worker knew already
	}
	hop.SetMTU(mtu)
	if p.lowered == nil {
		p.lowered = make(map[*routes.Hop]lowering)
	}
	l.since, l.asker = time.Now(), asker
	p.lowered[hop] = l
	return mtu
}

// forget raises the MTU of hops again whose paths have grown. It runs until ctx ends.
func (p *paths) forget(ctx context.Context) error {
	return every(ctx, pathCheck, p.raise)
}

// raise looks at every lowered hop once. Past its lifetime a hop is no longer followed, since it may
// have left the table long ago.
func (p *paths) raise(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for hop, l := range p.lowered {
		if now.Sub(l.since) >= pathLifetime {
			hop.SetMTU(l.before)
			delete(p.lowered, hop)
			continue
		}
		if l.asker == nil {
			continue
		}
		known, err := l.asker.PathMTU(hop.Outer)
		if err != nil {
			continue // no route at the moment
		}
		mtu := known - overhead(hop)
		if l.before != 0 {
			mtu = min(mtu, l.before)
		}
		if mtu > hop.MTU() {
			hop.SetMTU(mtu)
		}
	}
}

func outerHeaders(hop *routes.Hop) int {
	switch {
	case hop.Encapsulation == routes.EncapIPIP:
		return outerIPIP
	case hop.Outer.Addr().Is4():
		return outerHeaders4
	}
	return outerHeaders6
}

// overhead is what every packet to the hop needs beside itself: see Hop.MTU.
func overhead(hop *routes.Hop) int {
	if hop.Encapsulation == routes.EncapVXLAN {
		return outerHeaders(hop) + tunnel.VXLANHeaderLen
	}
	return outerHeaders(hop)
}

// minPathMTU is the smallest path that is believed (the kernel's min_pmtu is 552): below it a forged
// ICMP would be an attack rather than news.
const minPathMTU = 552

// plateau returns the next smaller MTU that links are known to have (RFC 1191 7.1, with today's), for
// a path whose MTU nobody states.
func plateau(size int) int {
	for _, mtu := range []int{32000, 17914, 9000, 8166, 4352, 2002, 1500, 1492, 1450, 1400, 1280, 1006} {
		if mtu < size {
			return mtu
		}
	}
	return minPathMTU
}
