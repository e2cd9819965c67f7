package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/cmd/internal/admin"
	"weft/lease/etcd"
	"weft/perf/netlab"
)

// outage is how long etcd is away. Ten minutes are compressed by their effect: leases last 40 s here
// and not a day, so that renewals fall due, and fail, within the outage; and every wait between two
// attempts has reached its longest (2 s) after 6 s, beyond which an outage is only more of the same.
const (
	outage    = 12 * time.Second
	outageTTL = "40s"
)

// What an outage may cost. Packets lost are the agent's own doing and always asserted, and so is that it doesn't spin.
// Clocks run on while a busy machine has others to serve, and caches are cold: how long things take is logged,
// and asserted with WEFT_FIGURES=1, which is for a quiet machine.
const (
	mostCPU      = 0.01
	spinning     = 0.2
	mostRecovery = 2 * time.Second
	mostStart    = 500 * time.Millisecond
)

// withFigures is the environment's word for a quiet machine.
const withFigures = "WEFT_FIGURES"

// took logs how long something took, and holds it against its limit where figures are asked for.
func (w *world) took(what string, took, most time.Duration) {
	w.Helper()
	w.Logf("%s after %v", what, took.Round(time.Millisecond))
	if os.Getenv(withFigures) != "" && took > most {
		w.Errorf("%s after %v, want %v at most", what, took, most)
	}
}

// etcd is stopped under traffic, and returns.
func TestOutage(t *testing.T) {
	t.Setenv(withTTL, outageTTL)
	w := newWorld(t, 3)
	server := w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","SubnetMax":"10.5.199.0","Backend":{"Type":"udp"}}`) // room for peers of the test's own
	agents := map[int]*program{}
	for n := 1; n <= 3; n++ {
		agents[n] = w.startAgent(n, "--healthz-ip", "127.0.0.1", "--healthz-port", "9000")
	}
	for n := 1; n <= 3; n++ {
		w.ready(n, 2)
	}
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.resumed(containers[0], containers[1], time.Now())
	w.copied(2)
	traffic := startStream(t, containers[0], containers[1])

	server.end(t, syscall.SIGKILL)
	before, began := ticks(t, agents[3]), time.Now()
	time.Sleep(outage)
	w.idle(agents[3], before, began)
	w.offline(1)
	if state, err := w.state(1); err != nil || state.Store.Error == "" {
		t.Errorf("the state doesn't say why the store is away: %+v, %v", state.Store, err)
	}
	if sent, lost, gap := traffic.end(); lost > 0 || sent < 1000 {
		t.Errorf("%d of %d packets lost in an outage of %v", lost, sent, time.Since(began))
	} else {
		t.Logf("0 of %d packets lost in an outage of %v; the longest time without one %v", sent, outage, gap.Round(time.Millisecond))
	}

	t.Run("an agent starts without the store", func(t *testing.T) { agents[2] = w.with(t).startsOffline(agents[2], containers) })
	device := w.device(2)
	w.startEtcd()
	w.took("a change made after etcd's return arrived everywhere", w.recovers("10.5.250.0-24", "203.0.113.1"), mostRecovery)
	if now := w.device(2); now != device {
		t.Errorf("the store's return had the device made anew: %q, before %q", now, device)
	}
	if state, err := w.state(2); err != nil || state.Store.Copy == nil || state.Store.Copy.InUse || state.Offline() {
		t.Errorf("after the return: %+v, %v", state.Store, err)
	}
	w.allPairs(containers)
}

// copied waits until host n has its peers in its copy on disk.
func (w *world) copied(n int) {
	w.Helper()
	w.until("a copy on disk", func() error {
		text, err := os.ReadFile(w.copyFile(n))
		for host := 1; err == nil && host <= 3; host++ {
			if addr := w.lab.Host(host).Addr.String(); !strings.Contains(string(text), addr) {
				err = errors.New("it lacks " + addr)
			}
		}
		return err
	})
}

func (w *world) copyFile(n int) string { return filepath.Join(w.dir, fmt.Sprint(n), "leases") }

// device tells the TUN device of host n apart from one of the same name that is made later.
func (w *world) device(n int) string {
	w.Helper()
	out, err := w.lab.Host(n).Command(w.Context(), "ip", "-o", "link", "show", "weft0").Output()
	if err != nil {
		w.Fatal(err)
	}
	index, _, _ := strings.Cut(string(out), ":")
	return index
}

