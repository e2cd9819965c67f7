package express

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
)

const remedy = "the committed programs are not those of bpf/: run make generate"

// TestSourcesAreThoseCompiled needs no clang: whoever changes a source and compiles nothing is told.
func TestSourcesAreThoseCompiled(t *testing.T) {
	headers, _ := filepath.Glob("bpf/*.h")
	sources, _ := filepath.Glob("bpf/*.c")
	sum := sha256.New()
	for _, name := range append(headers, sources...) { // both sorted, as the shell has them
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	want, err := os.ReadFile("bpf/sources.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x\n", sum.Sum(nil)); got != string(want) {
		t.Error(remedy)
	}
}

// TestProgramsAreCurrent compiles bpf/lane.c again and compares it with what is committed: maps in any case, and
// the instructions where clang is the one that made those.
func TestProgramsAreCurrent(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil {
		t.Skip("needs clang: apt-get install clang llvm")
	}
	used, err := os.ReadFile("bpf/clang.version")
	if err != nil {
		t.Fatal(err)
	}
	same := bytes.HasPrefix(version, used)
	object := filepath.Join(t.TempDir(), "lane.o")
	out, err := exec.Command("clang", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
		"-target", "bpfel", "-mcpu=v3", "-c", "bpf/lane.c", "-o", object).CombinedOutput()
	if err != nil {
		t.Fatalf("compiling bpf/lane.c: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	committed, err := loadLane()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range fresh.Programs {
		got := committed.Programs[name]
		if got == nil {
			t.Fatalf("program %s is missing: %s", name, remedy)
		}
		if same && text(want) != text(got) {
			t.Errorf("program %s: %s (-committed +fresh)\n%s", name, remedy, cmp.Diff(text(got), text(want)))
		}
	}
	for name, want := range fresh.Maps {
		got := committed.Maps[name]
		if got == nil || got.Type != want.Type || got.KeySize != want.KeySize || got.ValueSize != want.ValueSize || got.Flags != want.Flags {
			t.Errorf("map %s is %v, want %v: %s", name, got, want, remedy)
		}
	}
	if len(fresh.Programs) != len(committed.Programs) || len(fresh.Maps) != len(committed.Maps) {
		t.Error(remedy)
	}
}

// text is a program's instructions, without the lines of source that they came from.
func text(p *ebpf.ProgramSpec) string {
	var b bytes.Buffer
	for i := range p.Instructions {
		ins := p.Instructions[i]
		b.WriteString(ins.OpCode.String())
		b.WriteByte(' ')
		b.WriteString(ins.Dst.String() + " " + ins.Src.String() + " ")
		b.WriteString(ins.Reference())
		b.WriteByte('\n')
	}
	return b.String()
}
