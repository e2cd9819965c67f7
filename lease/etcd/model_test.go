package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"weft/lease"
	"weft/lease/leasetest"
)

// The store against a model of itself, over a real server: what a map of records says must happen
// is what happens. Agents, clocks and partitions are the business of the model in package lease.

// A modelRecord is what the model has of one key.
type modelRecord struct {
	host   int // -1: junk
	tenure int // which Acquire it hangs on; 0: a reservation
}

type model struct {
	t       *rapid.T
	ctx     context.Context
	store   *Store
	admin   *clientv3.Client
	records map[string]modelRecord
	leases  map[int]lease.Lease // the latest of each host
	tenures map[int]int
	count   int
}

const (
	modelHosts   = 4
	modelSubnets = 3
	modelConfig  = `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.3.0"}`
)

func modelName(i int) string { return fmt.Sprintf("10.5.%d.0-24", i) }

func modelAttrs(host int) lease.Attrs { return attrs(fmt.Sprintf("192.0.2.%d", host+1)) }

// own returns the key of the record that names the host, the older first; none if there is none.
func (m *model) own(host int) (string, bool) {
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name, r := range m.records {
			if r.host == host && !yield(name) {
				return
			}
		}
	}) {
		return name, true
	}
	return "", false
}

func (m *model) acquire(host int) {
	l, err := m.store.Acquire(m.ctx, lease.Request{Attrs: modelAttrs(host)})
	name, had := m.own(host)
	switch {
	case had && (err != nil || lease.Key(l.Subnets()) != name):
		m.t.Fatalf("host %d had %s, got %s, %v", host, name, l.Subnets(), err)
	case !had && len(m.records) == modelSubnets:
		if !errors.Is(err, lease.ErrExhausted) {
			m.t.Fatalf("nothing is free, got %s, %v", l.Subnets(), err)
		}
		return
	case err != nil:
		m.t.Fatalf("acquiring for host %d with %v: %v", host, m.records, err)
	}
	name = lease.Key(l.Subnets())
	if r, taken := m.records[name]; taken && r.host != host {
		m.t.Fatalf("host %d got %s, which is %+v", host, name, r)
	}
	reserved := had && m.records[name].tenure == 0
	if l.Reserved != reserved {
		m.t.Fatalf("%s: reserved %v, want %v", name, l.Reserved, reserved)
	}
	m.leases[host] = l
	m.count++
	m.tenures[host] = m.count
	if reserved {
		m.tenures[host] = 0
	}
	m.records[name] = modelRecord{host: host, tenure: m.tenures[host]}
}

// holds reports whether the host's latest lease still is its own.
func (m *model) holds(host int) (name string, ok bool) {
	name = lease.Key(m.leases[host].Subnets())
	r, there := m.records[name]
	return name, there && r.host == host && (r.tenure == m.tenures[host] || r.tenure == 0)
}

func (m *model) renew(host int) {
	if _, any := m.leases[host]; !any {
		return
	}
	name, ok := m.holds(host)
	l, err := m.store.Renew(m.ctx, m.leases[host])
	if (err == nil) != ok || (err != nil && !errors.Is(err, lease.ErrLost)) {
		m.t.Fatalf("renewing %s of host %d: %v; the store has %+v", name, host, err, m.records[name])
	}
	if ok {
		m.leases[host] = l
		m.tenures[host] = m.records[name].tenure
	}
}

func (m *model) release(host int) {
	if _, any := m.leases[host]; !any {
		return
	}
	name, ok := m.holds(host)
	r, there := m.records[name]
	err := m.store.Release(m.ctx, m.leases[host])
	switch lost := errors.Is(err, lease.ErrLost); {
	case ok && r.tenure != 0 && err == nil:
		delete(m.records, name)
	case ok && err == nil, !there && err == nil, there && !ok && lost:
	default:
		m.t.Fatalf("releasing %s of host %d: %v; the store has %+v", name, host, err, r)
	}
}

// meddle does to a record what an operator, an accident or its expiry does.
func (m *model) meddle(what, name string, host int) {
	key := m.store.keys.folder(false) + name
	var err error
	switch what {
	case "delete":
		_, err = m.admin.Delete(m.ctx, key)
		delete(m.records, name)
	case "junk":
		_, err = m.admin.Put(m.ctx, key, "{")
		m.records[name] = modelRecord{host: -1}
	case "reserve":
		if _, has := m.own(host); has {
			return // two records of one host are another test's
		}
		value, _ := lease.EncodeValue(modelAttrs(host))
		_, err = m.admin.Put(m.ctx, key, string(value))
		m.records[name] = modelRecord{host: host}
	case "expire":
		var resp *clientv3.GetResponse
		if resp, err = m.admin.Get(m.ctx, key); err == nil && len(resp.Kvs) == 1 && resp.Kvs[0].Lease != 0 {
			_, err = m.admin.Revoke(m.ctx, clientv3.LeaseID(resp.Kvs[0].Lease))
			delete(m.records, name)
		}
	case "compact":
		var resp *clientv3.GetResponse
		if resp, err = m.admin.Get(m.ctx, key); err == nil {
			_, err = m.admin.Compact(m.ctx, resp.Header.Revision)
		}
		if err != nil && code(err).String() == "OutOfRange" { // compacted to here already
			err = nil
		}
	}
	if err != nil {
		m.t.Fatalf("%s %s: %v", what, name, err)
	}
}

// compare waits until a follower that was there from the start shows what the model has.
func (m *model) compare(f *lease.Follower) {
	want := map[string]string{}
	for name, r := range m.records {
		want[name] = lease.BadJSON
		if r.host >= 0 {
			want[name] = modelAttrs(r.host).PublicIP.String()
		}
	}
	ctx, cancel := context.WithTimeout(m.ctx, 20*time.Second)
	defer cancel()
	for version := uint64(0); ; {
		s, next, err := f.Snapshots().Next(ctx, version)
		if err != nil {
			last, _ := f.Snapshots().Latest()
			m.t.Fatalf("the follower shows %+v, the model %v", last, want)
		}
		got := map[string]string{}
		for _, l := range s.Leases {
			got[lease.Key(l.Subnets())] = l.Attrs.PublicIP.String()
		}
		for _, p := range s.Problems {
			got[p.Key[len(m.store.keys.folder(false)):]] = p.Reason
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		version = next
	}
}

func TestStoreAgainstAModel(t *testing.T) {
	t.Parallel()
	o := Options{Endpoints: []string{leasetest.Etcd(t)}}
	c := admin(t, o)
	rapid.Check(t, func(rt *rapid.T) {
		o := o
		o.Prefix = fmt.Sprintf("/weft-test/%d/network", networks.Add(1))
		s, err := New(o)
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		if err := s.SetConfig(t.Context(), []byte(modelConfig)); err != nil {
			rt.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f := lease.NewFollower(s, nil)
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		defer func() { cancel(); <-done }()
		m := &model{t: rt, ctx: t.Context(), store: s, admin: c, records: map[string]modelRecord{},
			leases: map[int]lease.Lease{}, tenures: map[int]int{}}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			host := rapid.IntRange(0, modelHosts-1).Draw(rt, "host")
			name := modelName(rapid.IntRange(1, modelSubnets).Draw(rt, "subnet"))
			switch what := rapid.SampledFrom([]string{"acquire", "acquire", "renew", "release", "delete", "junk",
				"reserve", "expire", "compact"}).Draw(rt, "what"); what {
			case "acquire":
				m.acquire(host)
			case "renew":
				m.renew(host)
			case "release":
				m.release(host)
			default:
				m.meddle(what, name, host)
			}
		}
		m.compare(f)
	})
}
