package lease

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestMailboxHoldsTheLatest(t *testing.T) {
	m := NewMailbox[string]()
	if v, version := m.Latest(); v != "" || version != 0 {
		t.Errorf("a new one holds %q, version %d", v, version)
	}
	m.Put("a")
	m.Put("b")
	v, version, err := m.Next(t.Context(), 0)
	if v != "b" || version != 2 || err != nil {
		t.Errorf("got %q, %d, %v", v, version, err)
	}
	select {
	case <-m.Changed(1):
	default:
		t.Error("a value newer than 1 was there, and Changed waits")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := m.Next(ctx, version); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMailboxNeverLosesTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const last = 10_000
		m := NewMailbox[int]()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for v, version := 0, uint64(0); v != last; {
					before := v
					var err error
					if v, version, err = m.Next(t.Context(), version); err != nil || v <= before {
						t.Errorf("after %d came %d: %v", before, v, err)
						return
					}
				}
			})
		}
		for i := range last {
			m.Put(i + 1)
		}
		readers.Wait()
	})
}
