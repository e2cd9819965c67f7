package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/lease/embedded/backup"
	"weft/lease/leasetest"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// etcdTrio is three `weft etcd` with certificates on both sides, each a process.
type etcdTrio struct {
	t       *testing.T
	pki     leasetest.PKI
	clients [3]string
	peers   [3]string
	dirs    [3]string
	running [3]*exec.Cmd
	logs    [3]*bytes.Buffer
}

func newEtcdTrio(t *testing.T) *etcdTrio {
	e := &etcdTrio{t: t, pki: leasetest.NewPKI(t)}
	for i := range e.clients {
		e.clients[i], e.peers[i] = "https://"+leasetest.FreeAddr(t), "https://"+leasetest.FreeAddr(t)
		e.dirs[i] = filepath.Join(t.TempDir(), "etcd")
	}
	t.Cleanup(func() {
		for i, cmd := range e.running {
			if cmd != nil {
				cmd.Process.Kill()
				cmd.Wait()
			}
			if t.Failed() && e.logs[i] != nil {
				t.Logf("member m%d:\n%s", i, e.logs[i])
			}
		}
	})
	return e
}

// membership is what all members are told alike.
func (e *etcdTrio) membership(i int) []string {
	var all []string
	for n, peer := range e.peers {
		all = append(all, fmt.Sprintf("m%d=%s", n, peer))
	}
	return []string{"--name", fmt.Sprintf("m%d", i), "--data-dir", e.dirs[i], "--initial-advertise-peer-urls", e.peers[i],
		"--initial-cluster", strings.Join(all, ","), "--initial-cluster-token", "weft-test"}
}

