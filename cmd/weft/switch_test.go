package main

import (
	"testing"
	"time"

	"weft/cmd/internal/admin"
)

// What a person is told of a switch.
func TestSwitched(t *testing.T) {
	for _, test := range []struct {
		wish string
		r    admin.Switched
		text string
		err  string
	}{
		{"auto", admin.Switched{Datapath: "kernel", Why: "the fastest that works here", Took: 123456 * time.Microsecond},
			"datapath kernel, after 123ms: the fastest that works here", ""},
		{"userspace", admin.Switched{Datapath: "userspace", Took: time.Second}, "datapath userspace, after 1s", ""},
		{"kernel", admin.Switched{Datapath: "userspace", Why: "asked for", Took: 2 * time.Second, Error: "1 of 3 peers that answered before don't answer any more: 10.5.2.0/24"},
			"", "switching to kernel: 1 of 3 peers that answered before don't answer any more: 10.5.2.0/24; packets go through userspace, as before (after 2s)"},
		{"kernel", admin.Switched{Error: "the agent has no lease yet"}, "", "switching to kernel: the agent has no lease yet"},
	} {
		text, err := switched(test.wish, test.r)
		if text != test.text || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%+v: %q, %v\nwant %q, %s", test.r, text, err, test.text, test.err)
		}
	}
}
