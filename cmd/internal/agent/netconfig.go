package agent

import (
	"context"
	"errors"
	"fmt"
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
		return fmt.Sprintf("the network config at %s/config: write it with: weft config set '%s'",
			strings.TrimSuffix(where.Prefix, "/"), `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`)
	case errors.Is(err, lease.ErrUnavailable) && where.Kind == "etcd":
		return fmt.Sprintf("etcd at %s: %v: start it, or correct --etcd-endpoints", strings.Join(where.Endpoints, ","), err)
	default:
		return fmt.Sprintf("a usable network config: %v: change it with `weft config set`", err)
	}
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
