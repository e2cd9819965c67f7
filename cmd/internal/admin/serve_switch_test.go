package admin

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// switchboard is a Source that takes wishes.
type switchboard struct {
	fixed
	asked []string
}

func (s *switchboard) Switch(_ context.Context, datapath string) Switched {
	s.asked = append(s.asked, datapath)
	if datapath == "kernel" {
		return Switched{Datapath: "userspace", Took: time.Second, Error: "a peer was lost"}
	}
	return Switched{Datapath: datapath, Why: "asked for", Took: time.Second}
}

// The socket hands a wish on, and what became of it back; what is no datapath doesn't get there.
func TestSwitchOverTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	board := &switchboard{}
	server, err := Listen(path, board)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	for _, test := range []struct{ wish, datapath, err string }{
		{"userspace", "userspace", ""},
		{"kernel", "userspace", "a peer was lost"},
		{"sideways", "", "use auto, express, kernel or userspace"},
	} {
		got, err := RequestSwitch(t.Context(), path, Switch{Datapath: test.wish})
		if err != nil || got.Datapath != test.datapath || !strings.Contains(got.Error, test.err) || test.err == "" && got.Error != "" {
			t.Errorf("%s: %+v, %v", test.wish, got, err)
		}
	}
	if got := strings.Join(board.asked, " "); got != "userspace kernel" {
		t.Errorf("asked for %q", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
