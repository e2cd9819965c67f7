package agent

import (
	"maps"
	"testing"
)

const procNetDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
flannel.1:   2000      20    0    0    0     0          0         0     3000      30    0    0    0     0       0          0
flannel-v6.1:      5       1    0    0    0     0          0         0        7       2    0    0    0     0       0          0
flannel.11: 9 9 9
`

// The kernel's own counts of both families' devices are one.
func TestSumDevices(t *testing.T) {
	got := sumDevices(procNetDev, []string{"flannel.1", "flannel-v6.1"})
	want := map[string]uint64{"ingress_bytes": 2005, "ingress_packets": 21, "egress_bytes": 3007, "egress_packets": 32}
	if !maps.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}
	if got := sumDevices(procNetDev, []string{"flannel.11", "eth9"}); len(got) != 0 {
		t.Errorf("a short line and no line: %v", got)
	}
}

// Whatever the file holds, no device that wasn't named is counted.
func FuzzSumDevices(f *testing.F) {
	f.Add(procNetDev)
	f.Add(":")
	f.Fuzz(func(t *testing.T, text string) {
		if got := sumDevices(text, nil); len(got) != 0 {
			t.Errorf("%q: %v", text, got)
		}
		sumDevices(text, []string{"flannel.1"})
	})
}
