package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/kernelmode/express"
)

// laneLost tells when the lane can't stay; nil, which is never, where there is none.
func (s *session) laneLost() <-chan laneFault {
	if u, ok := s.current().(*userPath); ok {
		return u.front.lost
	}
	return nil
}

const (
	tendEvery  = 2 * time.Second // each time costs an idle agent a thousandth of a CPU
	firstRelay = 5 * time.Second // after a lane was lost it is laid again so soon, and then ever more seldom
	lastRelay  = time.Minute
)

// tend looks after the lane while there is one, and has one that was lost, as when the underlay's interface goes away,
// laid again.
func (s *session) tend(ctx context.Context) error {
	var w watch
	wait, at := firstRelay, time.Time{}
	for pause(ctx, tendEvery) {
		u, ok := s.current().(*userPath)
		if !ok {
			continue
		}
		news, lost := w.look(u.front, time.Now())
		if news != "" {
			s.log.Warn("express lane", "what", news)
		}
		if lost.why != nil {
			u.front.lose(lost)
			at = time.Now().Add(wait)
		}
		switch now := time.Now(); {
		case s.chosen.Load().word != wordLaneLost:
			wait = firstRelay
		case now.After(at):
			wait = min(2*wait, lastRelay)
			at = now.Add(wait)
			s.wishUnasked(ctx, relay)
		}
	}
	return nil
}

// A lane that somebody takes away so often within so long isn't wanted here.
const (
	mostDetached   = 3
	detachedWithin = time.Minute
)

// A watch is what tending a lane remembers from one look to the next.
type watch struct {
	losses []time.Time // of the lane's programs, within detachedWithin
	fault  string      // the latest other error
}

// look asks the lane once whether all is well, and has it put back what is gone. news is for the log, "" for
// none; lost says why the lane can't stay.
func (w *watch) look(f *front, now time.Time) (news string, lost laneFault) {
	l := f.now.Load()
	if l == nil {
		*w = watch{}
		return "", laneFault{}
	}
	err := l.Check()
	switch {
	case f.now.Load() != l:
		return "", laneFault{} // it was closed meanwhile
	case errors.Is(err, express.ErrDetached):
		f.detached.Add(1)
		for len(w.losses) > 0 && now.Sub(w.losses[0]) > detachedWithin {
			w.losses = w.losses[1:]
		}
		w.losses = append(w.losses, now)
		if again := l.Check(); errors.Is(again, express.ErrDetached) {
			return oneLine(err), laneFault{wordLaneLost, fmt.Errorf("the lane's programs were taken away and can't be put back: %w", again)}
		}
		if len(w.losses) >= mostDetached {
			return oneLine(err), laneFault{wordLaneUnwant, fmt.Errorf("somebody took the lane's programs away %d times within %v: %w", len(w.losses), detachedWithin, err)}
		}
		return oneLine(err) + "; put back", laneFault{}
	case err != nil && err.Error() != w.fault:
		news = oneLine(err)
	}
	w.fault = ""
	if err != nil {
		w.fault = err.Error()
	}
	return news, laneFault{}
}
