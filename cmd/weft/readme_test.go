package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// A block is one ```sh block of the README and who runs it, from the comment in front of it:
// "<!-- run: first second -->".
type block struct {
	who    []string
	script string
}

var blockPattern = regexp.MustCompile("(?s)(?:<!-- run: ([a-z ]+) -->\n)?```sh\n(.*?)```")

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, match := range blockPattern.FindAllSubmatch(text, -1) {
		if len(match[1]) == 0 {
			t.Errorf("README: nothing says who runs this block, so no test does:\n%s", match[2])
		}
		blocks = append(blocks, block{strings.Fields(string(match[1])), string(match[2])})
	}
	return blocks
}

// TestREADME runs every command that the README shows, as it stands there, on hosts whose file
// systems look fresh; only the example addresses are replaced by the lab's. At the end the
// containers that it built have to reach each other.
func TestREADME(t *testing.T) {
	labtest.Need(t)
	labtest.NeedProgram(t, "ip", "iproute2")
	labtest.NeedProgram(t, "etcd", "etcd-server")
	labtest.NeedProgram(t, "etcdctl", "etcd-client")
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "readme", Hosts: 3, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	underlay, outside, _ := lab.Underlay()
	addresses := strings.NewReplacer(
		"192.0.2.10:", outside.String()+":",
		"192.0.2.1:", "10.99.0.1:",
	)
	tools := toolFolder(t)
	shells := map[string]*shell{
		"first":  newShell(t, lab.Host(1).Namespace, tools),
		"second": newShell(t, lab.Host(2).Namespace, tools),
		"third":  newShell(t, lab.Host(3).Namespace, tools),
		"etcd":   newShell(t, underlay, tools),
	}
	for _, who := range []string{"first", "second", "third"} {
		// A machine has a default route, by which the agent finds the underlay interface; the lab's have none.
		shells[who].run(t, "ip route add default dev eth0\n")
	}
	shells["etcd"].run(t, fmt.Sprintf("etcd --data-dir /var/lib/etcd --listen-client-urls http://0.0.0.0:2379 "+
		"--advertise-client-urls http://%v:2379 >/run/etcd.log 2>&1 &", outside))
	shells["etcd"].eventually(t, "ETCDCTL_API=3 etcdctl endpoint health >/dev/null 2>&1")
	for _, b := range readmeBlocks(t) {
		for _, who := range b.who {
			runBlock(t, shells, who, addresses.Replace(b.script))
		}
	}
	shells["third"].eventually(t, "test -s /run/flannel/subnet.env")
	exchange(t, shells["first"], shells["second"])
	exchange(t, shells["second"], shells["first"])
}

// runBlock runs one block where it belongs. An agent that was put into the background has to get as far as
// its subnet before a person would go on, unless it has no network config yet.
func runBlock(t *testing.T, shells map[string]*shell, who, script string) {
	t.Helper()
	switch who {
	case "ci":
		ci, err := os.ReadFile(filepath.Join("..", "..", ".ci", "run"))
		if err != nil || !bytes.Contains(ci, []byte("\n"+script)) {
			t.Errorf("README: %q isn't what .ci/run runs (%v)", script, err)
		}
	case "make":
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("README: %s: %v\n%s", script, err, out)
		}
	default:
		s := shells[who]
		if s == nil {
			t.Fatalf("README: no host called %q for\n%s", who, script)
		}
		s.run(t, script)
		if strings.Contains(script, "weft agent") {
			s.eventually(t, "weft status >/dev/null 2>&1")
		}
		if strings.Contains(script, "weft config set") || strings.Contains(script, "--etcd-endpoints") {
			s.eventually(t, "test -s /run/flannel/subnet.env")
		}
	}
}

// toolFolder holds what a reader has on the PATH: the weft binary, and a sudo that has nothing to do
// since the test is root.
func toolFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "weft"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building weft: %v\n%s", err, out)
	}
	sudo := []byte("#!/bin/sh\nexec \"$@\"\n")
	if err := os.WriteFile(filepath.Join(dir, "sudo"), sudo, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A shell is a person's on one host: one process for all its commands, with /run and /var/lib of its
// own, as two machines would have.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

func newShell(t *testing.T, host *netlab.Namespace, tools string) *shell {
	t.Helper()
	cmd := host.Command(t.Context(), "unshare", "--mount", "--propagation", "private", "sh")
	cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "ETCDCTL_API=3")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	s := &shell{in: in, out: bufio.NewReader(out)}
	s.run(t, "exec 2>&1\nmount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /var/lib\n")
	return s
}

// status runs a script and returns its exit status and what it printed. Background processes write to
// files, so that what they say later isn't taken for the answer to another script.
func (s *shell) status(t *testing.T, script string) (string, string) {
	t.Helper()
	const end = "--end-of-script--"
	script = strings.ReplaceAll(script, "2379 &\n", "2379 >>/run/agent.log 2>&1 &\n")
	if _, err := fmt.Fprintf(s.in, "{ %s\n}\necho %s $?\n", script, end); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("shell ended (%v) in\n%s\nafter\n%s", err, script, printed.String())
		}
		if status, ok := strings.CutPrefix(line, end+" "); ok {
			return strings.TrimSpace(status), printed.String()
		}
		printed.WriteString(line)
	}
}

// run runs a script of which every line has to succeed, and returns what it printed.
func (s *shell) run(t *testing.T, script string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(strings.TrimSpace(script) + "\n") {
		status, printed := s.status(t, line)
		all.WriteString(printed)
		if status != "0" {
			_, log := s.status(t, "cat /run/agent.log 2>/dev/null\n")
			t.Fatalf("README: %sexit status %s\n%s\nagent's log:\n%s", line, status, printed, log)
		}
	}
	return all.String()
}

// eventually repeats a command until it succeeds.
func (s *shell) eventually(t *testing.T, command string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		status, _ := s.status(t, command+"\n")
		if status == "0" {
			return
		}
		if time.Now().After(deadline) {
			_, log := s.status(t, "cat /run/agent.log 2>/dev/null\n")
			t.Fatalf("README: %s didn't come true\nagent's log:\n%s", command, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// exchange sends a mebibyte from the container on one host to that on the other, and compares.
func exchange(t *testing.T, from, to *shell) {
	t.Helper()
	address := strings.TrimSpace(to.run(t, "echo ${FLANNEL_SUBNET%.1/*}.2\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var listener net.Listener
	inContainer(t, to, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, "8080"))
		return err
	})
	defer listener.Close()
	sent := bytes.Repeat([]byte("weft"), 1<<18)
	received := make(chan []byte, 1)
	go func() {
		defer close(received)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		received <- all
	}()
	inContainer(t, from, func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(address, "8080"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(sent)
		return err
	})
	if got := <-received; !slices.Equal(got, sent) {
		t.Errorf("container at %s received %d bytes, %d were sent", address, len(got), len(sent))
	}
}

// inContainer runs f on a thread inside the container called web of a host.
func inContainer(t *testing.T, host *shell, f func() error) {
	t.Helper()
	pid := strings.TrimSpace(host.run(t, "ip netns exec web sleep 300 >/dev/null 2>&1 & echo $!\n"))
	host.eventually(t, fmt.Sprintf("test \"$(readlink /proc/%s/ns/net)\" != \"$(readlink /proc/self/ns/net)\"", pid))
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		space, err := netns.GetFromPath("/proc/" + pid + "/ns/net")
		if err == nil {
			defer space.Close()
			err = netns.Set(space)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("README: in the container: %v", err)
	}
}
