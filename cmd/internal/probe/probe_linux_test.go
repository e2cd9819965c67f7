package probe

import (
	"errors"
	"os"
	"testing"

	"weft/perf/netlab/labtest"
	"weft/tunnel"
)

func TestRungsAreFound(t *testing.T) {
	labtest.Need(t)
	found, err := Rungs(tunnel.Modes{TSO: tunnel.Off})
	if err != nil || len(found) == 0 {
		t.Fatalf("Rungs = %v, %v", found, err)
	}
	for _, rung := range found {
		if off := rung.Name == "tso"; rung.On == off && rung.Name != "uso" {
			t.Errorf("%s: on %v (%s)", rung.Name, rung.On, rung.Why)
		}
	}
}

func TestApartLeavesTheNamespaceAlone(t *testing.T) {
	labtest.Need(t)
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	want := errors.New("from inside")
	var inside string
	if err := apart(func() error {
		inside, _ = os.Readlink("/proc/thread-self/ns/net")
		return want
	}); !errors.Is(err, want) {
		t.Errorf("apart = %v, want f's own error", err)
	}
	if inside == before || inside == "" {
		t.Errorf("f ran in %q, the caller's namespace is %q", inside, before)
	}
}
