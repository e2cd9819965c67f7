package probe

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"weft/kernelmode"
)

// Whatever keeps the lane away has a fixed word, and its own words stay.
func TestLaneCapability(t *testing.T) {
	for _, test := range []struct {
		err  error
		want kernelmode.Obstacle
	}{
		{nil, ""},
		{syscall.EPERM, kernelmode.NoPrivilege},
		{syscall.EACCES, kernelmode.NoPrivilege},
		{syscall.ENOSYS, kernelmode.NoModule},
		{syscall.EOPNOTSUPP, kernelmode.NoModule},
		{errors.New("the verifier is not amused"), kernelmode.OtherObstacle},
	} {
		err := test.err
		if err != nil {
			err = fmt.Errorf("express: loading programs: %w: do this", err)
		}
		if c := LaneCapability(err); c.Obstacle != test.want || c.OK() != (test.err == nil) || !errors.Is(c.Err, test.err) {
			t.Errorf("%v: %+v", test.err, c)
		}
	}
}
