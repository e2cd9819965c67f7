package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weft/lease"
	"weft/lease/etcd"
	"weft/lease/leasetest"
	"weft/perf/netlab/labtest"
)

// An operator types weft commands at an etcd.
type operator struct {
	*testing.T
	endpoint string
	client   *clientv3.Client
}

func newOperator(t *testing.T, endpoint, config string) *operator {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	o := &operator{T: t, endpoint: endpoint, client: client}
	if config != "" {
		o.ok("config set " + config)
	}
	return o
}

// run runs one command line in this process. Words are split at blanks; "weft" and --etcd-endpoints are added.
func (o *operator) run(line string) (status int, stdout, stderr string) {
	o.Helper()
	o.Setenv("WEFT_ETCD_ENDPOINTS", o.endpoint)
	var out, errs bytes.Buffer
	status = run(append([]string{"weft"}, strings.Fields(line)...), &out, &errs)
	return status, out.String(), errs.String()
}

// ok runs a line that has to succeed, and returns what it printed.
func (o *operator) ok(line string) string {
	o.Helper()
	status, out, errs := o.run(line)
	if status != 0 || errs != "" {
		o.Fatalf("weft %s: exit status %d\n%s%s", line, status, out, errs)
	}
	return out
}

// refused runs a line that has to fail with that status and those words.
func (o *operator) refused(want int, words, line string) {
	o.Helper()
	status, out, errs := o.run(line)
	if status != want || !strings.Contains(errs, words) || out != "" || strings.Count(errs, "\n") != 1 {
		o.Errorf("weft %s: exit status %d, want %d and %q\n%s%s", line, status, want, words, out, errs)
	}
}

func (o *operator) says(words, line string) {
	o.Helper()
	if out := o.ok(line); !strings.Contains(out, words) {
		o.Errorf("weft %s prints\n%s\nwant %s", line, out, words)
	}
}

// agent acquires a lease, as a host's agent does.
func (o *operator) agent(a lease.Attrs, previous lease.Subnets) lease.Lease {
	o.Helper()
	s, err := etcd.New(etcd.Options{Endpoints: []string{o.endpoint}})
	if err != nil {
		o.Fatal(err)
	}
	defer s.Close()
	l, err := s.Acquire(o.Context(), lease.Request{Attrs: a, Previous: previous.V4, Previous6: previous.V6})
	if err != nil {
		o.Fatal(err)
	}
	return l
}

// previously keeps an agent from drawing a subnet that a test names later.
func previously(subnet string) lease.Subnets {
	return lease.Subnets{V4: netip.MustParsePrefix(subnet)}
}

// etcds are the servers that the commands have to work against.
func etcds(t *testing.T, test func(t *testing.T, endpoint string)) {
	t.Run("embedded", func(t *testing.T) { test(t, leasetest.Etcd(t)) })
	t.Run("debian", func(t *testing.T) {
		labtest.NeedProgram(t, "etcd", "etcd-server")
		client, peer := "http://"+leasetest.FreeAddr(t), "http://"+leasetest.FreeAddr(t)
		cmd := exec.CommandContext(t.Context(), "etcd", "--data-dir", t.TempDir(), "--listen-client-urls", client,
			"--advertise-client-urls", client, "--listen-peer-urls", peer, "--log-level", "error")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		test(t, client)
	})
}

func TestLeasesIPv4(t *testing.T) {
	etcds(t, func(t *testing.T, endpoint string) {
		o := newOperator(t, endpoint, "")
		o.says("no network config: write one with weft config set", "leases")
		o.refused(1, "no network config at /coreos.com/network/config", "leases reserve 10.5.7.0/24 --public-ip 192.0.2.7")
		o.ok("config set " + testConfig)
		l := o.agent(attrsOf("192.0.2.3"), previously("10.5.3.0/24"))
		o.says("10.5.7.0/24 is reserved for 192.0.2.7\n", "leases reserve 10.5.7.0/24 --public-ip 192.0.2.7")
		o.says("is reserved for 192.0.2.7 already", "leases reserve --public-ip 192.0.2.7 10.5.7.0/24")
		o.says(l.Subnet.String(), "leases")
		o.says("1 lease, 1 reservation, 0 problems; 2 of 255 subnets used\n", "leases")
		o.says("subnet   "+l.Subnet.String(), "leases show "+l.Subnet.Addr().Next().String())
		o.says("another 23h5", "leases show 192.0.2.3")

		o.refused(1, "is leased by 192.0.2.3: choose a free subnet, or take it from that host by force (--force)",
			"leases reserve "+l.Subnet.String()+" --public-ip 192.0.2.8")
		o.refused(1, "192.0.2.3 leases "+l.Subnet.String()+" now: reserve that for it, or move it by force (--force)",
			"leases reserve 10.5.8.0/24 --public-ip 192.0.2.3")
		o.refused(1, "10.5.7.0/24 is reserved for 192.0.2.7: release that first", "leases reserve 10.5.7.0/24 --public-ip 192.0.2.8 --force")
		o.refused(1, "192.0.2.3 leases it, for another 23h5", "leases release "+l.Subnet.String())
		o.refused(1, "there is no record of 10.5.7.0/25, but one of 10.5.7.0/24: name that", "leases release 10.5.7.0/25")

		o.says(l.Subnet.String()+", which 192.0.2.3 leases, is reserved for it: it no longer expires", "leases reserve "+l.Subnet.String()+" --public-ip=192.0.2.3")
		o.says("0 leases, 2 reservations", "leases")
		o.says("10.5.7.0/24 is no longer reserved for 192.0.2.7", "leases release 10.5.7.0-24")
		o.agent(attrsOf("192.0.2.8"), previously("10.5.4.0/24"))
		o.says("192.0.2.8 loses ", "leases reserve 10.5.7.0/24 --public-ip 192.0.2.8 --force")
		o.refused(1, "there is no record of 10.5.9.0/24", "leases release 10.5.9.0/24")
		o.refused(1, "10.5.9.4 is in no lease: no host has 10.5.9.0/24", "leases show 10.5.9.4")
		o.refused(1, "203.0.113.1 is in no lease, and no host's public address", "leases show 203.0.113.1")
	})
}

