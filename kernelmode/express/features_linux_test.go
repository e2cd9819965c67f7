package express

import (
	"slices"
	"testing"
)

// What cuts is a device that says what it has, and that superpackets need more than that.
func TestUnderlaysThatCut(t *testing.T) {
	some := []string{"rx-gro", "tx-tcp-segmentation"}
	for _, test := range []struct {
		what, underlay string
		features       func(string) []string
		cuts           bool
	}{
		{"all that is needed", "lo", func(string) []string { return wholeFeatures }, false},
		{"less", "lo", func(string) []string { return some }, true},
		{"no answer", "lo", func(string) []string { return nil }, false},
		{"nobody to ask", "lo", nil, false},
		{"no such device", "no-such-device", func(string) []string { return some }, false},
	} {
		c := Config{Underlay: test.underlay, Features: func(device string) []string {
			if device != test.underlay {
				t.Errorf("%s: asked about %s", test.what, device)
			}
			return slices.Clone(test.features(device))
		}}
		if test.features == nil {
			c.Features = nil
		}
		if c.cuts() != test.cuts {
			t.Errorf("%s: cuts %t, want %t", test.what, !test.cuts, test.cuts)
		}
	}
}
