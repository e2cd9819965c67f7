package agent

import (
	"errors"
	"syscall"

	"weft/tunnel"
)

// takeQueues opens the TUN device: a new one, or that of a lane that an earlier agent left. Such a one that was opened
// otherwise, with more workers or fewer, has to go before, and takes its lane with it.
func (s *session) takeQueues() ([]tunnel.Queue, error) {
	name := s.options.TUNName
	left := s.kept.Lane.Device == name || s.lanes.Left(name)
	if left && s.options.IO == "portable" {
		if err := s.lanes.Remove(name); err != nil {
			return nil, err
		}
	}
	queues, err := openQueues(s.options)
	if err == nil || !left || !errors.Is(err, syscall.EINVAL) {
		return queues, err
	}
	s.log.Warn("an earlier agent's device and lane are made anew, for another number of queues", "device", name)
	if err := s.lanes.Remove(name); err != nil {
		return nil, err
	}
	return openQueues(s.options)
}
