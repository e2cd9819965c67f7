package netlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// builderVariable makes the test binary a program that builds a lab and waits to be killed.
const builderVariable = "NETLAB_TEST_BUILDER"

func TestMain(m *testing.M) {
	if how := os.Getenv(builderVariable); how != "" {
		if err := holdLab(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func holdLab(how string) error {
	lab, err := New(context.Background(), Config{Name: "test", Hosts: 2, MTU: 1500})
	if err != nil {
		return err
	}
	// A shell with a child: both must go, though only the shell was started by the lab.
	shell := lab.Host(1).Command(context.Background(), "sh", "-c", "sleep 1000 >/dev/null & echo; wait")
	started, err := shell.StdoutPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	if _, err := started.Read(make([]byte, 1)); err != nil {
		return err
	}
	if how == "keep" {
		if err := lab.Keep(); err != nil {
			return err
		}
	}
	fmt.Println(lab.ID())
	return shell.Wait()
}

// killedBuilder runs a builder in another process, kills it with SIGKILL once its lab stands, and
// returns the lab's ID.
func killedBuilder(t *testing.T, how string) string {
	t.Helper()
	requireRoot(t)
	builder := exec.Command("/proc/self/exe")
	builder.Env = append(os.Environ(), builderVariable+"="+how)
	builder.Stderr = os.Stderr
	out, err := builder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := builder.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := builder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	builder.Wait()
	return strings.TrimSpace(line)
}

// remains lists everything on the machine that carries the lab's ID.
func remains(t *testing.T, id string) (what []string) {
	t.Helper()
	for _, pattern := range []string{runNetns + "/" + id + "*", recordDir + "/" + id + "*", filepath.Join(os.TempDir(), id+"*")} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		what = append(what, paths...)
	}
	pids, err := marked(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		what = append(what, fmt.Sprintf("process %d", pid))
	}
	return what
}

func TestSweepAfterKill(t *testing.T) {
	id := killedBuilder(t, "leave")
	if got := remains(t, id); len(got) != 7 { // 3 namespaces, record, directory, shell and sleep
		t.Fatalf("before the sweep there is %v", got)
	}
	removed, err := Sweep()
	if err != nil {
		t.Fatal(err)
	}
	// A New elsewhere may have swept it first; what counts is that it is gone.
	if got := remains(t, id); len(got) != 0 {
		t.Errorf("after sweeping %v there is still %v", removed, got)
	}
}

func TestKeptLabIsLeftAlone(t *testing.T) {
	id := killedBuilder(t, "keep")
	if _, err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if got := remains(t, id); len(got) != 7 {
		t.Errorf("after a sweep the kept lab is %v", got)
	}
	if err := Remove(id); err != nil {
		t.Fatal(err)
	}
	if got := remains(t, id); len(got) != 0 {
		t.Errorf("after its removal there is still %v", got)
	}
	if err := Remove(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing it again: %v, want fs.ErrNotExist", err)
	}
}

func TestSweepSparesTheLiving(t *testing.T) {
	lab := build(t, Config{Hosts: 1})
	removed, err := Sweep()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(removed, lab.ID()) {
		t.Error("a sweep removed a lab whose owner lives")
	}
	if err := Remove(lab.ID()); !errors.Is(err, errOwned) {
		t.Errorf("removing a lab whose owner lives: %v", err)
	}
	if _, err := os.Stat(lab.Host(1).Path()); err != nil {
		t.Error(err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	requireRoot(t)
	cycle := func() string {
		lab, err := New(t.Context(), Config{Name: "test", Hosts: 2, MTU: 1500})
		if err != nil {
			t.Fatal(err)
		}
		if err := lab.Host(1).Uplink.Impair(Impairment{Loss: 0.1}); err != nil {
			t.Fatal(err)
		}
		sleep := lab.Host(1).Command(context.Background(), "sleep", "1000")
		if err := sleep.Start(); err != nil {
			t.Fatal(err)
		}
		if err := lab.Close(); err != nil {
			t.Fatal(err)
		}
		if err := sleep.Wait(); err == nil {
			t.Error("the lab's process ended well; it should have been killed")
		}
		return lab.ID()
	}
	cycle() // what the runtime opens once (epoll) is open now
	before := openFiles(t)
	id := cycle()
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
	if got := remains(t, id); len(got) != 0 {
		t.Errorf("after Close there is %v", got)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestLabsSideBySide(t *testing.T) {
	requireRoot(t)
	var labs sync.WaitGroup
	for range 4 {
		labs.Go(func() {
			lab, err := New(t.Context(), Config{Name: "test", Hosts: 2, MTU: 1500})
			if err != nil {
				t.Error(err)
				return
			}
			a, b := lab.Host(1), lab.Host(2)
			if err := echo(t, a.Namespace, b.Namespace, b.Addr, 64, arrives); err != nil {
				t.Error(err)
			}
			if err := lab.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	labs.Wait()
}

func TestTornRecordIsSwept(t *testing.T) {
	requireRoot(t)
	r, err := createRecord(Record{ID: "weft-test-torn"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.file.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if err := r.file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep(); err != nil {
		t.Error(err)
	}
	if got := remains(t, "weft-test-torn"); len(got) != 0 {
		t.Errorf("after the sweep there is %v", got)
	}
}
