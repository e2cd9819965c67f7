package etcd

import (
	"errors"
	"testing"
	"time"

	"weft/lease"
)

// resuming is what a store's short way to the previous subnet does.
func resuming(t *testing.T, s *Store, r lease.Request) (lease.Lease, error) {
	t.Helper()
	client, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	value, err := lease.EncodeValue(r.Attrs)
	if err != nil {
		t.Fatal(err)
	}
	a := &acquisition{store: s, client: client, request: r, value: string(value)}
	defer a.abandon(t.Context())
	return a.resume(t.Context())
}

func TestAHostOfALargeNetworkResumesWithoutAList(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	mine, other := w.acquire(req("192.0.2.1")), w.acquire(req("192.0.2.2"))
	s := open(t, w.opts)
	again := req("192.0.2.1")
	again.Previous = mine.Subnet
	if _, err := resuming(t, s, again); !errors.Is(err, errRace) {
		t.Errorf("in a small network: %v", err)
	}
	s.large = 1
	for name, r := range map[string]lease.Request{
		"no previous subnet": req("192.0.2.1"),
		"another's subnet":   {Attrs: attrs("192.0.2.1"), Previous: other.Subnet},
		"another host":       {Attrs: attrs("192.0.2.3"), Previous: mine.Subnet},
	} {
		if l, err := resuming(t, s, r); !errors.Is(err, errRace) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
	l, err := resuming(t, s, again)
	if err != nil || l.Subnet != mine.Subnet || l.Token == mine.Token || l.Expiry.Before(mine.Expiry) {
		t.Errorf("got %+v, %v; had %+v", l, err, mine)
	}
	// It is fenced: who held it before has lost it.
	if _, err := s.Renew(t.Context(), mine); !errors.Is(err, lease.ErrLost) {
		t.Errorf("renewing what was taken over: %v", err)
	}
	if renewed, err := s.Renew(t.Context(), l); err != nil || renewed.Subnet != mine.Subnet {
		t.Errorf("renewing: %v", err)
	}
	// A config that has moved away gives no old subnet again.
	w.put(DefaultPrefix+"/config", `{"Network":"10.6.0.0/16"}`)
	if _, err := resuming(t, s, again); !errors.Is(err, errRace) {
		t.Errorf("outside the config: %v", err)
	}
}

// TestTheWatchGoesOnFromWhatAnAcquisitionListed: in a large network one list serves both, and what came
// in between isn't missed.
func TestTheWatchGoesOnFromWhatAnAcquisitionListed(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	w.acquire(req("192.0.2.1"))
	s := open(t, w.opts)
	s.large = 1
	mine, err := s.Acquire(t.Context(), req("192.0.2.2"))
	if err != nil {
		t.Fatal(err)
	}
	w.acquire(req("192.0.2.3"))
	st, err := s.begin(t.Context())
	if err != nil || st.revision >= mine.Revision {
		t.Fatalf("begins at revision %d with %v; the lease is of %d", st.revision, err, mine.Revision)
	}
	s.keepListed(st)
	wait(t, follow(t, s), func(n *lease.Snapshot) bool { return len(n.Leases) == 3 })
	s.mu.Lock()
	left := s.listed
	s.mu.Unlock()
	if left != nil {
		t.Error("the list is kept for ever")
	}
}

// TestAFollowerWaitsForItsOwnLease: the watch isn't opened before.
func TestAFollowerWaitsForItsOwnLease(t *testing.T) {
	s := &Store{}
	done := s.acquires()
	ended := make(chan error, 1)
	go func() { ended <- s.awaitAcquired(t.Context()) }()
	select {
	case err := <-ended:
		t.Fatalf("it didn't wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	done()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.awaitAcquired(t.Context()); err != nil {
		t.Error(err)
	}
}
