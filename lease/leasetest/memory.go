package leasetest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"weft/lease"
)

// A Memory is a store in memory, for tests that want to break it or to run in a bubble of
// testing/synctest. It passes the suite as the real ones do. Open makes handles on it.
type Memory struct {
	mu       sync.Mutex
	revision int64
	config   []byte
	records  map[string]memoryRecord
	down     error
	changed  *lease.Mailbox[int64]
	ttl      time.Duration
	calls    int
}

type memoryRecord struct {
	value    []byte
	created  int64
	revision int64
	holder   int64 // revision of the Acquire that it hangs on; 0: a reservation
	expiry   time.Time
}

// NewMemory returns an empty store whose leases live for ttl.
func NewMemory(ttl time.Duration) *Memory {
	return &Memory{records: map[string]memoryRecord{}, changed: lease.NewMailbox[int64](), ttl: ttl}
}

// SetDown makes every request and watch fail with err, wrapped in ErrUnavailable, until it is nil.
func (m *Memory) SetDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
	m.changed.Put(m.revision)
}

// Calls counts the requests so far, watches included.
func (m *Memory) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// SetConfig writes the config, valid or not; nil deletes it.
func (m *Memory) SetConfig(config []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config = config
	m.touch()
}

// SetCreated puts a record that looks as old as the given revision, which no real store can do, but
// which another host's changed config can bring about.
func (m *Memory) SetCreated(name string, created int64, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch()
	m.records[name] = memoryRecord{value: []byte(value), created: created, revision: m.revision}
}

// Put writes a record that hangs on nothing: a reservation, or junk.
func (m *Memory) Put(name, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[name]
	m.touch()
	if r.created == 0 {
		r.created = m.revision
	}
	m.records[name] = memoryRecord{value: []byte(value), created: r.created, revision: m.revision}
}

// Delete removes a record.
func (m *Memory) Delete(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, name)
	m.touch()
}

func (m *Memory) touch() {
	m.revision++
	m.changed.Put(m.revision)
}

// begin counts a call and drops what has expired. The caller holds the lock.
func (m *Memory) begin(ctx context.Context) error {
	m.calls++
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if m.down != nil {
		return fmt.Errorf("%w: %w", lease.ErrUnavailable, m.down)
	}
	for name, r := range m.records {
		if !r.expiry.IsZero() && !time.Now().Before(r.expiry) {
			delete(m.records, name)
			m.touch()
		}
	}
	return nil
}

func (m *Memory) parsed() (lease.Config, error) {
	if m.config == nil {
		return lease.Config{}, lease.ErrNoConfig
	}
	return lease.ParseConfig(m.config)
}

func (m *Memory) entries() []lease.Entry {
	var entries []lease.Entry
	for name, r := range m.records {
		e := lease.Decode(name, name, r.value)
		e.Created = r.created
		if e.Fault == nil {
			r.fill(&e.Lease, name)
		}
		entries = append(entries, e)
	}
	return entries
}

func (r memoryRecord) fill(l *lease.Lease, name string) {
	l.Revision, l.Expiry, l.Reserved = r.revision, r.expiry, r.holder == 0
	l.Token = strconv.FormatInt(r.holder, 10) + " " + name
}

// Config implements lease.Store.
func (m *Memory) Config(ctx context.Context) (lease.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return lease.Config{}, err
	}
	return m.parsed()
}

// Acquire implements lease.Store.
func (m *Memory) Acquire(ctx context.Context, r lease.Request) (lease.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return lease.Lease{}, err
	}
	cfg, err := m.parsed()
	if err != nil {
		return lease.Lease{}, err
	}
	value, err := lease.EncodeValue(r.Attrs)
	if err != nil {
		return lease.Lease{}, err
	}
	plan := cfg.PlanFor(r, m.entries())
	if plan.Keep != "" {
		return m.write(plan.Keep, value, m.records[plan.Keep].holder == 0), nil
	}
	for s := range plan.Candidates(lease.Candidates) {
		for _, old := range plan.Replace {
			delete(m.records, old)
		}
		return m.write(lease.Key(s), value, false), nil
	}
	return lease.Lease{}, lease.ErrExhausted
}

func (m *Memory) write(name string, value []byte, reserved bool) lease.Lease {
	created := m.records[name].created
	m.touch()
	if created == 0 {
		created = m.revision
	}
	r := memoryRecord{value: value, created: created, revision: m.revision}
	if !reserved {
		r.holder, r.expiry = m.revision, time.Now().Add(m.ttl)
	}
	m.records[name] = r
	l := lease.Decode(name, name, value).Lease
	r.fill(&l, name)
	return l
}

// held returns the record of l, if it still is its holder's.
func (m *Memory) held(l lease.Lease) (name string, r memoryRecord, err error) {
	var holder int64
	if _, err := fmt.Sscan(l.Token, &holder, &name); err != nil {
		return "", r, fmt.Errorf("token %q: %w", l.Token, err)
	}
	r, ok := m.records[name]
	if !ok {
		return name, r, lease.ErrLost
	}
	attrs, err := lease.DecodeValue(r.value)
	if r.holder != 0 && r.holder == holder {
		return name, r, nil
	}
	if r.holder != 0 || err != nil || !lease.SameHost(attrs, l.Attrs, 0) {
		return name, r, lease.ErrLost
	}
	return name, r, nil
}

// Renew implements lease.Store.
func (m *Memory) Renew(ctx context.Context, l lease.Lease) (lease.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return l, err
	}
	name, r, err := m.held(l)
	if err != nil {
		return l, err
	}
	value, err := lease.EncodeValue(l.Attrs)
	if err != nil {
		return l, err
	}
	if string(value) != string(r.value) {
		m.touch()
		r.value, r.revision = value, m.revision
	}
	if r.holder != 0 {
		r.expiry = time.Now().Add(m.ttl)
	}
	m.records[name] = r
	r.fill(&l, name)
	return l, nil
}

// Release implements lease.Store.
func (m *Memory) Release(ctx context.Context, l lease.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return err
	}
	name, r, err := m.held(l)
	if name != "" && r.created == 0 {
		return nil
	}
	if err == nil && r.holder != 0 {
		delete(m.records, name)
		m.touch()
	}
	return err
}

// Watch implements lease.Store.
func (m *Memory) Watch(ctx context.Context, yield func(*lease.Snapshot)) error {
	for seen, last := uint64(0), int64(-1); ; {
		m.mu.Lock()
		err := m.begin(ctx)
		_, seen = m.changed.Latest()
		cfg, cfgErr := m.parsed()
		s := lease.Assemble(m.revision, cfg, cfgErr, m.entries())
		m.mu.Unlock()
		if err != nil {
			return err
		}
		if s.Revision > last {
			last = s.Revision
			yield(s)
		}
		if _, _, err := m.changed.Next(ctx, seen); err != nil {
			return err
		}
	}
}

var _ lease.Store = (*Memory)(nil)
