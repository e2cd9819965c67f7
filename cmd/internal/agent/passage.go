package agent

import (
	"errors"
	"time"
)

// A passage takes the packets from one datapath to another. The packets of the one before still flow when it has been
// prepared. After over, with or without an error, comes back or, without one, finish.
type passage interface {
	// over hands the packets over. It returns how long the part took in which what comes in depends on steering.
	over() (took time.Duration, err error)
	// back undoes over, or as much of it as was done.
	back() error
	// finish gives up the datapath before.
	finish()
	// steered reports whether nothing had to be lost in over.
	steered() bool
}

// prepare makes ready for another kind of datapath. The lane is laid and lifted in user space: to the kernel's datapath it
// is lifted before, and from there it is laid after.
func (s *session) prepare(next choice) (passage, error) {
	user, inUser := s.current().(*userPath)
	if inUser && next.kind != inKernel {
		return &laying{session: s, user: user, lay: next.kind == byLane}, nil
	}
	h, err := s.prepareHandover(next)
	switch {
	case err != nil:
		return nil, err
	case next.kind == byLane:
		return &inTurn{first: h, second: &laying{session: s, user: h.user, lay: true}}, nil
	case s.chosen.Load().kind == byLane:
		return &inTurn{first: &laying{session: s, user: h.user}, second: h}, nil
	}
	return h, nil
}

// laying lays the lane in front of a userPath, or lifts it.
type laying struct {
	session *session
	user    *userPath
	lay     bool
	done    bool
}

func (l *laying) over() (time.Duration, error) {
	began := time.Now()
	err := l.to(l.lay)
	l.done = err == nil
	return time.Since(began), err
}

func (l *laying) to(lay bool) error {
	if lay {
		return l.session.layLane(l.user)
	}
	return l.session.liftLane(l.user)
}

func (l *laying) back() error {
	if !l.done {
		return nil
	}
	return l.to(!l.lay)
}

func (l *laying) finish()       {}
func (l *laying) steered() bool { return true }

// inTurn is one passage after the other.
type inTurn struct{ first, second passage }

func (b *inTurn) over() (time.Duration, error) {
	first, err := b.first.over()
	if err != nil {
		return first, err
	}
	second, err := b.second.over()
	return first + second, err
}

func (b *inTurn) back() error { return errors.Join(b.second.back(), b.first.back()) }

func (b *inTurn) finish() {
	b.first.finish()
	b.second.finish()
}

func (b *inTurn) steered() bool { return b.first.steered() && b.second.steered() }
