package agent

import (
	"context"
	"errors"
	"time"

	"weft/lease"
)

// serve runs one session after the other: as long as what it stands on is the same, packets flow.
func (m *member) serve(ctx context.Context) error {
	defer func() {
		if m.heritage != nil && ctx.Err() != nil {
			m.leaveLane(m.heritage) // between two sessions
		}
		m.disinherit()
	}()
	quick := 0 // sessions in a row that ended as soon as they had begun
	for version := uint64(0); ; {
		tenure, seen, err := m.tenure(ctx, version)
		if err != nil {
			return err
		}
		began := time.Now()
		err = m.one(ctx, tenure.Lease, seen)
		// Unless the lease is gone, the tenure is still the one to serve.
		version = 0
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errTenureOver):
			version = seen
			m.log.Warn("forwarding stopped: the lease is gone", "subnet", tenure.Lease.Subnets())
		case errors.Is(err, errReconfigured):
			m.log.Info("going on under another network config")
		case errors.Is(err, errFormats):
			m.log.Warn("forwarding starts again: there are peers of another backend type")
		case errors.Is(err, errMoved):
			if err := m.move(); err != nil {
				return err
			}
		case m.fallback != nil:
			if err := m.rollBack(err); err != nil {
				return err
			}
		case !m.worked, errors.Is(err, errOutgrown):
			return err // better seen at once than tried for ever
		default:
			m.log.Error("forwarding failed; starting it again", "err", err)
			// A device that somebody deleted must be back within a second; what fails again and again
			// must not fill the log.
			if quick++; time.Since(began) > retryEvery {
				quick = 0
			}
			if quick > 1 {
				m.progress.waiting(err.Error())
				pause(ctx, retryEvery)
			}
		}
	}
}

// tenure waits until the keeper holds a lease that a config in force has room for, and says meanwhile
// what is missing.
func (m *member) tenure(ctx context.Context, version uint64) (lease.Tenure, uint64, error) {
	snapshots := m.follower.Snapshots()
	for {
		t, seen := m.keeper.Tenures().Latest()
		_, known := snapshots.Latest()
		switch {
		case seen > version && t.Held:
			settled, err := m.agree(t.Lease.Subnets())
			if err != nil || settled {
				m.progress.waiting("")
				return t, seen, err
			}
		case seen > version:
			m.disinherit() // packets of a subnet that isn't this host's aren't carried
			m.progress.waiting("a lease: " + t.Err.Error())
		}
		select {
		case <-ctx.Done():
			return t, seen, context.Cause(ctx)
		case <-m.keeper.Tenures().Changed(seen):
		case <-snapshots.Changed(known):
		}
	}
}
