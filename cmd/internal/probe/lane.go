package probe

import (
	"errors"
	"syscall"

	"weft/kernelmode"
	"weft/kernelmode/express"
)

// FeatureLane is the express lane as something of the kernel that can only be found out by trying.
const FeatureLane kernelmode.Feature = "express"

// Lane tries whether the express lane can be had in the network namespace of the calling thread. limit says what it
// would lack here; nil where it lacks nothing, or can't be had at all.
func Lane() (can kernelmode.Capability, limit error) {
	obstacle, limit := express.Probe("")
	return LaneCapability(obstacle), limit
}

// LaneCapability puts what keeps a lane away into the fixed words of other features; nil is nothing. The remedy is in the
// error, where it was found out.
func LaneCapability(obstacle error) kernelmode.Capability {
	c := kernelmode.Capability{Feature: FeatureLane, Err: obstacle}
	switch {
	case obstacle == nil:
	case errors.Is(obstacle, syscall.EPERM), errors.Is(obstacle, syscall.EACCES):
		c.Obstacle = kernelmode.NoPrivilege
	case errors.Is(obstacle, syscall.ENOSYS), errors.Is(obstacle, syscall.ENOENT), errors.Is(obstacle, syscall.EOPNOTSUPP):
		c.Obstacle = kernelmode.NoModule
	default:
		c.Obstacle = kernelmode.OtherObstacle
	}
	return c
}
