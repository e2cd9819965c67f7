package agent

import (
	"log/slog"
	"sync"
	"time"

	"weft/cmd/internal/admin"
)

// progress is what the agent says about itself, in the log and to the admin socket. All methods may
// be called concurrently.
type progress struct {
	log *slog.Logger

	mu    sync.Mutex
	state admin.State
}

// waiting says what keeps the agent from going on, with the remedy. It is logged when it changes, so
// that a wait of a day is one line.
func (p *progress) waiting(text string) {
	p.mu.Lock()
	changed := p.state.Waiting != text
	p.state.Waiting = text
	p.mu.Unlock()
	if changed && text != "" {
		p.log.Warn("waiting", "for", text)
	}
}

// ready says whether packets can flow. The return value tells whether that is news.
func (p *progress) ready(yes bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = p.state.Ready != yes
	p.state.Ready = yes
	return changed
}

// update changes the state under the lock.
func (p *progress) update(change func(*admin.State)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.state)
}

// snapshot returns a copy. Its slices are replaced as a whole when they change, never written to.
func (p *progress) snapshot() admin.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// retryEvery is flannel's pace of asking again for what isn't there yet.
const retryEvery = time.Second
