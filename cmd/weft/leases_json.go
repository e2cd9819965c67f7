package main

import (
	"encoding/json"
	"net/netip"
	"time"

	"weft/lease"
)

// leasesDocument is what `weft leases --json` prints.
type leasesDocument struct {
	Revision int64             `json:"revision"`
	Config   string            `json:"configError,omitempty"` // why ranges weren't checked
	Total    uint64            `json:"subnetsTotal"`
	Leases   []leaseDocument   `json:"leases,omitzero"` // left out with --problems
	Problems []problemDocument `json:"problems"`
}

type leaseDocument struct {
	Subnet        netip.Prefix    `json:"subnet,omitzero"`
	Subnet6       netip.Prefix    `json:"subnet6,omitzero"`
	PublicIP      netip.Addr      `json:"publicIP,omitzero"`
	PublicIPv6    netip.Addr      `json:"publicIPv6,omitzero"`
	BackendType   string          `json:"backendType,omitempty"`
	BackendData   json.RawMessage `json:"backendData,omitempty"`
	BackendV6Data json.RawMessage `json:"backendV6Data,omitempty"`
	Weft          *weftDocument   `json:"weft,omitempty"`
	Reserved      bool            `json:"reserved"`
	ThisHost      bool            `json:"thisHost"`
	Expiry        time.Time       `json:"expiry,omitzero"`  // absent: never, or not asked for
	Renewed       time.Time       `json:"renewed,omitzero"` // when it last got its whole time
	Revision      int64           `json:"revision"`         // of its last change
}

type weftDocument struct {
	Version int `json:"version"`
	Caps    int `json:"caps"`
	Port    int `json:"port,omitempty"`
}

type problemDocument struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Remove string `json:"remove"` // the command that removes the record
}

func (v *view) document(o leasesOptions) leasesDocument {
	s := v.snapshot
	d := leasesDocument{Revision: s.Revision, Problems: []problemDocument{}}
	if s.ConfigErr != nil {
		d.Config = s.ConfigErr.Error()
	} else {
		d.Total = s.Config.Capacity()
	}
	if !o.problems {
		d.Leases = make([]leaseDocument, 0, len(s.Leases))
		for _, l := range s.Leases {
			d.Leases = append(d.Leases, v.leaseDocument(l))
		}
	}
	for _, p := range s.Problems {
		d.Problems = append(d.Problems, documentOf(p))
	}
	return d
}

func (v *view) leaseDocument(l lease.Lease) leaseDocument {
	t := v.timings[l.Token]
	d := leaseDocument{
		Subnet: l.Subnet, Subnet6: l.Subnet6, PublicIP: l.Attrs.PublicIP, PublicIPv6: l.Attrs.PublicIPv6,
		BackendType: backendOf(l, v.snapshot.Config), BackendData: l.Attrs.BackendData, BackendV6Data: l.Attrs.BackendV6Data,
		Reserved: l.Reserved, ThisHost: v.here(l.Attrs), Revision: l.Revision,
		// etcd counts in seconds: fractions would only look exact.
		Expiry: t.Expiry.Truncate(time.Second), Renewed: t.Renewed.Truncate(time.Second),
	}
	if w, ok := l.Attrs.Weft(); ok {
		d.Weft = &weftDocument{w.Version, w.Caps, w.Port}
	}
	return d
}

func documentOf(p lease.Problem) problemDocument {
	return problemDocument{Key: p.Key, Reason: p.Reason, Detail: p.Detail, Remove: remedyOf(p)}
}
