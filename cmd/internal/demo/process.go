package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"weft/perf/netlab"
)

// A process is one weft binary that runs until the lab ends it.
type process struct {
	name string
	log  string        // path of its output
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
}

// launch says what to start.
type launch struct {
	name    string // of the process and of its log
	space   *netlab.Namespace
	program string
	args    []string
	dir     string // where the log goes
}

// start runs weft with its output in dir/name.log. No context kills it: the lab does, or nobody where
// it is kept. It gets a session of its own, so that Ctrl-C on this terminal isn't its concern.
func start(l launch) (*process, error) {
	p := &process{name: l.name, log: filepath.Join(l.dir, l.name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", l.name, err)
	}
	defer log.Close()
	cmd := l.space.Command(context.Background(), l.program, l.args...)
	cmd.Env = cleanEnvironment(os.Environ())
	// A file, not a pipe: where the demo is kept, the process writes on when this one has gone.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", l.name, err)
	}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// cleanEnvironment drops what would change a weft process's options behind the demo's back.
func cleanEnvironment(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "WEFT_") && !strings.HasPrefix(e, "FLANNELD_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// ended returns nil while the process runs, and afterwards why it doesn't any more.
func (p *process) ended() error {
	select {
	case <-p.done:
		return p.explain(fmt.Errorf("%s ended early: %w", p.name, orEnded(p.err)))
	default:
		return nil
	}
}

// orEnded has words for a process that ended well, though it should not have ended.
func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// explain adds the last lines that the process wrote.
func (p *process) explain(err error) error {
	const lines = 8
	text, readErr := os.ReadFile(p.log)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	if readErr != nil || all[0] == "" {
		return err
	}
	last := all[max(0, len(all)-lines):]
	return fmt.Errorf("%w\nthe last that %s wrote:\n    %s", err, p.name, strings.Join(last, "\n    "))
}
