package etcd

import (
	"errors"
	"testing"

	"weft/lease"
)

// A config is replaced where it still is what somebody looked at, and by nothing that agents would refuse.
func TestReplaceConfig(t *testing.T) {
	const first, second, third = `{"Network":"10.5.0.0/16"}`, `{"Network":"10.6.0.0/16"}`, `{"Network":"10.7.0.0/16"}`
	w := newWorld(t, first)
	s := open(t, w.opts)
	_, seen, err := s.ConfigRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReplaceConfig(t.Context(), []byte(`{"Network":"everything"}`), seen); err == nil {
		t.Error("a config that nobody can use was written")
	}
	w.acquire(lease.Request{Attrs: attrs("192.0.2.1")}) // other keys' revisions don't matter
	if err := s.ReplaceConfig(t.Context(), []byte(second), seen); err != nil {
		t.Fatal(err)
	}
	if err := s.ReplaceConfig(t.Context(), []byte(third), seen); !errors.Is(err, ErrChanged) {
		t.Errorf("over a newer config: %v", err)
	}
	if raw, _, err := s.ConfigRaw(t.Context()); err != nil || string(raw) != second {
		t.Errorf("the config is %s, %v", raw, err)
	}
	if err := s.ReplaceConfig(t.Context(), []byte(first), 0); !errors.Is(err, ErrChanged) {
		t.Errorf("as if there were none: %v", err)
	}
}
