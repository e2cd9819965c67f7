package kernelmode_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
	"weft/lease"
)

// many plans a vxlan network of n peers.
func many(t testing.TB, w world, n int) kernelmode.State {
	t.Helper()
	c, err := lease.ParseConfig([]byte(`{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}`))
	must(t, err)
	h := kernelmode.Host{Config: c, MAC: kernelmode.MAC{2, 0, 0, 0, 0, 1}, Snapshot: &lease.Snapshot{}}
	h.Underlay = w.addUnderlay(t, "eth0", "192.0.2.1/24")
	for i := range n + 1 {
		hi, lo := byte(i>>8), byte(i)
		h.Snapshot.Leases = append(h.Snapshot.Leases, lease.Lease{
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, hi + 1, lo, 0}), 24),
			Attrs: lease.Attrs{
				PublicIP: netip.AddrFrom4([4]byte{198, 18 + hi>>7, hi, lo}), BackendType: "vxlan",
				BackendData: json.RawMessage(fmt.Sprintf(`{"VNI":1,"VtepMAC":"02:01:00:00:%02x:%02x"}`, hi, lo)),
			},
		})
	}
	h.Own = h.Snapshot.Leases[0]
	s, problems, err := kernelmode.VXLANPlan(h)
	must(t, err)
	if len(problems) != 0 || len(s.Routes) != n {
		t.Fatalf("%d routes, problems %v", len(s.Routes), problems)
	}
	return s
}

// However many peers there are, a second Apply does nothing, and one that changed is one operation.
func TestApplyThousandsOfPeers(t *testing.T) {
	for _, n := range []int{1000, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newReal(t)
			start := time.Now()
			want := many(t, w, n)
			planned := time.Now()
			_, err := kernelmode.Apply(w, want)
			must(t, err)
			applied := time.Now()
			counted := &counting{Kernel: w}
			installed, err := kernelmode.Apply(counted, want)
			must(t, err)
			t.Logf("%d peers: planned in %v, applied in %v, looked at again in %v", n,
				planned.Sub(start).Round(time.Millisecond), applied.Sub(planned).Round(time.Millisecond), time.Since(applied).Round(time.Millisecond))
			if counted.done != 0 || len(installed.FDB) != n {
				t.Errorf("second Apply did %d operations, %d entries are there", counted.done, len(installed.FDB))
			}
			w.byHand(t, kernelmode.Op{Verb: kernelmode.Delete, Object: want.FDB[n/2]})
			_, err = kernelmode.Apply(counted, want)
			must(t, err)
			if counted.done != 1 {
				t.Errorf("one lost entry took %d operations", counted.done)
			}
		})
	}
}

// counting counts operations.
type counting struct {
	kernelmode.Kernel
	done int
}

func (c *counting) Do(op kernelmode.Op) error { c.done++; return c.Kernel.Do(op) }

func TestApplyKernelPlansTwiceDoesNothing(t *testing.T) {
	for name, config := range map[string]string{"vxlan": dualNetwork, "direct": directNetwork, "host-gw": hostGWNetwork, "ipip": ipipNetwork} {
		t.Run(name, func(t *testing.T) {
			k := memory{kerneltest.New()}
			h := crowd(t, config)
			h.Underlay = k.addUnderlay(t, "eth0", "192.0.2.1/24", "2001:db8::1/64")
			h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 2), neighbour(h.Config, 3))
			want := kernelPlan(t, h)
			_, err := kernelmode.Apply(k, want)
			must(t, err)
			k.Ops()
			_, err = kernelmode.Apply(k, want)
			must(t, err)
			if ops := k.Ops(); len(ops) != 0 {
				t.Errorf("second Apply did %v", ops)
			}
		})
	}
}

func BenchmarkApplyVXLANPlan(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newReal(b)
				want := many(b, w, n)
				b.StartTimer()
				_, err := kernelmode.Apply(w, want)
				must(b, err)
			}
		})
	}
}
