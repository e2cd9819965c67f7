package footprint

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMappingsAreRead(t *testing.T) {
	const smaps = `00400000-01000000 r-xp 00000000 fe:00 12 /opt/a program/weft
Size:              12288 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01000000-01001000 r--p 00c00000 fe:00 12 /opt/a program/weft
Anonymous:             4 kB
01001000-01002000 rw-p 00c01000 fe:00 12 /opt/a program/weft
Anonymous:             0 kB
01002000-01003000 r--s 00000000 00:01 13 /dev/zero
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`
	got, err := readMappings(strings.NewReader(smaps))
	if err != nil {
		t.Fatal(err)
	}
	const program = "/opt/a program/weft"
	want := []mapping{
		{0x400000, 0xc00000, program, true, false},
		{0x1000000, 0x1000, program, true, true},
		{0x1001000, 0x1000, program, false, false},
		{0x1002000, 0x1000, "/dev/zero", false, true},
		{0xc000000000, 0x400000, "", false, false},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, broken := range []string{"x-y r-xp 0 0 0 /weft\n", "2000-1000 r-xp 0 0 0 /weft\n", "1000 r-xp 0 0 0 /weft\n"} {
		if all, err := readMappings(strings.NewReader(broken)); err == nil {
			t.Errorf("%q: read as %v", broken, all)
		}
	}
}

// The program goes on after it has let go of itself, and has less of its file in memory.
func TestProgramForgetsItsFile(t *testing.T) {
	before := ofFile(t)
	if err := forgetFile(); err != nil {
		t.Fatal(err)
	}
	if after := ofFile(t); after >= before {
		t.Errorf("%d kB of files in memory before, %d after", before, after)
	}
}

// ofFile is RssFile of proc_pid_status(5), in kB.
func ofFile(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssFile:")
	value, _, _ := strings.Cut(rest, "kB")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		t.Fatalf("reading RssFile in /proc/self/status: %v", err)
	}
	return n
}

func FuzzMappings(f *testing.F) {
	f.Add("00400000-01000000 r-xp 00000000 fe:00 12 /weft\nAnonymous: 0 kB\n")
	f.Fuzz(func(t *testing.T, smaps string) {
		all, err := readMappings(strings.NewReader(smaps))
		for _, m := range all {
			if err == nil && m.start+m.length < m.start {
				t.Errorf("%q: %+v", smaps, m)
			}
		}
	})
}
