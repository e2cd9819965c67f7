package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weft/lease"
)

// copyPath is where the leases are copied to.
func (s StoreOptions) copyPath(stateDir string) string { return filepath.Join(stateDir, "leases") }

// identity names the network and the store it is in, for the copy: "etcd /coreos.com/network at
// http://a:2379,http://b:2379".
func (s StoreOptions) identity() string {
	return s.network() + strings.Join(slices.Sorted(slices.Values(s.Endpoints)), ",")
}

func (s StoreOptions) network() string {
	return fmt.Sprintf("%s %s at ", s.Kind, strings.TrimSuffix(s.Prefix, "/"))
}

// wrote reports whether a copy with this identity is of this network. A cluster's endpoints come and
// go; one that stayed makes it the same cluster. Once the store answers, it is asked in any case.
func (s StoreOptions) wrote(identity string) bool {
	endpoints, ok := strings.CutPrefix(identity, s.network())
	return ok && slices.ContainsFunc(strings.Split(endpoints, ","), func(e string) bool { return slices.Contains(s.Endpoints, e) })
}

// recall returns the copy that an earlier run left, if a start may go by it. One that may not is
// named, and the start waits for the store as it would without.
func (a *Agent) recall(where StoreOptions) *lease.Copy {
	path := where.copyPath(a.options.StateDir)
	c, err := lease.LoadCopy(path)
	if err == nil {
		err = usable(c, where, time.Now())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		a.progress.copyIgnored(path, err)
		return nil
	}
	return &c
}

// usable says why a start must not go by the copy.
func usable(c lease.Copy, where StoreOptions, now time.Time) error {
	if !where.wrote(c.Store) {
		return fmt.Errorf("%w: it is of %s, and this agent's store is %s", lease.ErrCopy, c.Store, where.identity())
	}
	if err := c.Usable(c.Store, now); err != nil {
		return err
	}
	if err := supported(c.Snapshot.Config); err != nil {
		return fmt.Errorf("%w: %w", lease.ErrCopy, err)
	}
	if !fits(c.Snapshot.Config, c.Own.Subnets()) {
		return fmt.Errorf("%w: its lease %s isn't of its own network", lease.ErrCopy, c.Own.Subnets())
	}
	return nil
}

// fits reports whether a host with this lease can be in the network: it has a subnet of each of the
// network's families, and no other. What the config would hand out today may be another one.
func fits(c lease.Config, own lease.Subnets) bool {
	return c.EnableIPv4 == own.V4.IsValid() && c.EnableIPv6 == own.V6.IsValid() &&
		(!own.V4.IsValid() || c.Contains(own.V4)) && (!own.V6.IsValid() || c.Contains(own.V6))
}
