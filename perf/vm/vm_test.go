package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/perf/vm/guest"
)

// entryRead is a cpio entry as the kernel's init/initramfs.c reads it.
type entryRead struct {
	name string
	mode int
	data string
}

// unpack reads an archive by the kernel's rules.
func unpack(t *testing.T, b []byte) (all []entryRead) {
	t.Helper()
	const headerSize = 110
	for at := 0; ; {
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		if magic := string(b[at : at+6]); magic != cpioMagic || at%4 != 0 {
			t.Fatalf("entry at %d begins with %q", at, magic)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(b[at+headerSize : at+headerSize+nameSize])
		data := (at + headerSize + nameSize + 3) &^ 3
		if !strings.HasSuffix(name, "\x00") {
			t.Fatalf("name %q does not end with NUL", name)
		}
		if name = name[:nameSize-1]; name == "TRAILER!!!" {
			return all
		}
		all = append(all, entryRead{name, mode, string(b[data : data+size])})
		at = (data + size + 3) &^ 3
	}
}

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := &archive{w: &b}
	var want []entryRead
	for n := range 9 { // every remainder of both paddings
		name := "f" + strings.Repeat("x", n)
		a.file(name, modeData, bytes.Repeat([]byte{'d'}, n))
		want = append(want, entryRead{name, modeData, strings.Repeat("d", n)})
	}
	a.file("a/b/program", modeProgram, []byte("run"))
	want = append(want, entryRead{"a", modeFolder, ""}, entryRead{"a/b", modeFolder, ""}, entryRead{"a/b/program", modeProgram, "run"})
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if got := unpack(t, b.Bytes()); !slices.Equal(got, want) {
		t.Errorf("unpacked %v\nwant     %v", got, want)
	}
	a.copy("gone", modeData, filepath.Join(t.TempDir(), "gone"))
	if err := a.close(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a file that is not there: %v", err)
	}
}

func TestNeeds(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=ip_tunnel,tunnel4\x00name=ipip\x00": {"ip_tunnel", "tunnel4"},
		"depends=ip6-udp-tunnel\x00":                                {"ip6_udp_tunnel"},
		"depends=\x00retpoline=Y\x00":                               nil,
		"":                                                          nil,
		"depends=unterminated":                                      {"unterminated"},
	} {
		if got := needs([]byte(info)); !slices.Equal(got, want) {
			t.Errorf("%q needs %v, want %v", info, got, want)
		}
	}
}

func TestOpenKernelSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenKernel(dir); err == nil || !strings.Contains(err.Error(), "make test-vm") {
		t.Errorf("empty folder: %v", err)
	}
	tree := filepath.Join(dir, "lib/modules/6.1.0")
	for _, file := range []string{filepath.Join(dir, "boot/vmlinuz-6.1.0"), filepath.Join(tree, "modules.builtin")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("kernel/net/ipv6/ipv6.ko\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenKernel(dir); err == nil || !strings.Contains(err.Error(), tree) {
		t.Errorf("no modules: %v", err)
	}
	broken := filepath.Join(tree, "veth.ko")
	if err := os.WriteFile(broken, []byte("no ELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := OpenKernel(dir)
	if err != nil || k.Version != "6.1.0" {
		t.Fatalf("kernel %+v, %v", k, err)
	}
	if paths, err := k.loadOrder([]string{"ipv6"}); len(paths) != 0 || err != nil {
		t.Errorf("built in: %v, %v", paths, err)
	}
	if _, err := k.loadOrder([]string{"veth"}); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("broken module: %v", err)
	}
}

func TestTally(t *testing.T) {
	text := "=== RUN   TestVMA\n    --- FAIL: TestVMA/sub (0.00s)\n--- PASS: TestVMA (0.00s)\n\x16--- PASS: TestVMB (0.00s)\n" +
		"--- SKIP: TestVMC (0.00s)\n--- FAIL: TestVMD (0.00s)\nlong " + strings.Repeat("x", 100) + "--- PASS: no\nPASS\n"
	for size := 1; size < len(text); size += 7 {
		var passed bytes.Buffer
		counted := &tally{w: &passed}
		for part := range slices.Chunk([]byte(text), size) {
			if n, err := counted.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		if counted.passed != 2 || counted.failed != 1 || counted.skipped != 1 || passed.String() != text {
			t.Errorf("in pieces of %d: %d passed, %d failed, %d skipped\n%s", size, counted.passed, counted.failed, counted.skipped, &passed)
		}
	}
}

func TestOutcome(t *testing.T) {
	late := errors.New("too late")
	for _, test := range []struct {
		ended  error
		status string
		tests  tally
		want   string
	}{
		{nil, guest.Status(0), tally{passed: 3}, ""},
		{late, guest.Status(0), tally{passed: 1}, ""}, // it came in time all the same
		{nil, guest.Status(0), tally{skipped: 3}, "no test passed: 0 failed, 3 were skipped"},
		{nil, guest.Status(0), tally{passed: 1, skipped: 2}, "2 tests were skipped inside the machine, which is there for them"},
		{nil, guest.Status(0), tally{passed: 1, failed: 1}, "1 tests failed, though the status is 0"},
		{nil, guest.Status(1), tally{passed: 1}, "the test ended with status 1"},
		{nil, "init of the virtual machine: no\n", tally{}, "init of the virtual machine: no"},
		{nil, guest.Status(0)[:10], tally{passed: 1}, guest.Status(0)[:10]}, // cut off
		{late, "", tally{passed: 1}, "too late"},
		{nil, "", tally{passed: 1}, errVanished.Error()},
	} {
		if got := outcome(test.ended, test.status, &test.tests); got != test.want {
			t.Errorf("%v %q %+v: %q, want %q", test.ended, test.status, test.tests, got, test.want)
		}
	}
}

func TestConsoleTail(t *testing.T) {
	var text, want []string
	for i := range 2 * consoleLines {
		text = append(text, fmt.Sprint("line ", i))
	}
	want = text[consoleLines:]
	if got := consoleTail(strings.Join(text, "\r\n") + "\r\n[ 2.6] " + lastWords + "\r\n"); got != strings.Join(want, "\n") {
		t.Errorf("tail is\n%s", got)
	}
	if got := consoleTail("[ 2.6] " + lastWords + "\r\n"); got != "" {
		t.Errorf("tail of an ordinary end is %q", got)
	}
}

func FuzzNeeds(f *testing.F) {
	f.Add([]byte("license=GPL\x00depends=ip_tunnel,tunnel4\x00"))
	f.Fuzz(func(t *testing.T, info []byte) {
		for _, name := range needs(info) {
			if strings.ContainsAny(name, "\x00,-") || name == "" {
				t.Errorf("%q needs a module %q", info, name)
			}
		}
	})
}

// What is counted doesn't depend on the pieces in which the output comes.
func FuzzTally(f *testing.F) {
	f.Add([]byte("--- PASS: TestVMA (0.00s)\n--- SKIP: TestVMB (0.00s)\n"), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var whole, pieces tally
		var all, parts bytes.Buffer
		whole.w, pieces.w = &all, &parts
		whole.Write(text)
		for part := range slices.Chunk(text, int(size)+1) {
			pieces.Write(part)
		}
		if whole.passed != pieces.passed || whole.failed != pieces.failed || whole.skipped != pieces.skipped || !bytes.Equal(all.Bytes(), parts.Bytes()) {
			t.Errorf("%q in pieces of %d: %+v, want %+v", text, int(size)+1, pieces, whole)
		}
	})
}
