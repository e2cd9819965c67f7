package lease

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// SubnetEnv is what subnet.env tells Docker, the CNI plugin, and the next start of the agent.
type SubnetEnv struct {
	Network, Subnet   netip.Prefix // Subnet is the lease; the file names its first host address
	Network6, Subnet6 netip.Prefix // both invalid without IPv6
	MTU               int
	IPMasq            bool
}

// Bytes returns the file's text, as flannel writes it (pkg/subnet/subnet.go, WriteSubnetFile).
func (e SubnetEnv) Bytes() []byte {
	var b bytes.Buffer
	if e.Subnet.IsValid() {
		fmt.Fprintf(&b, "FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s\n", e.Network, firstHost(e.Subnet))
	}
	if e.Subnet6.IsValid() {
		fmt.Fprintf(&b, "FLANNEL_IPV6_NETWORK=%s\nFLANNEL_IPV6_SUBNET=%s\n",
			e.Network6, firstHost(e.Subnet6))
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", e.MTU, e.IPMasq)
	return b.Bytes()
}

// firstHost is the address that the bridge gets: base + 1.
func firstHost(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits())
}

// ParseSubnetEnv reads such a file. Lines of other variables are ignored; a wrong value is an error
// that names its line, since half a file must not pass for a whole one.
func ParseSubnetEnv(text []byte) (SubnetEnv, error) {
	var e SubnetEnv
	for n, line := range strings.Split(string(text), "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if err := e.set(key, strings.Trim(value, `"'`)); err != nil {
			return SubnetEnv{}, fmt.Errorf("line %d, %s: %w", n+1, clip(key), err)
		}
	}
	return e, nil
}

func (e *SubnetEnv) set(key, value string) (err error) {
	switch key {
	case "FLANNEL_NETWORK":
		e.Network, err = envPrefix(value, 32)
	case "FLANNEL_SUBNET":
		e.Subnet, err = envPrefix(value, 32)
	case "FLANNEL_IPV6_NETWORK":
		e.Network6, err = envPrefix(value, 128)
	case "FLANNEL_IPV6_SUBNET":
		e.Subnet6, err = envPrefix(value, 128)
	case "FLANNEL_MTU":
		e.MTU, err = strconv.Atoi(value)
	case "FLANNEL_IPMASQ":
		e.IPMasq, err = strconv.ParseBool(value)
	}
	return err
}

func envPrefix(value string, bits int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(value)
	if err == nil && (p.Addr().BitLen() != bits || p.Addr().Is4In6()) {
		err = fmt.Errorf("%s is of the wrong address family", p)
	}
	return p.Masked(), err
}

// ReadSubnetEnv reads the file. A missing one is os.ErrNotExist.
func ReadSubnetEnv(path string) (SubnetEnv, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return SubnetEnv{}, fmt.Errorf("reading subnet file: %w", err)
	}
	e, err := ParseSubnetEnv(text)
	if err != nil {
		return SubnetEnv{}, fmt.Errorf("reading subnet file %s: %w: delete the file", path, err)
	}
	return e, nil
}

// WriteSubnetEnv replaces the file in one step, mode 0644, so that Docker never reads half of it;
// its folder is made where missing.
func WriteSubnetEnv(path string, e SubnetEnv) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making folder of subnet file: %w", err)
	}
	// The permissions are fixed: under a umask of 077, Docker couldn't read the file.
	err := renameio.WriteFile(path, e.Bytes(), 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return fmt.Errorf("writing subnet file %s: %w", path, err)
	}
	return nil
}
