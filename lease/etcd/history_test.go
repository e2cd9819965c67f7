package etcd

import (
	"errors"
	"fmt"
	"testing"

	"weft/lease"
)

func TestConfigHistory(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	config := func(i int) string {
		return fmt.Sprintf(`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":%d}}`, 9000+i)
	}
	for i := range 4 {
		w.put(DefaultPrefix+"/config", config(i))
		w.acquire(lease.Request{Attrs: attrs(fmt.Sprintf("192.0.2.%d", i+1))}) // revisions between
	}
	h, err := s.ConfigHistory(t.Context(), 100)
	if err != nil || len(h.Revisions) != 5 || !h.Created || h.Compacted != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	for i, r := range h.Revisions {
		want := `{"Network":"10.5.0.0/16"}`
		if i < 4 {
			want = config(3 - i)
		}
		at, err := s.ConfigAt(t.Context(), r.Revision)
		if string(r.Raw) != want || err != nil || string(at.Raw) != want || at.Revision != r.Revision {
			t.Errorf("revision %d: %s; asked for by its number: %s, %v", r.Revision, r.Raw, at.Raw, err)
		}
	}
	// Between two changes the older one is in force.
	if at, err := s.ConfigAt(t.Context(), h.Revisions[0].Revision-1); err != nil || at.Revision != h.Revisions[1].Revision {
		t.Errorf("just before: %+v, %v", at, err)
	}
	if h, err := s.ConfigHistory(t.Context(), 2); err != nil || len(h.Revisions) != 2 || h.Created || h.Compacted != 0 {
		t.Errorf("limited: %+v, %v", h, err)
	}
	if _, err := s.ConfigAt(t.Context(), h.Revisions[4].Revision-1); err == nil || errors.Is(err, ErrCompacted) {
		t.Errorf("before the first: %v", err)
	}
	if _, err := s.ConfigAt(t.Context(), 1<<40); !errors.Is(err, ErrFuture) {
		t.Errorf("in the future: %v", err)
	}
}

// TestConfigHistoryAfterCompaction: what was in force at the compaction is still there, and no more.
func TestConfigHistoryAfterCompaction(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	for i := range 4 {
		w.put(DefaultPrefix+"/config", fmt.Sprintf(`{"Network":"10.%d.0.0/16"}`, 6+i))
	}
	whole, err := s.ConfigHistory(t.Context(), 100)
	if err != nil || len(whole.Revisions) != 5 {
		t.Fatalf("%+v, %v", whole, err)
	}
	at := whole.Revisions[2].Revision
	if _, err := w.admin.Compact(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	h, err := s.ConfigHistory(t.Context(), 100)
	if err != nil || len(h.Revisions) != 3 || h.Created || h.Compacted != at {
		t.Errorf("compacted at %d: %+v, %v", at, h, err)
	}
	if _, err := s.ConfigAt(t.Context(), at-1); !errors.Is(err, ErrCompacted) {
		t.Errorf("before the compaction: %v", err)
	}
	if _, err := w.admin.Delete(t.Context(), DefaultPrefix+"/config"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ConfigHistory(t.Context(), 100); !errors.Is(err, lease.ErrNoConfig) {
		t.Errorf("after it was deleted: %v", err)
	}
	w.put(DefaultPrefix+"/config", `{"Network":"10.5.0.0/16"}`)
	if h, err := s.ConfigHistory(t.Context(), 100); err != nil || len(h.Revisions) != 1 || !h.Created {
		t.Errorf("written again: %+v, %v", h, err)
	}
}
