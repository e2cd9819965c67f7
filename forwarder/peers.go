package forwarder

import (
	"net/netip"
	"slices"
	"sync"
	"syscall"
)

// PeerErrors counts how often the kernel refused datagrams to one outer address, by errno.
type PeerErrors struct {
	Outer   netip.AddrPort `json:"outer"`
	Refused uint64         `json:"refused"`        // ECONNREFUSED: nobody listens there
	Denied  uint64         `json:"denied"`         // EPERM: a local firewall drops
	TooBig  uint64         `json:"too_big"`        // EMSGSIZE: over the path MTU
	Full    uint64         `json:"full"`           // ENOBUFS, EAGAIN: the transmit queue stayed full
	Other   uint64         `json:"other"`          // any other
	Last    string         `json:"last,omitempty"` // text of the last of these
}

// peerErrors keeps them. The lock is off the packets' way: only a failed send takes it. There are as
// many entries as peers that ever failed.
type peerErrors struct {
	mu      sync.Mutex
	byOuter map[netip.AddrPort]*PeerErrors
}

func (p *peerErrors) count(outer netip.AddrPort, errno syscall.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byOuter[outer]
	if e == nil {
		if p.byOuter == nil {
			p.byOuter = make(map[netip.AddrPort]*PeerErrors)
		}
		e = &PeerErrors{Outer: outer}
		p.byOuter[outer] = e
	}
	switch errno {
	case syscall.ECONNREFUSED:
		e.Refused++
	case syscall.EPERM:
		e.Denied++
	case syscall.EMSGSIZE:
		e.TooBig++
	case syscall.ENOBUFS, syscall.EAGAIN:
		e.Full++
	default:
		e.Other++
	}
	e.Last = errno.Error()
}

func (p *peerErrors) snapshot() []PeerErrors {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]PeerErrors, 0, len(p.byOuter))
	for _, e := range p.byOuter {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b PeerErrors) int { return a.Outer.Compare(b.Outer) })
	return all
}
