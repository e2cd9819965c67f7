package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weft/perf/vm/guest"
)

// A Machine says what to boot and what to run in it.
type Machine struct {
	Kernel  *Kernel
	Init    string // path of the program vminit, static
	Program string // path of the test binary, static (CGO_ENABLED=0)
	Args    []string
	Env     []string // KEY=VALUE, on top of what guest.Boot sets

	Testdata string        // folder that the test finds as ./testdata; "" for none
	Timeout  time.Duration // from power-on; must be given
	Output   io.Writer     // gets what the test prints, standard output and error alike, as it comes
}

const (
	processors = 2
	memoryMiB  = 768 // a test binary of 40 MiB is there three times while it is unpacked
)

// A Failure is that the test's end isn't known, or known to be bad.
type Failure struct {
	Reason  string // what happened, in one line
	Console string // the last lines of the kernel's console; may be empty
}

// Error is the reason and what the console says of it.
func (f *Failure) Error() string {
	if f.Console == "" {
		return f.Reason
	}
	return f.Reason + "; the console of the virtual machine ends with:\n" + f.Console
}

// Run boots the machine, runs the test in it, and returns nil only if the test binary ended with status
// 0, at least one test passed and none was skipped (subtests may be). Everything else is a *Failure (the test, the machine), or another
// error (qemu or a file is missing). When ctx ends, the machine is killed. It dies with this process
// too, however that ends. Nothing is left behind.
func (m Machine) Run(ctx context.Context) error {
	// Cause tells the machine's own limit from the caller's.
	ctx, cancel := context.WithTimeoutCause(ctx, m.Timeout, fmt.Errorf("no result within %v of power-on", m.Timeout))
	defer cancel()
	counted := &tally{w: m.Output}
	status, console, err := m.boot(ctx, counted)
	if err != nil {
		return err
	}
	if reason := outcome(context.Cause(ctx), status, counted); reason != "" {
		return &Failure{Reason: reason, Console: consoleTail(console)}
	}
	return nil
}

// outcome says why the run failed; "" if it didn't.
func outcome(ended error, status string, tests *tally) string {
	switch {
	case status == guest.Status(0) && tests.passed == 0:
		return fmt.Sprintf("no test passed: %d failed, %d were skipped", tests.failed, tests.skipped)
	case status == guest.Status(0) && tests.failed > 0: // a test that calls os.Exit(0)
		return fmt.Sprintf("%d tests failed, though the status is 0", tests.failed)
	case status == guest.Status(0) && tests.skipped > 0:
		return fmt.Sprintf("%d tests were skipped inside the machine, which is there for them", tests.skipped)
	case status == guest.Status(0):
		return ""
	case status != "":
		return strings.TrimSpace(status)
	case ended != nil:
		return ended.Error()
	}
	return errVanished.Error()
}

var errVanished = errors.New("the virtual machine ended without a result")

// consoleLines is enough for a kernel's panic with its trace.
const consoleLines = 60

func consoleTail(text string) string {
	text = strings.ReplaceAll(text, "\r", "")
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(text), "\n"), func(line string) bool {
		return strings.HasSuffix(line, lastWords)
	})
	return strings.Join(lines[max(0, len(lines)-consoleLines):], "\n")
}

// lastWords are what the kernel says at every ordinary end.
const lastWords = "reboot: Restarting system"
