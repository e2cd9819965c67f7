package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"weft/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is a Source that always says the same.
type fixed State

func (f fixed) State() State { return State(f) }

var started = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// whole has something in every field.
func whole() State {
	return State{
		Version: "weft test", PID: 42, Started: started, Ready: true,
		Host: Host{Interface: "eth0", MTU: 1500, PublicIP: netip.MustParseAddr("192.0.2.1"), PublicIPv6: netip.MustParseAddr("2001:db8::1")},
		Network: Network{IPv4: netip.MustParsePrefix("10.5.0.0/16"), IPv6: netip.MustParsePrefix("fd00:5::/48"), BackendType: "udp",
			Refused: "bad: write it again", Note: "other subnets by now"},
		Lease: &Lease{Subnet: netip.MustParsePrefix("10.5.1.0/24"), Subnet6: netip.MustParsePrefix("fd00:5:0:1::/64"), Expiry: started.Add(24 * time.Hour), Problem: "peers refuse it"},
		Store: Store{Kind: "etcd", Endpoints: []string{"http://a:2379", "http://b:2379"}, Since: started.Add(30 * time.Minute), Error: "no answer", Seen: 9, Applied: 8,
			Copy: &Copy{Saved: started.Add(-time.Hour), InUse: true}},
		Datapath: Datapath{Kind: "userspace", Why: "express is gone", Better: "modprobe vxlan", Obstacle: "no_module",
			Notes: []string{"GBP isn't carried"}, Fault: "no route", Formats: []string{"udp"}, Device: "weft0", MTU: 1472, Port: 8285, Workers: 2,
			Offloads: tunnel.Offloads{TSO: true, GSO: true}, Lowered: []string{"weft0: tso"}},
		Lane: &Lane{On: true, Underlay: "eth0", Carried: map[string]uint64{"egress_packets": 5}, Passed: map[string]uint64{"in_train": 2, "out_no_hop": 0},
			Detached: 3, Unpinned: "no BPF file system"},
		Switched: &LastSwitch{At: started.Add(time.Hour), Asked: "kernel", Error: "a peer was lost"},
		Peers: []Peer{
			{netip.MustParsePrefix("10.5.2.0/24"), netip.MustParseAddrPort("192.0.2.2:8285"), 1472},
			{netip.MustParsePrefix("fd00:5:0:2::/64"), netip.MustParseAddrPort("[2001:db8::2]:8285"), 1452},
		},
		Problems: []Problem{{Key: "subnets/junk", Reason: "bad_key", Detail: "delete the record"}},
		Traffic:  map[string]uint64{"egress_packets": 7, "ingress_packets": 0},
		Drops:    map[string]uint64{"no_route": 3, "malformed": 0},
	}
}

