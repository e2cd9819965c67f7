package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// folderPrefix names the folders that runs make, with the run's process number behind it.
const folderPrefix = "weft-bench-leases-"

// A child is a program that lives no longer than the run, however that ends.
type child struct {
	cmd  *exec.Cmd
	out  bytes.Buffer  // what it wrote, for the error message; read after done
	done chan struct{} // closed when it has ended
	err  error
}

// startChild runs a program until stop, or until this process dies of whatever.
func startChild(cmd *exec.Cmd, output bool) (*child, error) {
	c := &child{cmd: cmd, done: make(chan struct{})}
	if output {
		cmd.Stdout = &c.out
	}
	cmd.Stderr = &c.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that made the child ends, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return c, nil
}

// stop ends the child and waits for it.
func (c *child) stop() {
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(5 * time.Second):
		c.cmd.Process.Kill()
		<-c.done
	}
}

// A server is an etcd of the run's own.
type server struct {
	*child
	name     string
	endpoint string
	folder   string

	preferred bool // it goes before the agents where both want a core
}

// startServer starts an etcd on free ports of loopback, with its data in a temporary folder.
func startServer(ctx context.Context, o Options) (*server, error) {
	if err := sweepFolders(os.TempDir()); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for etcd: %w", err)
	}
	s := &server{folder: folder}
	if err := s.run(ctx, o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) run(ctx context.Context, o Options) error {
	client, err := freeURL()
	if err != nil {
		return err
	}
	peer, err := freeURL()
	if err != nil {
		return err
	}
	program, args, err := serverProgram(o)
	if err != nil {
		return err
	}
	s.name = serverVersion(ctx, program, args)
	s.endpoint = client
	args = append(args, "--data-dir="+filepath.Join(s.folder, "etcd"), "--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if s.child, err = startChild(exec.Command(program, args...), true); err != nil {
		return err
	}
	// On machines of their own thousands of agents would not take the cores that etcd runs on. All
	// threads of the child's group; only root may.
	s.preferred = unix.Setpriority(unix.PRIO_PGRP, s.cmd.Process.Pid, etcdNice) == nil
	return s.await(ctx)
}

// etcdNice is the scheduling priority of a run's own etcd above the agents', whose is 0: about nine
// times their share of a core that both want.
const etcdNice = -10

// serverProgram finds etcd.
func serverProgram(o Options) (program string, args []string, err error) {
	found, err := exec.LookPath("etcd")
	if err == nil && o.Etcd != EtcdEmbedded {
		return found, nil, nil
	}
	if o.Etcd == EtcdPath {
		return "", nil, fmt.Errorf("no etcd on PATH (%w): install etcd-server, or use --etcd %s", err, EtcdEmbedded)
	}
	return o.Weft, []string{"etcd"}, nil
}

func serverVersion(ctx context.Context, program string, args []string) string {
	if len(args) > 0 {
		return "weft etcd (embedded)"
	}
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil || line == "" {
		return program
	}
	return line
}

// await waits until the server answers.
func (s *server) await(ctx context.Context) error {
	limit := time.Now().Add(20 * time.Second)
	for {
		_, err := readCounters(ctx, s.endpoint)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("etcd ended at once (%v): %s", s.err, lastLine(s.out.String()))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(limit) {
			return fmt.Errorf("waiting for etcd at %s: %w", s.endpoint, err)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// close ends the server and removes its data.
func (s *server) close() error {
	if s.child != nil {
		s.stop()
	}
	if err := os.RemoveAll(s.folder); err != nil {
		return fmt.Errorf("removing etcd's folder: %w", err)
	}
	return nil
}

// sweepFolders removes what runs left that were killed: their etcd dies with them, their folder can't.
func sweepFolders(temp string) error {
	left, err := filepath.Glob(filepath.Join(temp, folderPrefix+"*"))
	if err != nil {
		return fmt.Errorf("looking for folders of earlier runs: %w", err)
	}
	var errs []error
	for _, folder := range left {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), folderPrefix), "-")
		pid, err := strconv.Atoi(number)
		if err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		errs = append(errs, os.RemoveAll(folder))
	}
	return errors.Join(errs...)
}

func freeURL() (string, error) {
	addr, err := netlab.FreeAddr()
	return "http://" + addr, err
}

// ownCPU is the CPU time of this process so far.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil { // can't fail for RUSAGE_SELF
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory is the most memory that this process ever had, in bytes; Linux counts it in kB.
func peakMemory() uint64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return uint64(u.Maxrss) << 10
}
