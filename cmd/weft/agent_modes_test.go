package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/perf/netlab"
)

// The first host brings the etcd along, and others join it. What it holds is there again after a
// restart of that host's agent, and the others carry packets all the while.
func TestEmbeddedStore(t *testing.T) {
	w := newWorld(t, 2)
	host := w.lab.Host(1)
	w.endpoint = "http://" + host.Addr.String() + ":2379"
	args := []string{"agent", "--iface", "eth0", "--store", "embedded", "--embedded-listen-client", w.endpoint,
		"--admin-socket", w.socket(1), "--subnet-file", w.subnetFile(1), "--state-dir", filepath.Join(w.dir, "1")}
	first := w.start(host.Namespace, "agent1", args...)
	w.startAgent(2)
	w.waiting(1, "weft config set --etcd-endpoints "+w.endpoint)
	w.setConfigOn(host.Namespace, testConfig)
	before := w.ready(1, 1)
	w.ready(2, 1)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.allPairs(containers)

	took := first.end(t, syscall.SIGTERM)
	t.Logf("ended %v after SIGTERM, etcd and all", took.Round(time.Millisecond))
	if first.status != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", first.status, first.said())
	}
	w.until("agent 2 notices that the store is away", func() error {
		state, err := w.state(2)
		if err == nil && state.Store.Connected {
			err = errors.New("it is still connected")
		}
		return err
	})
	if state, err := w.state(2); err != nil || !state.Ready || len(state.Peers) != 1 {
		t.Errorf("without the store agent 2 is not ready: %+v, %v", state, err)
	}
	w.start(host.Namespace, "agent1", args...)
	if after := w.ready(1, 1); after.Lease.Subnet != before.Lease.Subnet {
		t.Errorf("subnet %v before, %v after", before.Lease.Subnet, after.Lease.Subnet)
	}
	w.allPairs(containers)
}

// setConfigOn is setConfig from a host, for an etcd that is there.
func (w *world) setConfigOn(where *netlab.Namespace, config string) {
	w.Helper()
	w.until("weft config set", func() error {
		if status, out := w.run(where, "config", "set", "--etcd-endpoints", w.endpoint, config); status != 0 {
			return errors.New(out)
		}
		return nil
	})
}

// Every way to drive device and sockets talks to every other, over either underlay family, and on a
// port of one's own.
func TestModesTalkToEachOther(t *testing.T) {
	w := newWorld(t, 4)
	w.startEtcd()
	w.setConfig(testConfig)
	modes := [][]string{
		nil, // everything that works here
		{"--io", "portable"},
		{"--offload-tso=off", "--offload-uso=off", "--offload-gso=off", "--offload-gro=off", "--offload-batch=off", "--offload-remote-checksum=off", "--offload-udp-tunnel-gso=off"},
		{"--workers", "2", "--source-ports", "3", "--split-directions", "--port", "9999"},
	}
	for i, args := range modes {
		w.startAgent(i+1, args...)
	}
	var containers []*netlab.Container
	for i := range modes {
		state := w.ready(i+1, len(modes)-1)
		if i == 3 && (state.Datapath.Port != 9999 || state.Datapath.Workers != 2) {
			t.Errorf("datapath of host 4: %+v", state.Datapath)
		}
		o := state.Datapath.Offloads
		if off := i == 1 || i == 2; off && (o.TSO || o.USO || o.GSO || o.GRO) {
			t.Errorf("offloads of host %d (%v): %+v", i+1, modes[i], o)
		}
		containers = append(containers, w.addContainer(i+1, fmt.Sprintf("c%d", i+1)))
	}
	drops := func(n int) map[string]uint64 {
		state, err := w.state(n + 1)
		if err != nil {
			t.Fatal(err)
		}
		return state.Drops
	}
	// Before everybody knew everybody, a host that asked its peers through its new lane was a stranger to some.
	var before []map[string]uint64
	for n := range modes {
		before = append(before, drops(n))
	}
	w.allPairs(containers)
	for n := range modes {
		now := drops(n)
		for _, reason := range []string{"malformed", "spoofed_source", "unknown_peer", "no_conn"} {
			if more := now[reason] - before[n][reason]; more != 0 {
				t.Errorf("host %d (%v) dropped %d packets: %s", n+1, modes[n], more, reason)
			}
		}
	}
}

