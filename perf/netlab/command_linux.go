package netlab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
)

// markVariable is in the environment of every process that a lab starts, and of what that starts in
// turn. It is how Close and Sweep know whom they may kill.
const markVariable = "WEFT_NETLAB"

// A Cmd is an exec.Cmd that starts inside a namespace. Use it as one, through the methods here:
// Start, Run, Output and CombinedOutput are its own, everything else is the embedded Cmd's.
type Cmd struct {
	*exec.Cmd
	namespace *Namespace
}

// Command prepares a process that will run inside the namespace, with the file system and the
// environment of this one. It is killed when ctx ends or the lab closes.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{Cmd: exec.CommandContext(ctx, name, args...), namespace: n}
}

// Start starts the process and doesn't wait for it.
func (c *Cmd) Start() error {
	// The mark comes last: exec uses the last of equal names, and a lab inside a lab owns its own.
	if c.Env == nil {
		c.Env = os.Environ()
	}
	c.Env = append(c.Env, markVariable+"="+c.namespace.labID)
	// A child is in the namespace of the thread that forked it, so that no nsenter has to be there.
	return c.namespace.Do(c.Cmd.Start)
}

// Run starts the process and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the process and returns what it wrote to standard output. The error is an
// *exec.ExitError with Stderr filled where the process failed and Stderr was not set.
func (c *Cmd) Output() ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput runs the process and returns its standard output and error, interleaved.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	err := c.Run()
	return both.Bytes(), err
}
