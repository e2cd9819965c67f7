package leasetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/lease/embedded"
)

// asServer holds the options of the server that this test binary is to be.
const asServer = "WEFT_TEST_AS_ETCD"

// ServeIfAsked makes this process a server where [StartProcess] started it, and doesn't return then.
// TestMain calls it first.
func ServeIfAsked() {
	text := os.Getenv(asServer)
	if text == "" {
		return
	}
	var o embedded.Options
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = serve(o)
	}
	if !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(o embedded.Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := embedded.New(o)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, stop)
	go func() {
		<-s.Ready()
		fmt.Println("ready")
	}()
	return s.Run(ctx)
}

// A Process is a server in a process of its own, which can be killed as a real one.
type Process struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	ended  sync.Once
	err    error
}

// StartProcess starts a server and waits until it serves. It is killed at the end of the test.
// Options.Log is not used. The test binary's TestMain must call [ServeIfAsked].
func StartProcess(t testing.TB, o embedded.Options) *Process {
	t.Helper()
	p, err := start(os.Args[0], o, os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// TryProcess returns why a server, in a process of its own, doesn't start: with its exit status and
// what it wrote. What such a server leaves behind in its process is nobody's concern.
func TryProcess(t testing.TB, o embedded.Options) error {
	t.Helper()
	return TryProcessAs(t, o, os.Geteuid())
}

// TryProcessAs is TryProcess as another user, who gets a copy of the test binary that all may run.
func TryProcessAs(t testing.TB, o embedded.Options, uid int) error {
	t.Helper()
	binary := os.Args[0]
	if uid != os.Geteuid() {
		binary = filepath.Join(openFolder(t), "test")
		text, err := os.ReadFile(os.Args[0])
		if err == nil {
			err = os.WriteFile(binary, text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := start(binary, o, uid)
	if err == nil {
		p.Kill()
	}
	return err
}

// openFolder is a temporary folder that every user can get to.
func openFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func start(binary string, o embedded.Options, uid int) (*Process, error) {
	o.Log = nil
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(binary), stderr: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), asServer+"="+string(text))
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never outlives a test that was killed
	if uid != os.Geteuid() {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("the server isn't ready: %w: %s", p.wait(), p.stderr)
	}
	return p, nil
}

// Kill ends the server as a power cut would, but for what the kernel has in its cache.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.wait()
}

// Stop asks the server to end, and returns how long that took, and how it exited.
func (p *Process) Stop() (time.Duration, error) {
	begun := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := p.wait()
	return time.Since(begun), err
}

// Log is what the server wrote; to be read after its end.
func (p *Process) Log() string { return p.stderr.String() }

func (p *Process) wait() error {
	p.ended.Do(func() { p.err = p.cmd.Wait() })
	return p.err
}

// Wait returns how a server that ends by itself exited; one that doesn't within limit is killed.
func (p *Process) Wait(limit time.Duration) error {
	defer time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() }).Stop()
	return p.wait()
}
