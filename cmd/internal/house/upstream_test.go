package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var failureRow = regexp.MustCompile("(?m)^\\| (\\d+) \\| .* \\| `(TestUpstream(\\d\\d)\\w+)` \\| ([a-z/]+) \\|$")

// TestEveryUpstreamFailureHasItsTest: docs/upstream-failures.md promises fourteen tests by name.
func TestEveryUpstreamFailureHasItsTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "upstream-failures.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := failureRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) != 14 {
		t.Fatalf("%d rows, want 14", len(rows))
	}
	for i, row := range rows {
		number, name, inName, folder := row[1], row[2], strings.TrimPrefix(row[3], "0"), row[4]
		if number != inName || number != strconv.Itoa(i+1) {
			t.Errorf("row %d has number %s and test %s", i+1, number, name)
		}
		if !hasTest(t, folder, name) {
			t.Errorf("docs/upstream-failures.md: %s has no %s", folder, name)
		}
	}
}

func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == name {
				return true
			}
		}
	}
	return false
}
