package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weft/perf/netlab"
)

// A process is a program that runs in a lab for as long as its subject is measured: a forwarder, an
// etcd. Its output goes to a file in the lab's directory, for the error message if it ends early.
type process struct {
	name string
	cmd  *netlab.Cmd
	log  string
	done chan struct{} // closed when the process has ended
	err  error         // valid after done: how it ended
}

// start runs a program in a namespace of the lab until stop, or the end of ctx.
func start(ctx context.Context, lab *netlab.Lab, space *netlab.Namespace, name, program string, args ...string) (*process, error) {
	p := &process{
		name: name, cmd: space.Command(ctx, program, args...),
		log: filepath.Join(lab.Dir(), name+".log"), done: make(chan struct{}),
	}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close() // the process has its own descriptor
	// One output for both streams, unpiped: nothing here has to read while the process runs, and a
	// pipe that fills up would stop a forwarder in the middle of a sample.
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// SIGTERM and not the default SIGKILL when ctx ends: these programs own sockets and devices.
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopPatience
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stopPatience is how long a program may take to end by itself before it is killed.
const stopPatience = 3 * time.Second

// stop ends the process and waits for it.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// check returns an error with the end of its output when the process has ended. None of these
// programs should end before stop, whatever its exit status.
func (p *process) check() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	return fmt.Errorf("%s ended (%v): %s", p.name, errors.Join(p.err), p.lastLines())
}

// lastLines is the end of what the process wrote, on one line.
func (p *process) lastLines() string {
	const enough, lines = 4096, 4
	text, err := os.ReadFile(p.log)
	if err != nil {
		return "its output can't be read: " + err.Error()
	}
	text = bytes.TrimSpace(text[max(0, len(text)-enough):])
	if len(text) == 0 {
		return "it wrote nothing"
	}
	all := strings.Split(string(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], " | ")
}

// await polls until ready returns nil, a process of the fabric ends, or patience is over; the error
// is then the last one, with what the processes wrote. Polling, since what is waited for belongs to
// programs that tell nobody.
func await(ctx context.Context, patience time.Duration, what string, processes []*process, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		for _, p := range processes {
			if ended := p.check(); ended != nil {
				return fmt.Errorf("waiting for %s: %w", what, ended)
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			for _, p := range processes {
				err = fmt.Errorf("%w; %s says: %s", err, p.name, p.lastLines())
			}
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}
