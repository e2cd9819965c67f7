package agent

import (
	"slices"
	"testing"

	"weft/forwarder"
	"weft/tunnel"
)

// plainQueue is a queue that can't lose anything.
type plainQueue struct{ tunnel.Queue }

// lostQueue is a queue that an error took a rung from.
type lostQueue struct{ tunnel.Queue }

func (lostQueue) LoweredBy() string { return "TSO off: EINVAL" }

func TestLoweredNamesTheDescriptorAndTheError(t *testing.T) {
	if got := lowered(forwarder.Worker{Queue: plainQueue{}}); len(got) != 0 {
		t.Errorf("a queue that lost nothing: %q", got)
	}
	if got := lowered(forwarder.Worker{Queue: lostQueue{}}); !slices.Equal(got, []string{"device: TSO off: EINVAL"}) {
		t.Errorf("lowered = %q", got)
	}
}
