package agent

import (
	"log/slog"
	"slices"
	"testing"

	"weft/tunnel"
)

// What probing finds broken goes off where it was left to probing; an operator's wish stays.
func TestBrokenRungsGoOff(t *testing.T) {
	found := []tunnel.Rung{
		{Name: "gso", Why: "mangled"}, {Name: "gro", Why: "refused"}, {Name: "tso", On: true, Why: "short tails"}, {Name: "new", Why: "unknown here"},
	}
	modes, why := heed(tunnel.Modes{GRO: tunnel.On}, found, slog.New(slog.DiscardHandler))
	if want := (tunnel.Modes{GSO: tunnel.Off, GRO: tunnel.On}); modes != want {
		t.Errorf("modes %+v, want %+v", modes, want)
	}
	if !slices.Equal(why, []string{"gso: mangled"}) {
		t.Errorf("reasons %q", why)
	}
}
