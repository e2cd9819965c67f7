package demo

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress prints one line per step. On a terminal the line of the step under way is there from
// its start and changes; elsewhere it is printed when the step is over.
type progress struct {
	out      io.Writer
	terminal bool
	began    time.Time
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, terminal: isTerminal(out), began: time.Now()}
}

// isTerminal asks for what only terminals have.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// line prints one line. Its failure is nobody's concern: a closed output doesn't stop a demo.
func (p *progress) line(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// total closes the report.
func (p *progress) total(failure error) {
	verdict := "every pair works"
	if failure != nil {
		verdict = "not every pair works"
	}
	p.line("\n%s, after %.1f s", verdict, time.Since(p.began).Seconds())
}

// step is one line.
type step struct {
	*progress
	name  string
	began time.Time
}

// step begins a line.
func (p *progress) step(name string) *step {
	s := &step{progress: p, name: name, began: time.Now()}
	s.say("")
	return s
}

// clearLine goes to the start of the line and erases it (ECMA-48 EL).
const clearLine = "\r\x1b[K"

// say changes what the line tells of a step under way.
func (s *step) say(format string, args ...any) {
	if s.terminal {
		fmt.Fprintf(s.out, clearLine+"  … %-11s "+format, append([]any{s.name}, args...)...)
	}
}

// done ends the line with what was reached, and the time it took.
func (s *step) done(format string, args ...any) {
	s.end("✓", fmt.Sprintf(format, args...))
}

// failed ends the line, and returns the error, which the caller reports.
func (s *step) failed(err error) error {
	s.end("✗", "failed")
	return err
}

// end replaces what say has put there.
func (s *step) end(mark, text string) {
	if s.terminal {
		fmt.Fprint(s.out, clearLine)
	}
	fmt.Fprintf(s.out, "  %s %-11s %s (%.1f s)\n", mark, s.name, text, time.Since(s.began).Seconds())
}