func (e *etcdTrio) start(i int) {
	e.t.Helper()
	args := append([]string{"etcd", "--listen-client-urls", e.clients[i], "--listen-peer-urls", e.peers[i], "--initial-cluster-state", "new",
		"--cert-file", e.pki.ServerCert, "--key-file", e.pki.ServerKey, "--trusted-ca-file", e.pki.CA, "--client-cert-auth",
		"--peer-cert-file", e.pki.ServerCert, "--peer-key-file", e.pki.ServerKey, "--peer-trusted-ca-file", e.pki.CA, "--peer-client-cert-auth"},
		e.membership(i)...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	e.logs[i] = &bytes.Buffer{}
	cmd.Stderr = e.logs[i]
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.running[i] = cmd
}

// end sends a signal and returns how the member ended, and after how long.
func (e *etcdTrio) end(i int, signal os.Signal) (time.Duration, error) {
	begun := time.Now()
	e.running[i].Process.Signal(signal)
	err := e.running[i].Wait()
	e.running[i] = nil
	return time.Since(begun), err
}

// weft runs a subcommand against some of the members.
func (e *etcdTrio) weft(args ...string) (string, error) {
	cmd := exec.CommandContext(e.t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "WEFT_ETCD_ENDPOINTS="+strings.Join(e.clients[:], ","),
		"WEFT_ETCD_CAFILE="+e.pki.CA, "WEFT_ETCD_CERTFILE="+e.pki.ClientCert, "WEFT_ETCD_KEYFILE="+e.pki.ClientKey)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// etcdctl runs Debian's client against all members.
func (e *etcdTrio) etcdctl(args ...string) string {
	e.t.Helper()
	cmd := e.debian(args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("etcdctl %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (e *etcdTrio) debian(args ...string) *exec.Cmd {
	e.t.Helper()
	labtest.NeedProgram(e.t, "etcdctl", "etcd-client")
	cmd := exec.CommandContext(e.t.Context(), "etcdctl", append([]string{"--endpoints", strings.Join(e.clients[:], ","),
		"--cacert", e.pki.CA, "--cert", e.pki.ClientCert, "--key", e.pki.ClientKey, "--dial-timeout", "10s", "--command-timeout", "30s"}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	return cmd
}

// putAfterElection writes where the leader may just have been killed: what etcd had accepted for it ends
// with "request timed out", and the client is to ask again.
func (e *etcdTrio) putAfterElection(key, value string) {
	e.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		out, err := e.debian("put", key, value).CombinedOutput()
		if err == nil && strings.TrimSpace(string(out)) == "OK" {
			return
		}
		if time.Now().After(end) || !strings.Contains(string(out), "request timed out") {
			e.t.Fatalf("put without one member: %v\n%s", err, out)
		}
	}
}

// TestEtcdClusterWithDebiansClient: three processes with TLS on both sides are an ordinary etcd to
// Debian's etcdctl; killed, asked to end, saved, lost and restored.
func TestEtcdClusterWithDebiansClient(t *testing.T) {
	e := newEtcdTrio(t)
	for i := range e.running {
		e.start(i)
	}
	if got := e.etcdctl("put", "/a", "1"); got != "OK" {
		t.Errorf("put: %q", got)
	}
	if got := e.etcdctl("get", "/a", "--print-value-only"); got != "1" {
		t.Errorf("get: %q", got)
	}
	e.watched()
	e.leased()
	if got := e.etcdctl("member", "list"); strings.Count(got, "started, m") != 3 {
		t.Errorf("member list: %s", got)
	}
	var statuses []struct{ Status struct{ Version string } }
	if err := json.Unmarshal([]byte(e.etcdctl("endpoint", "status", "-w", "json")), &statuses); err != nil || len(statuses) != 3 ||
		!strings.HasPrefix(statuses[0].Status.Version, "3.7.") {
		t.Errorf("endpoint status: %+v, %v", statuses, err)
	}

	e.end(0, syscall.SIGKILL)
	e.putAfterElection("/b", "2")
	e.start(0)
	took, err := e.end(1, syscall.SIGTERM)
	t.Logf("SIGTERM: %s", took.Round(time.Millisecond))
	if err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	e.start(1)
	e.lostAndRestored()
}

func (e *etcdTrio) watched() {
	e.t.Helper()
	cmd := e.debian("watch", "/a", "--rev", "1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil || !strings.HasPrefix(string(buf[:n]), "PUT") {
		e.t.Errorf("watch: %q, %v", buf[:n], err)
	}
}

func (e *etcdTrio) leased() {
	e.t.Helper()
	words := strings.Fields(e.etcdctl("lease", "grant", "600")) // lease ID granted with TTL(600s)
	if len(words) < 2 {
		e.t.Fatalf("lease grant: %q", words)
	}
	e.etcdctl("put", "/leased", "1", "--lease", words[1])
	if got := e.etcdctl("lease", "timetolive", words[1], "--keys"); !strings.Contains(got, "/leased") {
		e.t.Errorf("timetolive: %s", got)
	}
	e.etcdctl("lease", "revoke", words[1])
	if got := e.etcdctl("get", "/leased"); got != "" {
		e.t.Errorf("after its lease: %q", got)
	}
}

// lostAndRestored: a snapshot over TLS, all three gone for good, three new ones from the file.
func (e *etcdTrio) lostAndRestored() {
	t := e.t
	t.Helper()
	file := filepath.Join(t.TempDir(), "net.db")
	out, err := e.weft("etcd", "snapshot", "save", file)
	if err != nil || !strings.Contains(out, "saved from https://") || !strings.Contains(out, "2 keys") {
		t.Fatalf("snapshot save: %v\n%s", err, out)
	}
	if out, err := e.weft("etcd", "snapshot", "save", file); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("saving again: %v\n%s", err, out)
	}
	if out, err := e.weft("etcd", "snapshot", "save", file, "--force"); err != nil {
		t.Errorf("saving with --force: %v\n%s", err, out)
	}
	out, err = e.weft("etcd", "snapshot", "status", "--json", file)
	var status backup.Status
	if err = errors.Join(err, json.Unmarshal([]byte(out), &status)); err != nil || status.Keys != 2 {
		t.Errorf("snapshot status: %v\n%s", err, out)
	}
	for i := range e.running {
		e.end(i, syscall.SIGKILL)
		if err := os.RemoveAll(e.dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range e.running {
		if out, err := e.weft(append([]string{"etcd", "snapshot", "restore", file}, e.membership(i)...)...); err != nil {
			t.Fatalf("snapshot restore: %v\n%s", err, out)
		}
		e.start(i)
	}
	if got := e.etcdctl("get", "/b", "--print-value-only"); got != "2" {
		t.Errorf("after the restoration: %q", got)
	}
	if got := e.etcdctl("member", "list"); strings.Count(got, "started, m") != 3 {
		t.Errorf("members after the restoration: %s", got)
	}
}

// TestAgentsAreAnEtcdCluster: three agents bring an etcd each. One host may go, its etcd and all; the
// others go on, with their leases and for new ones, and it joins again.
func TestAgentsAreAnEtcdCluster(t *testing.T) {
	w := newWorld(t, 3)
	var all []string
	for n := 1; n <= 3; n++ {
		all = append(all, fmt.Sprintf("h%d=http://%s:2380", n, w.lab.Host(n).Addr))
	}
	agents := map[int]*program{}
	start := func(n int) {
		host := w.lab.Host(n)
		client, peer := fmt.Sprintf("http://%s:2379", host.Addr), fmt.Sprintf("http://%s:2380", host.Addr)
		agents[n] = w.start(host.Namespace, fmt.Sprintf("agent%d", n), "agent", "--iface", "eth0", "--store", "embedded",
			"--embedded-listen-client", client, "--embedded-listen-peer", peer, "--name", fmt.Sprintf("h%d", n),
			"--initial-cluster", strings.Join(all, ","), "--initial-cluster-token", "agents",
			"--admin-socket", w.socket(n), "--subnet-file", w.subnetFile(n), "--state-dir", filepath.Join(w.dir, fmt.Sprint(n)))
	}
	for n := 1; n <= 3; n++ {
		start(n)
	}
	w.endpoint = fmt.Sprintf("http://%s:2379", w.lab.Host(2).Addr)
	w.setConfigOn(w.lab.Host(2).Namespace, testConfig)
	var containers []*netlab.Container
	before := map[int]string{}
	for n := 1; n <= 3; n++ {
		before[n] = w.ready(n, 2).Lease.Subnet.String()
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	w.allPairs(containers)

	agents[1].end(t, syscall.SIGKILL)
	w.setConfigOn(w.lab.Host(2).Namespace, testConfig) // the store takes writes without it
	w.allPairs(containers[1:])
	start(1)
	if after := w.ready(1, 2).Lease.Subnet.String(); after != before[1] {
		t.Errorf("subnet %s before, %s after", before[1], after)
	}
	w.allPairs(containers)
}
