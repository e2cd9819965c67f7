package tunnel_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// The queue and conn of this kernel must have every rung that probing finds, and nothing may be left.
func TestProbeAgreesWithQueueAndConn(t *testing.T) {
	tunneltest.NewNamespace(t).Do(t, func() error {
		loopback, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(loopback); err != nil {
			return err
		}
		rungs, err := tunnel.Probe(tunnel.Modes{})
		if err != nil {
			return err
		}
		queues, err := openFast(t, tunnel.QueueOptions{Queues: 2})
		if err != nil {
			return err
		}
		q, c := queues[0].Offloads(), listenFast(t, addrLoopback, tunnel.Modes{}).Offloads()
		outlets, outletErr := tunnel.OpenOutlets("weftout%d", "lo", 1)
		if outletErr == nil {
			defer outlets[0].Close()
		}
		want := map[string]bool{
			"udp-tunnel-gso": outletErr == nil,
			"tso":            q.TSO, "uso": q.USO, "gso": c.GSO, "gro": c.GRO, "multi-queue": q.MultiQueue, "batch": c.Batch,
		}
		for _, r := range rungs {
			if r.On != want[r.Name] {
				t.Errorf("%s: probing says on %v (%s), opening %v", r.Name, r.On, r.Why, want[r.Name])
			}
		}
		if len(rungs) != len(want) {
			t.Errorf("%d rungs, want %d", len(rungs), len(want))
		}
		links, err := netlink.LinkList()
		for _, link := range links {
			if strings.HasPrefix(link.Attrs().Name, "weftprobe") {
				t.Errorf("probing left %s behind", link.Attrs().Name)
			}
		}
		return err
	})
}

func TestProbeTriesNothingThatIsOff(t *testing.T) {
	off := tunnel.Modes{
		TSO: tunnel.Off, USO: tunnel.Off, GSO: tunnel.Off, GRO: tunnel.Off, MultiQueue: tunnel.Off, Batch: tunnel.Off,
		TunnelGSO: tunnel.Off,
	}
	tunneltest.NewNamespace(t).Do(t, func() error {
		rungs, err := tunnel.Probe(off)
		for _, r := range rungs {
			if r.On || !strings.Contains(r.Why, "--offload-"+r.Name) {
				t.Errorf("%+v, want it off with its flag named", r)
			}
		}
		return err
	})
}
