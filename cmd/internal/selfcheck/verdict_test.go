package selfcheck

import (
	"errors"
	"fmt"
	"testing"
)

// A change is judged by those that answered before it, and by no one else.
func TestCompare(t *testing.T) {
	other := Peer{Subnet: prefix("10.5.3.0/24")}
	yes, no := true, false
	result := func(answers ...any) (r Result) {
		for i := 0; i < len(answers); i += 2 {
			r.Answers = append(r.Answers, Answer{Peer: answers[i].(Peer), Answered: answers[i+1].(bool)})
		}
		return r
	}
	unsent := result(four, no)
	unsent.Answers[0].Err = errors.New("sending an echo request: network is unreachable")
	var manyBefore, manyAfter Result
	for i := range 6 {
		p := Peer{Subnet: prefix(fmt.Sprintf("10.5.%d.0/24", i))}
		manyBefore.Answers = append(manyBefore.Answers, Answer{Peer: p, Answered: true})
		manyAfter.Answers = append(manyAfter.Answers, Answer{Peer: p})
	}
	for _, test := range []struct {
		name          string
		before, after Result
		lost          int
		why           string
	}{
		{"all answer", result(four, yes, other, yes), result(four, yes, other, yes), 0, "all 2 peers that were asked answer"},
		{"one is lost", result(four, yes, other, yes), result(four, no, other, yes), 1,
			"1 of 2 peers that answered before don't answer any more: 10.5.2.0/24 at 192.0.2.2"},
		{"one family of a peer is lost", result(four, yes, six, yes), result(four, yes, six, no), 1,
			"1 of 2 peers that answered before don't answer any more: fd00:5:0:2::/64 at 192.0.2.2"},
		{"silent before, silent after", result(four, no, other, yes), result(four, no, other, yes), 0, "the one peer that answered before answers"},
		{"silent before, asked no more", result(four, no, other, yes), result(other, yes), 0, "the one peer that answered before answers"},
		{"left the network meanwhile", result(four, yes), result(), 0, "no peer answered before, so none could be asked"},
		{"nobody there", result(), result(), 0, "no peer answered before, so none could be asked"},
		{"nothing could be sent", result(four, yes), unsent, 1,
			"1 of 1 peers that answered before don't answer any more: 10.5.2.0/24 at 192.0.2.2 (sending an echo request: network is unreachable)"},
		{"many", manyBefore, manyAfter, 6,
			"6 of 6 peers that answered before don't answer any more: 10.5.0.0/24, 10.5.1.0/24, 10.5.2.0/24, 10.5.3.0/24, and 2 more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := Compare(test.before, test.after)
			if v.OK != (test.lost == 0) || len(v.Lost) != test.lost || v.Why != test.why {
				t.Errorf("got %t, %d lost\n%s\nwant %d lost\n%s", v.OK, len(v.Lost), v.Why, test.lost, test.why)
			}
		})
	}
}

func TestAnswering(t *testing.T) {
	r := Result{Answers: []Answer{{Peer: four}, {Peer: six, Answered: true}}}
	if got := r.Answering(); len(got) != 1 || got[0] != six {
		t.Errorf("got %v", got)
	}
}
