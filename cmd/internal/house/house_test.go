package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../../.."
	module = "weft"
)

// topLevel is every folder that may stand at the top, and the files that must.
var (
	topLevel = []string{".ci", ".git", "bin", "cmd", "deploy", "docs", "forwarder", "kernelmode", "lease", "perf", "routes", "tunnel"}
	required = []string{"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum", ".ci/run"}
)

// arrows says what a folder and those below it may import from elsewhere in the project, in the go
// command's patterns; the longest matching folder decides. What is below itself a package may always
// import.
var arrows = map[string][]string{
	"tunnel":         {},
	"routes":         {},
	"forwarder":      {"tunnel", "routes"},
	"lease":          {},
	"lease/etcd":     {"lease"},
	"lease/kube":     {"lease"},
	"lease/embedded": {},
	"kernelmode":     {"lease"},
	"perf":           {"perf/...", "tunnel/...", "routes", "forwarder", "lease/...", "kernelmode/..."},
	"cmd":            {"cmd/...", "tunnel/...", "routes", "forwarder", "lease/...", "kernelmode/...", "perf/..."},
}

// testArrows is what tests, and the suites that tests share, may import besides: whatever builds the
// world they run in.
var testArrows = map[string][]string{
	"tunnel": {"tunnel/...", "perf/..."},
	// Peers in the kernel are laid out by its plans, which are made from leases.
	"forwarder":  {"forwarder/...", "tunnel/...", "kernelmode", "lease", "perf/..."},
	"lease":      {"lease/...", "perf/..."},
	"kernelmode": {"kernelmode/...", "perf/..."},
	// The lane is tried in front of the forwarder that takes what it leaves.
	"kernelmode/express": {"kernelmode/...", "perf/...", "forwarder", "routes", "tunnel/..."},
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(topLevel, e.Name()) && !ignored(t, e.Name()) {
			t.Errorf("folder %s at the top level: the design knows only %s", e.Name(), strings.Join(topLevel, " "))
		}
	}
	for _, name := range required {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("missing: %v", err)
		}
	}
}

// ignored reports whether git ignores the folder, as it does editors' own.
func ignored(t *testing.T, name string) bool {
	t.Helper()
	return exec.Command("git", "-C", root, "check-ignore", "-q", name).Run() == nil
}

func TestImportsPointOneWay(t *testing.T) {
	files := 0
	for file, imports := range everyFile(t) {
		files++
		from := filepath.ToSlash(filepath.Dir(file))
		for _, to := range imports {
			if !allowed(from, to, strings.HasSuffix(file, "_test.go")) {
				t.Errorf("%s imports %s/%s: %s may import %v", file, module, to, from, may(arrows, from))
			}
		}
	}
	if files < 50 {
		t.Errorf("only %d Go files found: looking in the wrong place", files)
	}
}

// The rules themselves: what must be refused is refused.
func TestArrows(t *testing.T) {
	for _, test := range []struct {
		from, to string
		ok       bool
	}{
		{"forwarder", "tunnel", true},
		{"forwarder", "lease", false},
		{"tunnel", "routes", false},
		{"routes", "tunnel", false},
		{"lease", "routes", false},
		{"lease/etcd", "lease", true},
		{"lease/etcd", "lease/leasetest", false},
		{"lease/etcd", "lease/kube", false},
		{"lease/leasetest", "lease/embedded", true},
		{"kernelmode", "lease", true},
		{"kernelmode", "tunnel", false},
		{"kernelmode/express", "tunnel/ethtool", false},
		{"tunnel/ethtool", "lease", false},
		{"perf/netlab", "cmd/internal/demo", false},
		{"perf", "perf/netlab", true},
		{"cmd/weft", "cmd/internal/agent", true},
		{"cmd/weft", "lease/etcd", true},
		{"docs", "tunnel", false},
	} {
		if got := allowed(test.from, test.to, false); got != test.ok {
			t.Errorf("%s → %s: %t, want %t", test.from, test.to, got, test.ok)
		}
	}
}

// allowed decides for one import.
func allowed(from, to string, test bool) bool {
	if within(to, from) {
		return true
	}
	targets := may(arrows, from)
	if test || strings.HasSuffix(from, "test") { // such as lease/leasetest
		targets = slices.Concat(targets, may(testArrows, from))
	}
	return slices.ContainsFunc(targets, func(pattern string) bool {
		folder, whole := strings.CutSuffix(pattern, "/...")
		return to == folder || whole && within(to, folder)
	})
}

// may returns the rule of the longest folder that the package is in; nil where there is none.
func may(rules map[string][]string, from string) []string {
	for folder := from; ; folder = filepath.ToSlash(filepath.Dir(folder)) {
		if targets, ok := rules[folder]; ok {
			return targets
		}
		if folder == "." || folder == "/" {
			return nil
		}
	}
}

func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// everyFile maps each Go file of the project to the project's own packages that it imports.
func everyFile(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "bin" || rel != "." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files[rel] = nil
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if own, ok := strings.CutPrefix(name, module+"/"); ok {
				files[rel] = append(files[rel], own)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
