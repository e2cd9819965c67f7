package perf

import (
	"bytes"
	_ "embed" // for the reference run
	"fmt"

	"weft/perf/report"
)

// referenceRun is the run behind the README's figures, as `weft bench --json` wrote it.
//
//go:embed reference.json
var referenceRun []byte

// Reference returns the run that came with this weft: what its parts were worth on the machine that
// the run names. It is the caller's.
func Reference() (*report.Run, error) {
	run, err := report.Read(bytes.NewReader(referenceRun))
	if err != nil {
		return nil, fmt.Errorf("reading the reference run: %w", err)
	}
	return run, nil
}