func TestLeasesIPv6AndDualStack(t *testing.T) {
	etcds(t, func(t *testing.T, endpoint string) {
		o := newOperator(t, endpoint, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
		o.ok("leases reserve fd00:5:0:7::/64 --public-ipv6 2001:db8::7")
		o.says("/coreos.com/network/v6subnets/fd00:5:0:7::-64", "leases show 2001:db8::7")
		if l := o.agent(attrsOf("2001:db8::7"), lease.Subnets{}); !l.Reserved || l.Subnet6.String() != "fd00:5:0:7::/64" {
			t.Errorf("its host got %+v", l)
		}
		o.says("0 leases, 1 reservation, 0 problems; 1 of 65535 subnets used", "leases")
		o.ok("leases release fd00:5:0:7::/64")

		o.ok(`config set {"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48"}`)
		o.refused(1, "the IPv6 subnet is missing", "leases reserve 10.5.7.0/24 --public-ip 192.0.2.7")
		o.ok("leases reserve 10.5.7.0/24 fd00:5:0:7::/64 --public-ip 192.0.2.7 --public-ipv6 2001:db8::7")
		for _, one := range []string{"10.5.7.9", "fd00:5:0:7::9", "192.0.2.7", "2001:db8::7", "10.5.7.0/24", "fd00:5:0:7::/64"} {
			o.says("subnet   10.5.7.0/24 and fd00:5:0:7::/64\n", "leases show "+one)
		}
		o.says("10.5.7.0/24 and fd00:5:0:7::/64 is no longer reserved", "leases release fd00:5:0:7::/64")
		o.says("no leases\n", "leases")
	})
}

// Records that hosts skip are shown with a command that removes them, and it does.
func TestProblemsAndTheirRemedies(t *testing.T) {
	o := newOperator(t, leasetest.Etcd(t), testConfig)
	o.agent(attrsOf("192.0.2.3"), previously("10.5.3.0/24"))
	for name, value := range map[string]string{"junk": "{}", "10.5.9.0-24": `{"PublicIP":"127.0.0.1"}`, "10.5.10.0-24": "{", "10.5.11.0-24": `{"PublicIP":"192.0.2.3"}`} {
		if _, err := o.client.Put(t.Context(), etcd.DefaultPrefix+"/subnets/"+name, value); err != nil {
			t.Fatal(err)
		}
	}
	o.says("1 lease, 0 reservations, 4 problems (weft leases --problems)", "leases")
	var d leasesDocument
	if err := json.Unmarshal([]byte(o.ok("leases --problems --json")), &d); err != nil || len(d.Problems) != 4 || d.Leases != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	o.says("skipped       bad_json: ", "leases show 10.5.10.7")
	o.refused(1, "the broken record /coreos.com/network/subnets/10.5.10.0-24 (bad_json) is in the way", "leases reserve 10.5.10.0/24 --public-ip 192.0.2.9")
	for _, p := range d.Problems {
		o.says("which hosts skipped ("+p.Reason+")", strings.TrimPrefix(p.Remove, "weft "))
	}
	o.says("no problems\n", "leases --problems")
}

func TestLeasesJSON(t *testing.T) {
	o := newOperator(t, leasetest.Etcd(t), testConfig)
	a := attrsOf("192.0.2.3")
	a.BackendData = json.RawMessage(`{"Weft":{"Version":1,"Caps":1,"Port":9000}}`)
	l := o.agent(a, previously("10.5.3.0/24"))
	o.ok("leases reserve 10.5.7.0/24 --public-ip 192.0.2.7")
	var d leasesDocument
	if err := json.Unmarshal([]byte(o.ok("leases --json")), &d); err != nil || len(d.Leases) != 2 || d.Total != 255 {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, one := range d.Leases {
		left := time.Until(one.Expiry)
		switch {
		case one.Subnet == l.Subnet && (one.Reserved || left < 23*time.Hour || left > 24*time.Hour || one.Weft == nil || *one.Weft != weftDocument{1, 1, 9000} || one.BackendType != "udp"):
			t.Errorf("the lease is %+v", one)
		case one.Subnet != l.Subnet && (!one.Reserved || !one.Expiry.IsZero() || one.Weft != nil):
			t.Errorf("the reservation is %+v", one)
		}
	}
	if text := o.ok("leases show --json 10.5.7.1"); !json.Valid([]byte(text)) || !strings.Contains(text, `"key": "/coreos.com/network/subnets/10.5.7.0-24"`) {
		t.Errorf("show --json prints %s", text)
	}
}

func TestConfigHistoryCommand(t *testing.T) {
	etcds(t, func(t *testing.T, endpoint string) {
		o := newOperator(t, endpoint, "")
		o.refused(1, "no network config at /coreos.com/network/config", "config history")
		o.ok(`config set {"Network":"10.5.0.0/16"}`)
		o.ok(`config set {"Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"wireguard","PSK":"hush"}}`)
		if _, err := o.client.Put(t.Context(), etcd.DefaultPrefix+"/config", "broken"); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"in force: can't be used: config: not a JSON object",
			"  ~ the whole document: one of the two is no JSON object\n",
			"  + Backend.PSK: …\n  + Backend.Type: \"wireguard\"\n  + SubnetLen: 25\n",
			"made the config; before it there was none, or it had been deleted\n",
		}
		text := o.ok("config history")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("history is\n%s\nwant %s", text, w)
			}
		}
		if strings.Contains(text, "hush") {
			t.Errorf("the key is shown:\n%s", text)
		}
		var revisions []int64
		for line := range strings.Lines(text) {
			var n int64
			if _, err := fmt.Sscanf(line, "revision %d", &n); err == nil {
				revisions = append(revisions, n)
			}
		}
		if len(revisions) != 4 { // the last line names the oldest once more
			t.Fatalf("revisions %v of\n%s", revisions, text)
		}
		o.says("raise --limit\n", "config history --limit 1")
		if got := o.ok(fmt.Sprintf("config get --revision %d", revisions[2])); got != `{"Network":"10.5.0.0/16"}`+"\n" {
			t.Errorf("the oldest is %s", got)
		}
		if _, err := o.client.Compact(t.Context(), revisions[1]); err != nil {
			t.Fatal(err)
		}
		o.says(fmt.Sprintf("what was before revision %d is compacted away", revisions[1]), "config history")
		o.refused(1, "revision compacted away: weft config history lists those there are", fmt.Sprintf("config get --revision %d", revisions[2]))
		if text := o.ok("config history --json"); !json.Valid([]byte(text)) || !strings.Contains(text, fmt.Sprintf(`"compacted": %d`, revisions[1])) {
			t.Errorf("history --json prints %s", text)
		}
	})
}

