package vm

import (
	"bytes"
	"io"
)

// A tally passes on what a test binary prints with -test.v and counts the results of its tests, subtests
// not among them.
type tally struct {
	w    io.Writer
	line []byte // what has come of the current line, up to longestResult

	passed, failed, skipped int
}

// longestResult is all of a line that tells its result.
const longestResult = 16

// Write implements io.Writer. Lines may come in any pieces.
func (t *tally) Write(b []byte) (int, error) {
	for part := range bytes.Lines(b) {
		t.line = append(t.line, part[:min(len(part), longestResult-len(t.line))]...)
		if part[len(part)-1] == '\n' {
			t.count()
			t.line = t.line[:0]
		}
	}
	return t.w.Write(b)
}

func (t *tally) count() {
	// go test -json asks for a ^V in front of the lines that it parses.
	switch line := bytes.TrimPrefix(t.line, []byte{0x16}); {
	case bytes.HasPrefix(line, []byte("--- PASS: ")):
		t.passed++
	case bytes.HasPrefix(line, []byte("--- FAIL: ")):
		t.failed++
	case bytes.HasPrefix(line, []byte("--- SKIP: ")):
		t.skipped++
	}
}
