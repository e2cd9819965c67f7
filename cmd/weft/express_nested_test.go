package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
)

// Development environments run containers in containers: the containers of one fabric are the hosts of another. Both
// have lanes, in namespaces of their own, with devices of the same name, and the inner fabric's packets are
// the outer one's load: superpackets that are encapsulated already, which the outer lane leaves to userspace.
func TestLaneInsideALane(t *testing.T) {
	w, containers := newLanes(t, 2, testConfig)
	const inner = `{"Network":"10.6.0.0/16","Backend":{"Type":"udp"}}`
	endpoint := "http://" + netip.AddrPortFrom(containers[0].Addr, 2379).String()
	w.start(containers[0].Namespace, "innerEtcd", "etcd", "--data-dir", filepath.Join(w.dir, "inner-etcd"),
		"--listen-client-urls", endpoint, "--listen-peer-urls", "http://"+netip.AddrPortFrom(containers[0].Addr, 2380).String())
	w.until("the inner etcd", func() error {
		if status, out := w.run(containers[0].Namespace, "config", "set", "--etcd-endpoints", endpoint, inner); status != 0 {
			return fmt.Errorf("weft config set: %s", out)
		}
		return nil
	})
	var inside [2]admin.State
	for i, c := range containers {
		socket := filepath.Join(w.dir, fmt.Sprintf("inner%d.sock", i+1))
		w.start(c.Namespace, fmt.Sprintf("inner%d", i+1), "agent", "--iface", "eth0", "--etcd-endpoints", endpoint, "--admin-socket", socket,
			"--subnet-file", filepath.Join(w.dir, fmt.Sprintf("inner%d.env", i+1)), "--state-dir", filepath.Join(w.dir, fmt.Sprintf("inner-%d", i+1)),
			"--datapath", "express")
	}
	for i := range inside {
		w.until(fmt.Sprintf("the inner lane of host %d", i+1), func() (err error) {
			inside[i], _, err = admin.Ask(t.Context(), filepath.Join(w.dir, fmt.Sprintf("inner%d.sock", i+1)))
			if s := inside[i]; err == nil && (!s.Ready || s.Lane == nil || !s.Lane.On || len(s.Peers) != 1) {
				err = fmt.Errorf("ready %t, %d peers, datapath %+v", s.Ready, len(s.Peers), s.Datapath)
			}
			return err
		})
	}

	// The TUN devices of the inner fabric have their subnet's first address, which is the host's own there.
	server := netip.AddrPortFrom(inside[1].Lease.Subnet.Addr(), servicePort)
	startServer(t, containers[1].Namespace, server)
	const size = 4 << 20
	if err := roundTrip(containers[0].Namespace, server.String(), size); err != nil {
		t.Error(err)
	}
	after, _, err := admin.Ask(t.Context(), filepath.Join(w.dir, "inner1.sock"))
	if err != nil || after.Lane == nil || after.Lane.Carried["egress_bytes"] < size {
		t.Errorf("the inner lane carried %+v of %d bytes, %v", after.Lane, size, err)
	}
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	if inside[0].Datapath.Device != kernelmode.DefaultDevice || inside[0].Datapath.MTU >= w.env(1).MTU {
		t.Errorf("the inner device: %+v", inside[0].Datapath)
	}
}
