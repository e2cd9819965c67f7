package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/cmd/internal/admin"
	"weft/lease/etcd"
	"weft/perf/netlab"
)

// migrate runs weft migrate on host n.
func (w *world) migrate(n int, args ...string) (status int, out string) {
	w.Helper()
	return w.run(w.lab.Host(n).Namespace, append([]string{"migrate", "--etcd-endpoints", w.endpoint, "--admin-socket", w.socket(n)}, args...)...)
}

// migrates is migrate where it must work.
func (w *world) migrates(n int, args ...string) string {
	w.Helper()
	began := time.Now()
	status, out := w.migrate(n, args...)
	w.Logf("weft migrate %s took %v", strings.Join(args, " "), time.Since(began).Round(time.Millisecond))
	if status != 0 {
		for _, p := range w.programs {
			w.Logf("%s said:\n%s", p.name, p.said())
		}
		w.Fatalf("weft migrate %s exits with %d:\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// kinds waits until the hosts' leases and datapaths are of these backend types, and everybody reaches everybody.
func (w *world) kinds(containers []*netlab.Container, kinds ...string) {
	w.Helper()
	for n, kind := range kinds {
		w.becomes(n+1, kind, func(s admin.State) string {
			if s.Network.BackendType != kind || len(s.Peers) != len(kinds)-1 {
				return fmt.Sprintf("it is of type %s with %d peers", s.Network.BackendType, len(s.Peers))
			}
			return ""
		})
	}
	w.until("all pairs", func() error {
		for i, from := range containers {
			for _, to := range containers[i+1:] {
				if err := transfer(from, to, 100_000, patience); err != nil {
					return fmt.Errorf("%s to %s: %w", from.Name(), to.Name(), err)
				}
			}
		}
		return nil
	})
}

// A network moves from udp to vxlan and back, host by host, while a TCP connection stays open: every mixture
// on the way works, every step can be undone, and one who stops half way goes on from there.
func TestMigrate(t *testing.T) {
	w := newWorld(t, 3)
	w.needVXLAN()
	w.startEtcd()
	w.setConfig(testConfig)
	var containers []*netlab.Container
	for n := 1; n <= 3; n++ {
		w.startAgent(n)
	}
	for n := 1; n <= 3; n++ {
		w.ready(n, 2)
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	w.kinds(containers, "udp", "udp", "udp")
	flow := startFlow(t, containers[0], containers[1])
	host := func(n int) string { return w.lab.Host(n).Addr.String() }

	says := func(what, text, out string) {
		t.Helper()
		if !strings.Contains(out, text) {
			t.Errorf("%s doesn't say %q:\n%s", what, text, out)
		}
	}
	says("status before", "no migration: the network is of backend type udp, with 3 hosts", w.migrates(1, "udp", "vxlan", "--status"))
	says("the first", "is of type vxlan and answers through the fabric", w.migrates(1, "udp", "vxlan", "--host", host(2)))
	w.kinds(containers, "udp", "vxlan", "udp")
	says("status under way", "on its way from udp to vxlan: 1 of 3 hosts moved", w.migrates(3, "udp", "vxlan", "--status"))
	says("the witness itself", "subnets answer through the fabric", w.migrates(1, "udp", "vxlan", "--host", host(1)))
	w.kinds(containers, "vxlan", "vxlan", "udp")
	says("one back", "is of type udp again", w.migrates(1, "udp", "vxlan", "--undo", "--host", host(1)))
	w.kinds(containers, "udp", "vxlan", "udp")

	// All the way there, into the kernel even where that works, and all the way back.
	says("the rest", "the network is of backend type vxlan", w.migrates(1, "udp", "vxlan", "--yes"))
	w.kinds(containers, "vxlan", "vxlan", "vxlan")
	for n := 1; n <= 3; n++ {
		w.becomes(n, "in the kernel", func(s admin.State) string {
			if s.Datapath.Kind != "kernel" {
				return s.Datapath.Kind + ": " + s.Datapath.Why
			}
			return ""
		})
	}
	says("again", "no migration: the network is of backend type vxlan", w.migrates(1, "udp", "vxlan", "--yes"))
	if status, out := w.migrate(1, "udp", "vxlan", "--undo", "--yes"); status != 1 || !strings.Contains(out, "go the same way back with weft migrate vxlan udp") {
		t.Errorf("undoing what has ended: status %d: %s", status, out)
	}
	says("the way back", "the network is of backend type udp", w.migrates(1, "vxlan", "udp", "--yes"))
	w.kinds(containers, "udp", "udp", "udp")

	// Begun, half done, and given up.
	w.migrates(1, "udp", "vxlan", "--host", host(3))
	w.kinds(containers, "udp", "udp", "vxlan")
	says("giving up", "the network is of backend type udp, as before", w.migrates(1, "udp", "vxlan", "--undo", "--yes"))
	w.kinds(containers, "udp", "udp", "udp")
	if config := w.records(w.etcd())[configKeyOfTests]; config != testConfig {
		t.Errorf("the network config is %s, was %s", config, testConfig)
	}
	if bytes, err := flow.end(); err != nil {
		t.Errorf("the TCP connection broke after %d bytes: %v", bytes, err)
	}
}

// A host that can't take both formats is found before anything moves, and named.
func TestMigrateNamesAPlainFlannelHost(t *testing.T) {
	w := newWorld(t, 1)
	w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","SubnetMax":"10.5.199.0","Backend":{"Type":"udp"}}`) // below the host that is put there
	w.startAgent(1)
	w.ready(1, 0)
	client := w.etcd()
	const key = etcd.DefaultPrefix + "/subnets/10.5.200.0-24"
	if _, err := client.Put(w.Context(), key, `{"PublicIP":"203.0.113.9","PublicIPv6":null}`); err != nil {
		t.Fatal(err)
	}
	w.ready(1, 1)
	t.Setenv(withStepPatience, "2s")
	status, out := w.migrate(1, "udp", "vxlan", "--yes")
	if status != 1 || !strings.Contains(out, "10.5.200.0/24 at 203.0.113.9: a plain flannel host") || !strings.Contains(out, "--undo") {
		t.Errorf("exit status %d:\n%s", status, out)
	}
	if _, out := w.migrate(1, "udp", "vxlan", "--status"); !strings.Contains(out, "doesn't take both formats") || !strings.Contains(out, "1 of 2 hosts prepared") {
		t.Errorf("status:\n%s", out)
	}
	if state, err := w.state(1); err != nil || state.Network.BackendType != "udp" {
		t.Errorf("a host has moved: %+v, %v", state.Network, err)
	}
	// The operator knows that there is no such host.
	w.migrates(1, "udp", "vxlan", "--yes", "--without", "203.0.113.9")
	w.becomes(1, "vxlan", func(s admin.State) string {
		if s.Network.BackendType != "vxlan" {
			return s.Network.BackendType
		}
		return ""
	})
}