const table = `agent     weft test, pid 42, up 1h30m
state     ready, but the network config in the store is refused
host      192.0.2.1 and 2001:db8::1 on eth0, MTU 1500
network   10.5.0.0/16 and fd00:5::/48, backend type udp
refused   bad: write it again
note      other subnets by now
lease     10.5.1.0/24 and fd00:5:0:1::/64, expires in 22h30m (peers refuse it)
store     etcd http://a:2379,http://b:2379, away for 1h0m (no answer), revision 8 applied of 9 seen
copy      in use until the store answers, saved 2h30m ago
datapath  userspace, weft0 MTU 1472, UDP port 8285, workers 2 (express is gone)
better    modprobe vxlan
note      GBP isn't carried
fault     no route
switched  kernel was asked for 30m ago, in vain: a peer was lost
offloads  on: tso, gso; off: uso, gro, tunnel gso, multi-queue, batch, remote checksum
lowered   weft0: tso
traffic   egress_packets 7
lane      on eth0; carried egress_packets 5; left to user space: in_train 2; taken away by somebody 3 times; its counts end with the agent: no BPF file system
drops     no_route 3
skipped   subnets/junk: bad_key: delete the record
peers     2

SUBNET           OUTER ADDRESS       MTU
10.5.2.0/24      192.0.2.2:8285      1472
fd00:5:0:2::/64  [2001:db8::2]:8285  1452
`

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := whole().Table(&b, started.Add(90*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

const emptyTable = `agent     weft test, pid 42, up 3s
state     waiting: the network config: write it
host      -
network   -
lease     none
store     embedded, away, revision 0 applied of 0 seen
datapath  -
traffic   none
drops     none
peers     0
`

func TestTableOfAnAgentThatWaits(t *testing.T) {
	s := State{Version: "weft test", PID: 42, Started: started, Waiting: "the network config: write it", Store: Store{Kind: "embedded"}}
	var b strings.Builder
	if err := s.Table(&b, started.Add(3*time.Second)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(emptyTable, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// What a person reads first, at 3 a.m.: does it forward, and what is the matter.
func TestReadiness(t *testing.T) {
	connected := Store{Connected: true}
	for want, s := range map[string]State{
		"ready":                        {Ready: true, Store: connected},
		"ready, but the store is away": {Ready: true},
		"ready, but the disk is full":  {Ready: true, Waiting: "the disk is full"},
		"starting":                     {},
		"waiting: a lease":             {Waiting: "a lease", Store: connected},
		"ready, but the network config in the store is refused": {Ready: true, Store: connected, Network: Network{Refused: "bad"}},
	} {
		if got := s.readiness(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCopyAndLeaseLines(t *testing.T) {
	now := started
	for want, c := range map[string]Copy{
		"not used: its checksum is wrong":              {Ignored: "its checksum is wrong"},
		"in use until the store answers, saved 5s ago": {Saved: now.Add(-5 * time.Second), InUse: true},
		"the store has answered since":                 {Saved: now},
	} {
		if got := c.line(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	s := State{Lease: &Lease{Subnet: netip.MustParsePrefix("10.5.1.0/24"), Expiry: now.Add(-time.Minute)}}
	if got, want := s.lease(now), "10.5.1.0/24, expired 1m ago: the store has to confirm it"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// serve runs a server until the test ends and checks that it ended in order.
func serve(t *testing.T, s interface{ Run(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestAskGivesBackTheState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "weft.sock")
	server, err := Listen(path, fixed(whole()))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, server)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v (%v), want 0600: the state is root's alone", info.Mode(), err)
	}
	got, body, err := Ask(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	comparePrefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	comparePort := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(whole(), got, compare, comparePrefix, comparePort); diff != "" {
		t.Errorf("state (-sent +received):\n%s", diff)
	}
	if !json.Valid(body) {
		t.Errorf("body is not JSON: %s", body)
	}
}

func TestASecondServerLeavesTheFirstAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.sock")
	first, err := Listen(path, fixed(whole()))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, first)
	_, err = Listen(path, fixed{})
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.PID != os.Getpid() {
		t.Fatalf("second Listen: %v, want a HeldError with pid %d", err, os.Getpid())
	}
	if got, _, err := Ask(t.Context(), path); err != nil || got.PID != 42 {
		t.Errorf("the first server no longer answers: %v", err)
	}
}

func TestASocketThatSIGKILLLeftIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.sock")
	stale, err := listenPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	server, err := Listen(path, fixed(whole()))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, server)
	if _, _, err := Ask(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// Whatever stands in the socket's place is named, and never removed.
func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                               "there is a file that is no socket",
		filepath.Join(file, "weft.sock"):   "making the folder of admin socket",
		"/" + strings.Repeat("x", 108):     "Linux takes 107",
		"/proc/self/nonexistent/weft.sock": "give another --admin-socket",
	} {
		if _, err := Listen(path, fixed{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%s): %v, want %q in it", path, err, want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file was touched: %q, %v", data, err)
	}
}

func TestAskSaysWhatToDo(t *testing.T) {
	_, _, err := Ask(t.Context(), "/nonexistent/weft.sock")
	if err == nil || !strings.HasPrefix(err.Error(), "no agent answers on /nonexistent/weft.sock: ") ||
		!strings.Contains(err.Error(), "weft agent") {
		t.Errorf("got %v", err)
	}
}

func TestHealth(t *testing.T) {
	for _, ready := range []bool{true, false} {
		state := whole()
		state.Ready = ready
		state.Waiting = map[bool]string{false: "a lease: none is free"}[ready]
		health, err := ListenHealth(netip.MustParseAddrPort("127.0.0.1:0"), fixed(state), Metrics(fixed(state)))
		if err != nil {
			t.Fatal(err)
		}
		serve(t, health)
		url := "http://" + health.Addr().String()
		readyz := map[bool]int{true: 200, false: 503}[ready]
		for _, test := range []struct {
			path   string
			status int
			text   string
		}{
			{"/healthz", 200, "alive\n"},
			{"/readyz", readyz, state.readiness() + "\n"},
			{"/nothing", 404, ""},
		} {
			status, body := fetch(t, url+test.path)
			if status != test.status || test.text != "" && body != test.text {
				t.Errorf("ready %t: GET %s: %d %q, want %d %q", ready, test.path, status, body, test.status, test.text)
			}
		}
		_, metrics := fetch(t, url+"/metrics")
		for _, line := range []string{
			`weft_ready ` + map[bool]string{true: "1", false: "0"}[ready],
			`weft_drops_total{reason="no_route"} 3`,
			`weft_drops_total{reason="malformed"} 0`,
			"weft_offloads_lowered 1",
			"weft_lane_on 1",
			"weft_lane_detached_total 3",
			`weft_lane_passed_total{cause="in_train"} 2`,
			`weft_lane_traffic_total{kind="egress_packets"} 5`,
			`weft_peers 2`,
			`weft_store_connected 0`,
			`weft_store_offline ` + map[bool]string{true: "1", false: "0"}[ready],
			`weft_store_changed_timestamp_seconds ` + strconv.FormatFloat(float64(state.Store.Since.Unix()), 'g', -1, 64),
			`weft_lease_copy_in_use 1`,
			`weft_lease_copy_saved_timestamp_seconds ` + strconv.FormatFloat(float64(state.Store.Copy.Saved.Unix()), 'g', -1, 64),
			`weft_config_refused 1`,
			`weft_datapath_info{kind="userspace",obstacle="no_module"} 1`,
			`weft_datapath_fault 1`,
			`weft_skipped_records{reason="bad_key"} 1`,
			`weft_build_info{version="weft test"} 1`,
			`weft_lease_expiry_timestamp_seconds ` + strconv.FormatFloat(float64(state.Lease.Expiry.Unix()), 'g', -1, 64),
		} {
			if !strings.Contains(metrics, "\n"+line+"\n") {
				t.Errorf("metrics lack %q", line)
			}
		}
	}
}

func TestHealthPortInUse(t *testing.T) {
	first, err := ListenHealth(netip.MustParseAddrPort("127.0.0.1:0"), fixed{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	at := netip.MustParseAddrPort(first.Addr().String())
	if _, err := ListenHealth(at, fixed{}, nil); err == nil || !strings.Contains(err.Error(), "give another port, or 0 for none") {
		t.Errorf("got %v", err)
	}
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}
