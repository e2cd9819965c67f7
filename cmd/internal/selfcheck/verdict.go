package selfcheck

import (
	"fmt"
	"strings"
)

// A Result is what one Probe found, an Answer for each peer that was asked.
type Result struct {
	Answers []Answer
}

// Answering lists those that answered: to be asked again after a change.
func (r Result) Answering() []Peer {
	var all []Peer
	for _, a := range r.Answers {
		if a.Answered {
			all = append(all, a.Peer)
		}
	}
	return all
}

// A Verdict is what a change did to the fabric, as seen from this host.
type Verdict struct {
	OK   bool
	Lost []Answer // those that answered before and don't any more
	Why  string   // a sentence for a person, without a full stop
}

// Compare judges a change by who answered before it and who does after it. A peer that was silent
// before, or wasn't asked after, says nothing.
func Compare(before, after Result) Verdict {
	now := map[Peer]Answer{}
	for _, a := range after.Answers {
		now[a.Peer] = a
	}
	asked := 0
	var v Verdict
	for _, p := range before.Answering() {
		a, again := now[p]
		if !again {
			continue
		}
		if asked++; !a.Answered {
			v.Lost = append(v.Lost, a)
		}
	}
	v.OK = len(v.Lost) == 0
	switch {
	case !v.OK:
		v.Why = fmt.Sprintf("%d of %d peers that answered before don't answer any more: %s", len(v.Lost), asked, named(v.Lost))
	case asked == 0:
		v.Why = "no peer answered before, so none could be asked"
	case asked == 1:
		v.Why = "the one peer that answered before answers"
	default:
		v.Why = fmt.Sprintf("all %d peers that were asked answer", asked)
	}
	return v
}

// named lists peers, the first few of them: the sentence has to stay one.
func named(lost []Answer) string {
	const most = 4
	var names []string
	for _, a := range lost[:min(len(lost), most)] {
		name := a.Peer.String()
		if a.Err != nil {
			name += fmt.Sprintf(" (%v)", a.Err)
		}
		names = append(names, name)
	}
	if more := len(lost) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
