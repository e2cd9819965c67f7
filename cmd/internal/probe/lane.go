package probe

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"

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

// LaneAllowed tries what may be forbidden here, in a millisecond: whether a program can be loaded at all. What else may be
// in the lane's way shows when it is laid.
func LaneAllowed() kernelmode.Capability {
	limit := rlimit.RemoveMemlock() // before Linux 5.11 programs count against it
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "weft_try", Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err == nil {
		return LaneCapability(program.Close())
	}
	return LaneCapability(errors.Join(fmt.Errorf("loading an eBPF program: %w: the agent needs CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), a seccomp filter "+
		"that allows bpf(2), and a kernel that has it", err), limit))
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
