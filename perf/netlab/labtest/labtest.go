// Package labtest is how tests ask for what only some machines have: the right to make network namespaces,
// /dev/net/tun, a program of the distribution. Where that is missing a test is skipped; with REQUIRE_ROOT=1 in
// the environment, as in CI, it fails instead, since a skip there would hide that nothing was tested.
//
// It is for tests alone. The labs themselves are netlab's.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"weft/perf/netlab"
)

// Need asks for the right to make network namespaces.
func Need(t testing.TB) {
	t.Helper()
	if err := netlab.Check(); err != nil {
		Missing(t, err)
	}
}

// NeedTUN asks for network namespaces and for TUN devices in them.
func NeedTUN(t testing.TB) {
	t.Helper()
	Need(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		Missing(t, fmt.Errorf("looking for TUN devices: %w", err))
	}
}

// NeedProgram asks for a program that a package of Debian's has, and returns its path.
func NeedProgram(t testing.TB, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, fmt.Errorf("%s isn't installed: apt-get install %s", name, debian))
	}
	return path
}

// NeedRoot asks for root, for what needs no lab.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, errors.New("this test needs root"))
	}
}

// Missing ends a test for want of something that error names.
func Missing(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
