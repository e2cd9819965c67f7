package lease

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenPairs returns the keys and values that a real flannel left behind.
func goldenPairs(t *testing.T, file string) [][2]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines)%2 != 0 {
		t.Fatalf("%s has %d lines", file, len(lines))
	}
	var pairs [][2]string
	for i := 0; i < len(lines); i += 2 {
		pairs = append(pairs, [2]string{lines[i], lines[i+1]})
	}
	return pairs
}

func goldenFiles(t *testing.T, pattern string, want int) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "flannel", "*", pattern))
	if err != nil || len(files) != want {
		t.Fatalf("%d golden files for %s, want %d: %v", len(files), pattern, want, err)
	}
	return files
}

func TestFlannelsRecordsByteForByte(t *testing.T) {
	const dir = "/coreos.com/network/"
	for _, file := range goldenFiles(t, "etcd.txt", 6) {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			var cfg Config
			var entries []Entry
			for i, pair := range goldenPairs(t, file) {
				key, value := pair[0], pair[1]
				if key == dir+"config" {
					var err error
					if cfg, err = ParseConfig([]byte(value)); err != nil {
						t.Fatal(err)
					}
					continue
				}
				name, ok := strings.CutPrefix(key, dir+"subnets/")
				if !ok {
					t.Fatalf("key %s", key)
				}
				e := Decode(key, name, []byte(value))
				if e.Fault != nil {
					t.Fatal(e.Fault)
				}
				l := e.Lease
				if again := Key(l.Subnets()); again != name {
					t.Errorf("key %s became %s", name, again)
				}
				again, err := EncodeValue(l.Attrs)
				if err != nil || string(again) != value {
					t.Errorf("value became (%v)\n%s, was\n%s", err, again, value)
				}
				if !cfg.Fits(l.Subnets()) {
					t.Errorf("%s would not be handed out under %s", l.Subnets(), cfg.Raw)
				}
				e.Created = int64(i)
				entries = append(entries, e)
			}
			if s := Assemble(7, cfg, nil, entries); len(s.Leases) != 2 || len(s.Problems) != 0 {
				t.Errorf("assembled %+v", s)
			}
		})
	}
}

func TestFlannelsSubnetEnvByteForByte(t *testing.T) {
	for _, file := range goldenFiles(t, "*.subnet.env", 12) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e, err := ReadSubnetEnv(file)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "made", "subnet.env")
		if err := WriteSubnetEnv(out, e); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(again)); diff != "" {
			t.Errorf("%s: (-flannel +weft)\n%s", file, diff)
		}
	}
}
