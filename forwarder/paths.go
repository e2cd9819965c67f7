package forwarder

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// Bytes in front of the inner packet: outer IP and UDP header, and what the encapsulation adds.
const (
	outerHeaders4 = 20 + 8
	outerHeaders6 = 40 + 8
)

// Path MTUs are forgotten after a while, so that a path that recovered is used in full again; the next
// packet that is too big teaches the lower one anew. RFC 1191 6.3 asks for 10 minutes.
const (
	pathLifetime = 10 * time.Minute
	pathCheck    = 30 * time.Second
)

// paths remembers when hops got a lower path MTU. Its lock is off the packets' way.
type paths struct {
	mu      sync.Mutex
	lowered map[*routes.Hop]time.Time
}

// A pathAsker is a conn that can ask the kernel what it believes about a path.
type pathAsker interface {
	PathMTU(peer netip.AddrPort) (bytes int, err error)
}

// lower records that a datagram of size bytes (UDP payload) to the hop was over the path MTU, and
// returns the largest inner packet that fits now.
func (p *paths) lower(conn tunnel.Conn, hop *routes.Hop, size int) (mtu int) {
	outer := outerHeaders(hop)
	mtu = plateau(size+outer) - outer
	if asker, ok := conn.(pathAsker); ok {
		if known, err := asker.PathMTU(hop.Outer); err == nil && known-outer < size {
			mtu = known - outer
		}
	}
	mtu = max(mtu, minPathMTU-outer)
	if now := hop.MTU(); now != 0 && now < mtu {
		mtu = now // another worker knew already
	}
	hop.SetMTU(mtu)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lowered == nil {
		p.lowered = make(map[*routes.Hop]time.Time)
	}
	p.lowered[hop] = time.Now()
	return mtu
}

// forget lets hops try their full MTU again after pathLifetime. It runs until ctx ends.
func (p *paths) forget(ctx context.Context) error {
	tick := time.NewTicker(pathCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.forgetBefore(now.Add(-pathLifetime))
		}
	}
}

func (p *paths) forgetBefore(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for hop, since := range p.lowered {
		if !since.After(t) {
			hop.SetMTU(0)
			delete(p.lowered, hop)
		}
	}
}

func outerHeaders(hop *routes.Hop) int {
	if hop.Outer.Addr().Is4() {
		return outerHeaders4
	}
	return outerHeaders6
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