// TestWatchOnATerminal is a person's: a real terminal, a change of its size, Ctrl-C.
func TestWatchOnATerminal(t *testing.T) {
	o := newOperator(t, leasetest.Etcd(t), testConfig)
	for i := range 30 {
		o.ok(fmt.Sprintf("leases reserve 10.5.%d.0/24 --public-ip 192.0.2.%d", i+1, i+1))
	}
	ours, theirs := openTerminal(t)
	resize := func(rows uint16) {
		if err := unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: 100}); err != nil {
			t.Fatal(err)
		}
	}
	resize(14)
	cmd := exec.Command(os.Args[0], "leases", "--watch", "--etcd-endpoints", o.endpoint)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	theirs.Close()
	shown := ""
	until := func(words string) {
		t.Helper()
		shown = ""
		block := make([]byte, 64<<10)
		_ = ours.SetReadDeadline(time.Now().Add(patience))
		for !strings.Contains(shown, words) {
			n, err := ours.Read(block)
			shown += string(block[:n])
			if err != nil {
				t.Fatalf("waiting for %q: %v; shown:\n%q", words, err, shown)
			}
		}
	}
	until("… and 20 more: enlarge the window")
	if !strings.Contains(shown, enterScreen) || !strings.Contains(shown, "0 leases, 30 reservations, 0 problems; 30 of 255 subnets used") {
		t.Errorf("shown: %q", shown)
	}
	resize(24)
	until("… and 10 more: enlarge the window")
	o.ok("leases release 10.5.1.0/24")
	until("29 reservations")
	if _, err := ours.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	until(leaveScreen)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// openTerminal makes a pseudo terminal, and returns both of its ends.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		labtest.Missing(t, fmt.Errorf("opening a pseudo terminal: %w", err))
	}
	ours = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { _ = ours.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return ours, theirs
}
