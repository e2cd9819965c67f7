package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease/etcd"
	"weft/perf/netlab"
)

const transferBytes = 8 << 20

// allPairs moves bytes between the containers of every pair of hosts, both directions at once.
func (w *world) allPairs(containers []*netlab.Container) {
	w.Helper()
	for i, from := range containers {
		for _, to := range containers[i+1:] {
			if err := transfer(from, to, transferBytes, patience); err != nil {
				w.Errorf("%s → %s: %v", from.Name(), to.Name(), err)
			}
		}
	}
}

// resumed waits until a container answers again, and says how long that took since began.
func (w *world) resumed(from, to *netlab.Container, began time.Time) time.Duration {
	w.Helper()
	// A handshake that began too early is tried again by TCP after a second; a new one is sooner.
	w.until(fmt.Sprintf("%s reaches %s", from.Name(), to.Name()), func() error { return transfer(from, to, 1000, 50*time.Millisecond) })
	return time.Since(began)
}

// The whole life of a fabric, in the order in which things go wrong.
func TestAgents(t *testing.T) {
	w := newWorld(t, 3)
	agents := map[int]*program{}
	for n := 1; n <= 3; n++ {
		agents[n] = w.startAgent(n)
	}
	// Nothing is there yet: each agent says what it waits for, with the remedy.
	w.waiting(1, "start it, or correct --etcd-endpoints")
	w.startEtcd()
	w.waiting(2, "weft config set --etcd-endpoints "+w.endpoint)
	if s, err := w.state(1); err != nil || s.Ready || s.Lease != nil {
		t.Errorf("state before there is a config: %+v, %v", s, err)
	}
	w.setConfig(testConfig)

	var containers []*netlab.Container
	for n := 1; n <= 3; n++ {
		state := w.ready(n, 2)
		if state.Host.PublicIP != w.lab.Host(n).Addr || state.Network.BackendType != "udp" || state.Datapath.Device != "weft0" ||
			state.Datapath.MTU != 1472 || state.Datapath.Port != 8285 || !state.Store.Connected {
			t.Errorf("state of host %d: %+v", n, state)
		}
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	client := w.etcd()

	t.Run("containers reach each other", func(t *testing.T) { w.with(t).allPairs(containers) })
	t.Run("records are flannel's", func(t *testing.T) { w.with(t).recordsAreFlannels(client) })
	t.Run("status", func(t *testing.T) { w.with(t).statusTable() })
	t.Run("a second agent is turned away", func(t *testing.T) { w.with(t).secondAgent(agents[1], containers) })
	t.Run("SIGKILL and again", func(t *testing.T) { w.with(t).killAndRestart(agents, containers) })
	t.Run("the lease is deleted", func(t *testing.T) { w.with(t).leaseDeleted(client, containers) })
	t.Run("the lease is taken over", func(t *testing.T) { w.with(t).leaseTaken(client, containers) })
	t.Run("the device is deleted", func(t *testing.T) { w.with(t).deviceDeleted(containers) })
	t.Run("SIGTERM", func(t *testing.T) { w.with(t).terminate(agents[3]) })
}

// with returns the world for a subtest.
func (w *world) with(t *testing.T) *world {
	sub := *w
	sub.T = t
	return &sub
}

// Byte for byte flannel's keys and values, but for what weft hosts tell each other in BackendData.
func (w *world) recordsAreFlannels(client *clientv3.Client) {
	records := w.records(client)
	if got := records[etcd.DefaultPrefix+"/config"]; got != testConfig {
		w.Errorf("config is %s, want %s", got, testConfig)
	}
	for n := 1; n <= 3; n++ {
		state, err := w.state(n)
		if err != nil {
			w.Fatal(err)
		}
		key := etcd.DefaultPrefix + "/subnets/" + strings.ReplaceAll(state.Lease.Subnet.String(), "/", "-")
		want := fmt.Sprintf(`{"PublicIP":"%s","PublicIPv6":null,"BackendData":{"Weft":{"Version":1,"Caps":9,"Port":8285}}}`, w.lab.Host(n).Addr)
		if records[key] != want {
			w.Errorf("%s is %s, want %s", key, records[key], want)
		}
	}
	if len(records) != 4 {
		w.Errorf("%d records, want 4: %v", len(records), records)
	}
}

func (w *world) statusTable() {
	host := w.lab.Host(1)
	status, out := w.run(host.Namespace, "status", "--admin-socket", w.socket(1))
	state := w.ready(1, 2) // in user space, or by the lane where that works
	for _, want := range []string{"state     ready\n", "datapath  " + state.Datapath.Kind + ", weft0 MTU 1472, UDP port 8285", "peers     2\n", w.lab.Host(2).Addr.String() + ":8285"} {
		if !strings.Contains(out, want) {
			w.Errorf("weft status lacks %q:\n%s", want, out)
		}
	}
	if status != 0 {
		w.Errorf("weft status exits with %d", status)
	}
	if status, out := w.run(host.Namespace, "status", "--json", "--admin-socket", w.socket(1)); status != 0 || !strings.HasPrefix(out, `{"version":"weft `) {
		w.Errorf("weft status --json exits with %d:\n%s", status, out)
	}
}

// A second agent must not touch anything of the first: not its device, socket, subnet.env or lease.
func (w *world) secondAgent(first *program, containers []*netlab.Container) {
	pid := fmt.Sprintf("pid %d", first.Process.Pid)
	before, err := os.Stat(w.subnetFile(1))
	if err != nil {
		w.Fatal(err)
	}
	host := w.lab.Host(1).Namespace
	common := []string{"agent", "--iface", "eth0", "--etcd-endpoints", w.endpoint}
	for name, args := range map[string][]string{
		"the same files":    {"--admin-socket", w.socket(1), "--subnet-file", w.subnetFile(1)},
		"files of its own":  {"--admin-socket", w.socket(9), "--subnet-file", w.subnetFile(9)},
		"a device too":      {"--admin-socket", w.socket(9), "--subnet-file", w.subnetFile(9), "--tun-name", "weft1"},
		"only the same env": {"--admin-socket", w.socket(9), "--subnet-file", w.subnetFile(1), "--tun-name", "weft1"},
	} {
		status, out := w.run(host, append(common, args...)...)
		if status != 1 || !strings.Contains(out, pid) {
			w.Errorf("%s: a second agent exits with %d and doesn't name %s:\n%s", name, status, pid, out)
		}
	}
	// In another namespace the device is free, but files are shared.
	if status, out := w.run(w.lab.Host(2).Namespace, append(common, "--tun-name", "weft1", "--admin-socket", w.socket(1))...); status != 1 || !strings.Contains(out, pid) {
		w.Errorf("an agent with a socket in use exits with %d:\n%s", status, out)
	}
	after, err := os.Stat(w.subnetFile(1))
	if err != nil || !os.SameFile(before, after) {
		w.Errorf("subnet.env of the first agent was written: %v", err)
	}
	if _, err := w.state(1); err != nil {
		w.Errorf("the first agent doesn't answer: %v", err)
	}
	w.allPairs(containers[:2])
}

func (w *world) killAndRestart(agents map[int]*program, containers []*netlab.Container) {
	before := w.ready(2, 2)
	agents[2].end(w.T, syscall.SIGKILL)
	began := time.Now()
	agents[2] = w.startAgent(2)
	took := w.resumed(containers[0], containers[1], began)
	after := w.ready(2, 2)
	if before.Lease.Subnet != after.Lease.Subnet {
		w.Errorf("subnet %v before SIGKILL, %v after", before.Lease.Subnet, after.Lease.Subnet)
	}
	w.Logf("traffic resumed %v after the restart", took.Round(time.Millisecond))
}

func (w *world) key(n int) (subnet netip.Prefix, key string) {
	w.Helper()
	state := w.ready(n, 2)
	return state.Lease.Subnet, etcd.DefaultPrefix + "/subnets/" + strings.ReplaceAll(state.Lease.Subnet.String(), "/", "-")
}

// A record that somebody deleted comes back, for the same subnet.
func (w *world) leaseDeleted(client *clientv3.Client, containers []*netlab.Container) {
	_, key := w.key(2)
	began := time.Now()
	if _, err := client.Delete(w.Context(), key); err != nil {
		w.Fatal(err)
	}
	w.until("the record is back", func() error {
		if w.records(client)[key] == "" {
			return errors.New("no " + key)
		}
		return nil
	})
	w.Logf("traffic resumed %v after the lease was deleted", w.resumed(containers[0], containers[1], began).Round(time.Millisecond))
}

// A subnet that became somebody else's is given up: no packet for it is forwarded any more, and
// another subnet leased and written to subnet.env.
func (w *world) leaseTaken(client *clientv3.Client, containers []*netlab.Container) {
	subnet, key := w.key(3)
	if _, err := client.Put(w.Context(), key, `{"PublicIP":"203.0.113.9","PublicIPv6":null}`); err != nil {
		w.Fatal(err)
	}
	w.until("another lease", func() error {
		state, err := w.state(3)
		if err == nil && (!state.Ready || state.Lease == nil || state.Lease.Subnet == subnet) {
			err = fmt.Errorf("ready %t, lease %+v", state.Ready, state.Lease)
		}
		return err
	})
	state, err := w.state(3)
	if err != nil {
		w.Fatal(err)
	}
	env, err := os.ReadFile(w.subnetFile(3))
	if want := fmt.Sprintf("FLANNEL_SUBNET=%v/24\n", state.Lease.Subnet.Addr().Next()); err != nil || !strings.Contains(string(env), want) {
		w.Errorf("subnet.env lacks %q: %s (%v)", want, env, err)
	}
	if strings.Contains(w.records(client)[key], w.lab.Host(3).Addr.String()) {
		w.Error("the agent took the subnet back from its new owner")
	}
	if _, err := client.Delete(w.Context(), key); err != nil {
		w.Fatal(err)
	}
	w.ready(1, 2)
	w.allPairs(containers[:2])
}

func (w *world) deviceDeleted(containers []*netlab.Container) {
	began := time.Now()
	if out, err := w.lab.Host(2).Command(w.Context(), "ip", "link", "del", "weft0").CombinedOutput(); err != nil {
		w.Fatalf("deleting weft0: %v: %s", err, out)
	}
	w.Logf("traffic resumed %v after the device was deleted", w.resumed(containers[0], containers[1], began).Round(time.Millisecond))
}

// SIGTERM: exit status 0, and lease and subnet.env stay for the next start.
func (w *world) terminate(agent *program) {
	before, _ := w.key(3)
	took := agent.end(w.T, syscall.SIGTERM)
	if agent.status != 0 {
		w.Errorf("exit status %d after SIGTERM:\n%s", agent.status, agent.said())
	}
	w.Logf("ended %v after SIGTERM", took.Round(time.Millisecond))
	if _, err := os.Stat(w.socket(3)); !errors.Is(err, os.ErrNotExist) {
		w.Errorf("the admin socket is still there: %v", err)
	}
	w.startAgent(3)
	if after, _ := w.key(3); after != before {
		w.Errorf("subnet %v before SIGTERM, %v at the next start", before, after)
	}
}
