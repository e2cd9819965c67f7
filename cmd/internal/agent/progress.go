package agent

import (
	"log/slog"
	"sync"
	"time"

	"weft/cmd/internal/admin"
	"weft/lease"
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

// config says what is wrong with the network config in the store, or worth knowing about it. It is
// logged when it changes.
func (p *progress) config(refused, note string) {
	p.mu.Lock()
	before := p.state.Network
	p.state.Network.Refused, p.state.Network.Note = refused, note
	p.mu.Unlock()
	switch {
	case refused != "" && refused != before.Refused:
		p.log.Error("network config refused", "why", refused)
	case refused == "" && before.Refused != "":
		p.log.Info("the network config in the store is in force again")
	}
	if note != "" && note != before.Note {
		p.log.Warn("network config", "note", note)
	}
}

// copyIgnored says why the copy of the leases is of no use to this start.
func (p *progress) copyIgnored(path string, why error) {
	p.log.Warn("the copy of the leases isn't used: waiting for the store", "path", path, "why", why)
	p.update(func(s *admin.State) { s.Store.Copy = &admin.Copy{Ignored: why.Error()} })
}

// copied says which copy the start goes by; nil: it goes by the store. Why one was ignored stays.
func (p *progress) copied(c *lease.Copy) {
	p.update(func(s *admin.State) {
		switch {
		case c != nil:
			s.Store.Copy = &admin.Copy{Saved: c.Saved}
		case s.Store.Copy != nil && s.Store.Copy.Ignored == "":
			s.Store.Copy = nil
		}
	})
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
