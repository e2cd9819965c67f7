package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"weft/kernelmode"
	"weft/lease"
)

// claims are what the agent holds against a second one in the same network namespace.
type claims []*claim

// take adds one, or says who has it. What is held already is no conflict.
func (c *claims) take(what string) error {
	if slices.ContainsFunc(*c, func(one *claim) bool { return one.what == what }) {
		return nil
	}
	one, err := takeClaim(what)
	if err != nil {
		return err
	}
	*c = append(*c, one)
	return nil
}

// takeAddress claims the outer address and port under which peers know this host: two agents with
// the same would own one lease together.
func (c *claims) takeAddress(u kernelmode.Underlay, port int) error {
	address := u.PublicIP
	if !address.IsValid() {
		address = u.PublicIPv6
	}
	return c.take("address " + netip.AddrPortFrom(address, uint16(port)).String())
}

func (c *claims) release() {
	for _, one := range *c {
		one.release()
	}
	*c = nil
}

// writable finds out before anything is leased whether subnet.env can be written at the end.
func writable(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of subnet file %s: %w: give another --subnet-file", path, err)
	}
	probe, err := os.CreateTemp(dir, ".weft-*")
	if err != nil {
		return fmt.Errorf("writing beside subnet file %s: %w: give another --subnet-file", path, err)
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return fmt.Errorf("writing beside subnet file %s: %w: give another --subnet-file", path, err)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("subnet file %s is a folder: give another --subnet-file", path)
	}
	return nil
}

// previous returns the subnets of an earlier run. The file is a hint and no more: one that can't be
// read is as good as none, and is named in the log.
func previous(path string, warn func(error)) lease.Subnets {
	env, err := lease.ReadSubnetEnv(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			warn(err)
		}
		return lease.Subnets{}
	}
	return lease.Subnets{V4: env.Subnet, V6: env.Subnet6}
}
