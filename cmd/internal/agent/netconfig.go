package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/lease"
)

// awaitConfig asks for the network config every second until there is one that this agent can
// follow. What it waits for is said once, and again when it changes.
func awaitConfig(ctx context.Context, store lease.Store, where StoreOptions, p *progress) (lease.Config, error) {
	for {
		config, err := store.Config(ctx)
		if err == nil {
			err = supported(config)
		}
		if err == nil {
			p.waiting("")
			return config, nil
		}
		if ctx.Err() != nil {
			return lease.Config{}, context.Cause(ctx)
		}
		p.waiting(missing(err, where))
		if !pause(ctx, retryEvery) {
			return lease.Config{}, context.Cause(ctx)
		}
	}
}

// missing puts the reason for waiting into a sentence with its remedy.
func missing(err error, where StoreOptions) string {
	switch {
	case errors.Is(err, lease.ErrNoConfig):
		return fmt.Sprintf("the network config at %s/config: write it with: weft config set%s FILE (weft config set --help shows one)",
			strings.TrimSuffix(where.Prefix, "/"), where.flags())
	case errors.Is(err, lease.ErrUnavailable) && where.Kind == "etcd":
		return fmt.Sprintf("etcd: %v: start it, or correct --etcd-endpoints", err)
	default:
		return fmt.Sprintf("a usable network config: %v: change it with: weft config set%s FILE", err, where.flags())
	}
}

// flags writes what another subcommand has to be told to find the same store, where it isn't the default.
func (s StoreOptions) flags() string {
	text, defaults := "", Defaults().Store
	if !slices.Equal(s.Endpoints, defaults.Endpoints) {
		text += " --etcd-endpoints " + strings.Join(s.Endpoints, ",")
	}
	if s.Prefix != defaults.Prefix {
		text += " --etcd-prefix " + s.Prefix
	}
	return text
}

// supported says whether this version carries packets of the backend type.
func supported(c lease.Config) error {
	switch c.BackendType {
	case "udp", "alloc":
		return nil
	default:
		return fmt.Errorf(`backend type %q is one that this version of weft doesn't carry: use "udp", or "alloc" for leases alone`, c.BackendType)
	}
}

// pause waits for d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
