package demo

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// binDir is where program has built, for TestMain to remove.
var binDir string

// program builds the weft binary, once: the demo is tried with what users run.
var program = sync.OnceValues(func() (path string, err error) {
	if binDir, err = os.MkdirTemp("", "weft-bin-"); err != nil {
		return "", err
	}
	path = filepath.Join(binDir, "weft")
	build := exec.Command("go", "build", "-o", path, "weft/cmd/weft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building weft: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if binDir != "" {
		os.RemoveAll(binDir)
	}
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// requireDemo skips where the demo can't run; in CI that is a failure.
func requireDemo(t *testing.T) {
	t.Helper()
	if err := Check(); err != nil {
		labtest.Missing(t, err)
	}
}

// weft prepares the binary with the arguments; its output goes into the buffer.
func weft(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := exec.Command(path, args...), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	cmd, out := weft(t, args...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("weft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out.String()
}

var labID = regexp.MustCompile(`weft-demo-[0-9a-f]{6}`)

// remains lists what is left on the machine of the lab.
func remains(t *testing.T, id string) (left []string) {
	t.Helper()
	for _, pattern := range []string{"/run/netns/" + id + "*", "/run/weft-netlab/" + id + "*", filepath.Join(os.TempDir(), id+"*")} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, paths...)
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(id)) {
			left = append(left, path)
		}
	}
	return left
}

func wantNothingLeft(t *testing.T, out string) {
	t.Helper()
	id := labID.FindString(out)
	if id == "" {
		return // stopped before the lab had its ID printed: wantNoLabOf finds those
	}
	if left := remains(t, id); len(left) != 0 {
		t.Errorf("after the demo there is %v\n%s", left, out)
	}
}

// wantNoLabOf checks that no record names the process as its owner.
func wantNoLabOf(t *testing.T, pid int) {
	t.Helper()
	labs, err := netlab.Labs()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range labs {
		if l.Owner == pid {
			t.Errorf("lab %s of the ended process is still recorded", l.ID)
		}
	}
}

func TestEveryPairWorks(t *testing.T) {
	requireDemo(t)
	out := mustRun(t, "demo", "--hosts", "3")
	if rows := strings.Count(out, "  ok\n"); rows != 6 {
		t.Errorf("%d rows are ok of the 6 directions among 3 hosts:\n%s", rows, out)
	}
	for _, want := range []string{"underlay ── etcd 10.99.0.254:2379", "RTT", "Gb/s", "every pair works"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	wantNothingLeft(t, out)
}

func TestInterruptLeavesNothing(t *testing.T) {
	requireDemo(t)
	whole := wholeRun(t)
	for i, signals := range [][]syscall.Signal{
		{syscall.SIGINT}, {syscall.SIGTERM}, {syscall.SIGHUP}, {syscall.SIGINT, syscall.SIGINT, syscall.SIGTERM}, {syscall.SIGINT},
	} {
		// One moment in each fifth of a run, at random inside it.
		after := whole * time.Duration(i) / 5
		after += rand.N(whole / 5)
		t.Run(fmt.Sprintf("%v after %v", signals, after.Round(time.Millisecond)), func(t *testing.T) {
			cmd, out := weft(t, "demo", "--hosts", "2")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			for _, s := range signals {
				// It may have come to its end by itself, which is as good.
				if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // or the kernel merges equal ones
			}
			cmd.Wait()
			wantNothingLeft(t, out.String())
			wantNoLabOf(t, cmd.Process.Pid)
		})
	}
}

// wholeRun takes the time of an undisturbed demo with two hosts.
func wholeRun(t *testing.T) time.Duration {
	start := time.Now()
	mustRun(t, "demo", "--hosts", "2")
	return time.Since(start)
}

func TestClosedOutputLeavesNothing(t *testing.T) {
	requireDemo(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := weft(t, "demo", "--hosts", "2")
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	first := make([]byte, 64)
	if _, err := read.Read(first); err != nil {
		t.Fatal(err)
	}
	read.Close() // as `weft demo | head -1` does
	if err := cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v, though only its output was cut off", err)
	}
	wantNoLabOf(t, cmd.Process.Pid)
}

func TestNextStartSweepsAfterKill(t *testing.T) {
	requireDemo(t)
	cmd, out := weft(t, "demo", "--hosts", "2")
	agents := make(chan struct{})
	watch := &watcher{buffer: out, until: "containers", seen: agents}
	cmd.Stdout, cmd.Stderr = watch, watch
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-agents
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	id := labID.FindString(out.String())
	if left := remains(t, id); len(left) == 0 {
		t.Fatal("nothing is left after SIGKILL: this test tests nothing")
	}
	wantNothingLeft(t, mustRun(t, "demo", "--hosts", "2"))
	wantNothingLeft(t, id)
}

// watcher passes on what is written, and closes seen once the text has come by.
type watcher struct {
	buffer *bytes.Buffer
	until  string
	seen   chan struct{}
	once   sync.Once
}

func (w *watcher) Write(text []byte) (int, error) {
	n, err := w.buffer.Write(text)
	if strings.Contains(w.buffer.String(), w.until) {
		w.once.Do(func() { close(w.seen) })
	}
	return n, err
}

func TestKeepTryEnd(t *testing.T) {
	requireDemo(t)
	kept := mustRun(t, "demo", "--hosts", "2", "--keep")
	id := labID.FindString(kept)
	t.Cleanup(func() { netlab.Remove(id) }) // where the test fails before the end
	site, err := loadSite(filepath.Join(os.TempDir(), id))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hints(site) {
		if !strings.Contains(kept, h.command) {
			t.Errorf("hint %q isn't printed", h.command)
		}
		if _, err := exec.LookPath(h.tool); h.tool != "" && err != nil {
			t.Logf("not pasted, for want of %s: %s", h.tool, h.command)
			continue
		}
		if h.tool == "tcpdump" {
			continue // it waits for packets
		}
		t.Run(h.about, func(t *testing.T) {
			if out, err := exec.Command("sh", "-c", h.command).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", h.command, err, out)
			}
		})
	}
	wantNothingLeft(t, id) // the last hint was the end of it
}

func TestUnknownKeptDemo(t *testing.T) {
	requireDemo(t)
	cmd, out := weft(t, "demo", "--end", "weft-demo-nosuch")
	if err := cmd.Run(); err == nil || !strings.Contains(out.String(), `no kept demo is called "weft-demo-nosuch"`) {
		t.Errorf("ending an unknown demo: %v, %s", err, out)
	}
}

func TestOneLineSaysWhatIsMissing(t *testing.T) {
	requireDemo(t)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		command    []string
	}{
		{"root", "run it with sudo", []string{"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all", path, "demo"}},
		{"TUN", "/dev/net/tun", []string{"unshare", "--mount", "sh", "-c", "mount -t tmpfs none /dev/net && exec " + path + " demo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.command[0]); err != nil {
				t.Skip(err)
			}
			if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(c.command[0], c.command[1:]...).CombinedOutput()
			if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, output %q: want one line with %q and a failure", err, out, c.want)
			}
		})
	}
}
