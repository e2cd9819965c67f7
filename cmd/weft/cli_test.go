package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asProgram makes this test binary be weft, for tests that start agents in other namespaces: what
// they start then has the test's own coverage and race detector.
const asProgram = "WEFT_TEST_AS_PROGRAM"

// withTTL has the agents of a test take leases of another length than flannel's.
const withTTL = "WEFT_TEST_LEASE_TTL"

// withStepPatience has weft migrate wait less for hosts that won't come.
const withStepPatience = "WEFT_TEST_STEP_PATIENCE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		leaseTTL, _ = time.ParseDuration(os.Getenv(withTTL)) // 0 where it isn't set
		if d, err := time.ParseDuration(os.Getenv(withStepPatience)); err == nil {
			stepPatience = d
		}
		main()
	}
	testscript.Main(m, map[string]func(){"weft": main})
}

// TestScripts runs testdata/script: the command line as a user sees it, every line and exit status.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(time.Minute), // a line that should fail must not start an agent
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": exitStatus},
	})
}

// exitStatus runs a program and checks how it exits: "status 2 weft agent --bogus". Its output is
// then there for stdout and stderr, as after exec.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program args...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = "?"
		if exit, ok := err.(interface{ ExitCode() int }); ok {
			got = string(rune('0' + exit.ExitCode()))
		}
	}
	if got != args[0] {
		ts.Fatalf("%v exits with %s (%v), want %s", args[1:], got, err, args[0])
	}
}
