package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease"
	"weft/lease/leasetest"
)

// The config may come hours later: until then the store is asked every second, and each reason for
// waiting is logged once.
func TestAwaitConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := leasetest.NewMemory(time.Hour)
		memory.SetDown(errors.New("no route to host"))
		var log bytes.Buffer
		a := &Agent{progress: progress{log: slog.New(slog.NewTextHandler(&log, nil))}}
		p := &a.progress
		where := Defaults().Store
		where.Prefix = "/blue"
		type answer struct {
			config lease.Config
			err    error
		}
		answers := make(chan answer, 1)
		go func() {
			c, err := a.awaitConfig(t.Context(), memory, where)
			answers <- answer{c, err}
		}()
		for _, step := range []struct {
			change func()
			want   string
		}{
			{func() {}, "start it, or correct --etcd-endpoints"},
			{func() { memory.SetDown(nil) }, "weft config set --etcd-prefix /blue FILE"},
			{func() { memory.SetConfig([]byte(`{"Network":"10.5.0.0/31"}`)) }, "is too small"},
			{func() { memory.SetConfig([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard"}}`)) }, `backend type "wireguard"`},
		} {
			step.change()
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := p.snapshot().Waiting; !strings.Contains(got, step.want) {
				t.Errorf("waiting for %q, want %q in it", got, step.want)
			}
		}
		memory.SetConfig([]byte(`{"Network":"10.5.0.0/16"}`))
		got := <-answers
		if got.err != nil || got.config.Network != netip.MustParsePrefix("10.5.0.0/16") {
			t.Errorf("config %+v, %v", got.config, got.err)
		}
		if waiting := p.snapshot().Waiting; waiting != "" {
			t.Errorf("still waiting for %q", waiting)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 4 {
			t.Errorf("%d log lines for 4 reasons:\n%s", lines, log.String())
		}
	})
}

func TestAwaitConfigEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		a := &Agent{progress: progress{log: slog.New(slog.DiscardHandler)}}
		_, err := a.awaitConfig(ctx, leasetest.NewMemory(time.Hour), Defaults().Store)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// Two agents of one network namespace can't hold the same thing; what ended holds nothing.
func TestClaims(t *testing.T) {
	var first, second claims
	defer first.release()
	if err := first.take("device wefttest0"); err != nil {
		t.Fatal(err)
	}
	if err := first.take("device wefttest0"); err != nil {
		t.Errorf("an agent is in its own way: %v", err)
	}
	err := second.take("device wefttest0")
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.PID != os.Getpid() || held.What != "device wefttest0" {
		t.Fatalf("got %v, want a HeldError with pid %d", err, os.Getpid())
	}
	if err := second.take("device wefttest1"); err != nil {
		t.Errorf("another device: %v", err)
	}
	first.release()
	if err := second.take("device wefttest0"); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
	second.release()
}

func TestPreviousSubnet(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flannels := "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
	for _, test := range []struct {
		path   string
		want   netip.Prefix
		warned bool
	}{
		{write("subnet.env", flannels), netip.MustParsePrefix("10.5.72.0/24"), false},
		{write("junk.env", "FLANNEL_SUBNET=nonsense\n"), netip.Prefix{}, true},
		{filepath.Join(dir, "missing.env"), netip.Prefix{}, false},
	} {
		warned := false
		got := previous(test.path, func(error) { warned = true })
		if got.V4 != test.want || warned != test.warned {
			t.Errorf("%s: %v, warned %t", test.path, got, warned)
		}
	}
}

// Whether subnet.env can be written is known before anything is leased, and leaves nothing behind.
func TestWritable(t *testing.T) {
	dir := t.TempDir()
	if err := writable(filepath.Join(dir, "new", "subnet.env")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "new")); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	for _, path := range []string{dir, "/proc/weft/subnet.env"} {
		if err := writable(path); err == nil || !strings.Contains(err.Error(), "give another --subnet-file") {
			t.Errorf("writable(%s): %v", path, err)
		}
	}
}