// idle asserts what an agent without traffic has used of the CPU since.
func (w *world) idle(p *program, before int, began time.Time) {
	w.Helper()
	used, took := time.Duration(ticks(w.T, p)-before)*time.Second/100, time.Since(began)
	share := used.Seconds() / took.Seconds()
	w.Logf("an idle agent used %v of CPU time in %v without the store: %.2f %%", used, took.Round(time.Millisecond), 100*share)
	most := spinning
	if os.Getenv(withFigures) != "" {
		most = mostCPU
	}
	if share >= most {
		w.Errorf("an idle agent used %.2f %% of a CPU, want less than %.0f %%", 100*share, 100*most)
	}
}

// offline asserts what everyone is told of the outage.
func (w *world) offline(n int) {
	w.Helper()
	host := w.lab.Host(n)
	state, err := w.state(n)
	if err != nil || !state.Ready || !state.Offline() || state.Store.Since.IsZero() {
		w.Errorf("state in an outage: %+v, %v", state, err)
	}
	if _, out := w.run(host.Namespace, "status", "--admin-socket", w.socket(n)); !strings.Contains(out, "state     ready, but the store is away\n") ||
		!strings.Contains(out, ", away for ") {
		w.Errorf("weft status in an outage:\n%s", out)
	}
	if metrics := w.metrics(n); !strings.Contains(metrics, "\nweft_store_offline 1\n") || !strings.Contains(metrics, "\nweft_store_connected 0\n") {
		w.Errorf("metrics in an outage:\n%s", metrics)
	}
}

// startsOffline kills an agent and starts it again with the store away: packets flow at once.
func (w *world) startsOffline(agent *program, containers []*netlab.Container) *program {
	was, err := w.state(2)
	if err != nil {
		w.Fatal(err)
	}
	agent.end(w.T, syscall.SIGKILL)
	began := time.Now()
	agent = w.startAgent(2, "--healthz-ip", "127.0.0.1", "--healthz-port", "9000")
	w.took("packets flow without the store", w.resumed(containers[0], containers[1], began), mostStart)
	state := w.ready(2, 2)
	if state.Store.Copy == nil || !state.Store.Copy.InUse || state.Store.Copy.Saved.IsZero() || state.Lease.Subnet != was.Lease.Subnet {
		w.Errorf("state after a start without the store: %+v, lease %+v, before %+v", state.Store, state.Lease, was.Lease)
	}
	w.offline(2)
	if said := agent.said(); !strings.Contains(said, "the store doesn't answer: going by the copy of its leases") {
		w.Errorf("the log doesn't say so:\n%s", said)
	}
	if metrics := w.metrics(2); !strings.Contains(metrics, "\nweft_lease_copy_in_use 1\n") {
		w.Errorf("metrics:\n%s", metrics)
	}
	if _, out := w.run(w.lab.Host(2).Namespace, "status", "--admin-socket", w.socket(2)); !strings.Contains(out, "copy      in use until the store answers, saved ") {
		w.Errorf("weft status:\n%s", out)
	}
	w.allPairs(containers)
	return agent
}

// recovers waits for etcd, adds a peer, and returns how long after etcd's return every agent has it.
func (w *world) recovers(subnet, publicIP string) time.Duration {
	w.Helper()
	space, _, _ := w.lab.Underlay()
	address := strings.TrimPrefix(w.endpoint, "http://")
	var conn net.Conn
	w.until("etcd answers", func() (err error) {
		conn, err = space.Dial(w.Context(), "tcp", address)
		return err
	})
	_ = conn.Close()
	began := time.Now()
	w.put(w.etcd(), etcd.DefaultPrefix+"/subnets/"+subnet, fmt.Sprintf(`{"PublicIP":"%s","PublicIPv6":null}`, publicIP))
	for n := 1; n <= 3; n++ {
		w.until(fmt.Sprintf("agent %d has the new peer", n), func() error {
			state, err := w.state(n)
			if err == nil && !hasPeer(state, publicIP) {
				err = fmt.Errorf("peers %v", state.Peers)
			}
			return err
		})
	}
	return time.Since(began)
}

// metrics returns what the health port of host n says.
func (w *world) metrics(n int) string {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: w.lab.Host(n).Dial}}
	response, err := client.Get("http://127.0.0.1:9000/metrics")
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return string(text)
}

func hasPeer(s admin.State, publicIP string) bool {
	for _, p := range s.Peers {
		if p.Outer.Addr() == netip.MustParseAddr(publicIP) {
			return true
		}
	}
	return false
}

func (w *world) put(client *clientv3.Client, key, value string) {
	w.Helper()
	if _, err := client.Put(w.Context(), key, value); err != nil {
		w.Fatal(err)
	}
}
