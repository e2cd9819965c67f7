package main

import (
	"slices"
	"strings"
	"time"
)

// inside is what go test's arguments become for the test binary in the machine.
type inside struct {
	args    []string
	timeout time.Duration // the binary's own
}

// defaultTimeout is go test's.
const defaultTimeout = 10 * time.Minute

// outsideOnly are arguments that name files of this machine.
var outsideOnly = []string{"testlogfile", "outputdir", "gocoverdir", "coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace", "fuzzcachedir"}

// translate drops what can't work inside and has the binary name every test: that is how the tests are
// counted. go test shows the names only with its own -v, or if something fails.
func translate(args []string) inside {
	in := inside{timeout: defaultTimeout}
	verbose := false
	for _, arg := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		name, ours := strings.CutPrefix(name, "test.")
		if ours && slices.Contains(outsideOnly, name) {
			continue
		}
		if ours && name == "timeout" {
			if limit, err := time.ParseDuration(value); err == nil && limit > 0 {
				in.timeout = limit
			}
		}
		verbose = verbose || ours && name == "v" && value != "false"
		in.args = append(in.args, arg)
	}
	if !verbose {
		in.args = append(in.args, "-test.v=true")
	}
	return in
}