// --release-on-exit gives the subnet back, and the health port says what the agent does.
func TestReleaseOnExitAndHealth(t *testing.T) {
	w := newWorld(t, 1)
	w.startEtcd()
	client := w.etcd()
	agent := w.startAgent(1, "--release-on-exit", "--healthz-ip", "127.0.0.1", "--healthz-port", "9000")
	w.waiting(1, "the network config")
	if got := w.health(); got != "200 503" {
		t.Errorf("healthz and readyz before there is a config: %s, want 200 503", got)
	}
	w.setConfig(testConfig)
	w.ready(1, 0)
	if got := w.health(); got != "200 200" {
		t.Errorf("healthz and readyz when ready: %s, want 200 200", got)
	}
	if got := len(w.records(client)); got != 2 {
		t.Errorf("%d records, want config and lease", got)
	}
	if agent.end(t, syscall.SIGTERM); agent.status != 0 {
		t.Errorf("exit status %d:\n%s", agent.status, agent.said())
	}
	if records := w.records(client); len(records) != 1 {
		t.Errorf("records after --release-on-exit: %v", records)
	}
}

// health returns the status codes of /healthz and /readyz on host 1.
func (w *world) health() string {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: w.lab.Host(1).Dial}}
	var codes []string
	for _, path := range []string{"healthz", "readyz"} {
		response, err := client.Get("http://127.0.0.1:9000/" + path)
		if err != nil {
			w.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		codes = append(codes, fmt.Sprint(response.StatusCode))
	}
	return strings.Join(codes, " ")
}

// systemd is told when packets can flow, and not before.
func TestNotifiesSystemd(t *testing.T) {
	w := newWorld(t, 1)
	path := filepath.Join(w.dir, "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	w.startEtcd()
	w.startAgent(1)
	w.waiting(1, "the network config")
	w.setConfig(testConfig)
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := socket.Read(buffer)
	if err != nil || !strings.HasPrefix(string(buffer[:n]), "READY=1\nSTATUS=subnet 10.5.") {
		t.Errorf("systemd was told %q, %v", buffer[:n], err)
	}
	if _, err := os.Stat(w.subnetFile(1)); err != nil {
		t.Errorf("READY=1 came before subnet.env: %v", err)
	}
}

// What keeps an agent from starting is said at once, with the remedy, and exits with 1.
func TestStartFailures(t *testing.T) {
	w := newWorld(t, 1)
	w.startEtcd()
	w.setConfig(testConfig)
	host := w.lab.Host(1).Namespace
	busy, err := w.lab.Host(1).ListenPacket(t.Context(), "udp4", fmt.Sprintf("%v:8285", w.lab.Host(1).Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	base := []string{"agent", "--etcd-endpoints", w.endpoint, "--admin-socket", w.socket(1), "--subnet-file", w.subnetFile(1)}
	for _, test := range []struct{ args, want string }{
		{"--iface eth7", "--iface eth7: no interface has that name; there are lo"},
		{"", "name one with --iface"}, // a lab's host has no default route
		{"--iface eth0", "UDP port 8285 is in use by another program"},
		{"--iface eth0 --subnet-file /proc/weft.env", "give another --subnet-file"},
		{"--iface eth0 --admin-socket /proc/weft/weft.sock", "give another --admin-socket"},
	} {
		status, out := w.run(host, append(base, strings.Fields(test.args)...)...)
		if status != 1 || !strings.Contains(out, test.want) {
			t.Errorf("weft agent %s exits with %d, and doesn't say %q:\n%s", test.args, status, test.want, out)
		}
	}
}
