package lease

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSubnetEnvIsReadableByDockerUnderAnyUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "flannel", "subnet.env")
	e := SubnetEnv{Network: pfx("10.5.0.0/16"), Subnet: pfx("10.5.72.0/24"), MTU: 1450}
	for range 2 { // the second time it is replaced
		if err := WriteSubnetEnv(path, e); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if got, err := ReadSubnetEnv(path); err != nil || got != e {
		t.Errorf("%+v, %v", got, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestSubnetEnvErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadSubnetEnv(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join(dir, "subnet.env")
	for _, text := range []string{"FLANNEL_SUBNET=10.5.72/24", "A=b\nFLANNEL_MTU=many", "FLANNEL_SUBNET=fd00::1/64",
		"FLANNEL_IPV6_SUBNET=10.5.72.1/24", "FLANNEL_IPMASQ=perhaps", "FLANNEL_IPV6_SUBNET=::ffff:1.2.3.4/120"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := ReadSubnetEnv(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %+v, %v", text, e, err)
		}
	}
	if err := WriteSubnetEnv(filepath.Join(path, "below-a-file"), SubnetEnv{}); err == nil {
		t.Error("written below a file")
	}
}

// FuzzParseSubnetEnv: what is read is written so that it reads the same.
func FuzzParseSubnetEnv(f *testing.F) {
	f.Add([]byte("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"))
	f.Add([]byte("# comment\nexport X=1\nFLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=\"fd00::1/64\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseSubnetEnv(text)
		if err != nil {
			return
		}
		if !e.Subnet.IsValid() || !e.Network.IsValid() || e.Subnet.Bits() == 32 {
			e.Subnet, e.Network = SubnetEnv{}.Subnet, SubnetEnv{}.Network
		}
		if !e.Subnet6.IsValid() || !e.Network6.IsValid() || e.Subnet6.Bits() == 128 {
			e.Subnet6, e.Network6 = SubnetEnv{}.Subnet6, SubnetEnv{}.Network6
		}
		if again, err := ParseSubnetEnv(e.Bytes()); err != nil || again != e {
			t.Fatalf("%+v became %+v: %v", e, again, err)
		}
	})
}
