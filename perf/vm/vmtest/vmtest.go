// Package vmtest is what a test imports to run on the virtual machine's kernel. Such a test is named
// TestVM…, which is what `make test-vm` looks for, and begins with Required.
//
// Inside, the test has root, all namespaces, the modules of vm.Modules, /tmp and its package's testdata;
// no program but itself, no network but lo, and a processor some 15 times slower than usual.
package vmtest

import (
	"os"
	"testing"

	"weft/perf/vm/guest"
)

// Required skips a test outside of the virtual machine. This is never a failure, whatever REQUIRE_ROOT
// says: `make test` runs the test inside, and fails where it can't.
func Required(t testing.TB) {
	t.Helper()
	if !Inside() {
		t.Skip("runs on another kernel: make test-vm")
	}
}

// Inside reports whether the test runs in the virtual machine, where what only takes longer should take less.
func Inside() bool { return os.Getenv(guest.Variable) == "1" }
