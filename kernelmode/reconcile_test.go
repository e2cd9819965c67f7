package kernelmode_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
)

// start runs a reconciler until the test ends.
func start(t *testing.T, k kernelmode.Kernel, o kernelmode.ReconcilerOptions) *kernelmode.Reconciler {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	r := kernelmode.NewReconciler(k, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
	return r
}

// harms are what other programs do to a host; each has to be undone.
var harms = []struct {
	what string
	do   func(t *testing.T, w world, want kernelmode.State)
}{
	{"route deleted", func(t *testing.T, w world, want kernelmode.State) {
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Delete, Object: want.Routes[0]})
	}},
	{"IPv6 route deleted", func(t *testing.T, w world, want kernelmode.State) {
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Delete, Object: want.Routes[1]})
	}},
	{"route replaced", func(t *testing.T, w world, want kernelmode.State) {
		r := want.Routes[0]
		r.MTU, r.Protocol = 576, kernelmode.ProtocolBoot
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Change, Object: r})
	}},
	{"address deleted, and with it the last of IPv4", func(t *testing.T, w world, want kernelmode.State) {
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Delete, Object: want.Addresses[0]})
	}},
	{"IPv6 address deleted", func(t *testing.T, w world, want kernelmode.State) {
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Delete, Object: want.Addresses[1]})
	}},
	{"device set down", func(t *testing.T, w world, want kernelmode.State) {
		l := want.Links[0]
		l.Up = false
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Change, Object: l})
	}},
	{"MTU lowered until IPv6 goes", func(t *testing.T, w world, want kernelmode.State) {
		l := want.Links[0]
		l.MTU = 1000
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Change, Object: l})
	}},
}

func TestReconcilerRepairs(t *testing.T) {
	for _, harm := range harms {
		t.Run(harm.what, func(t *testing.T) {
			inBothWorlds(t, func(t *testing.T, w world) {
				w.addTUN(t, "weft0")
				want := plan(t, dualStack())
				r := start(t, w, kernelmode.ReconcilerOptions{})
				r.Want(want)
				eventually(t, "installed", func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })
				harm.do(t, w, want)
				eventually(t, "repaired", func() bool {
					return r.Status().Repairs > 0 && r.Status().Err == nil && len(kernelmode.Diff(want, look(t, w, want))) == 0
				})
			})
		})
	}
}

// The deleted TUN can't be made here: its owner is told, opens another, and everything is put on it.
func TestReconcilerTellsOfADeletedTUN(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "weft0")
		gone := make(chan string, 8)
		r := start(t, w, kernelmode.ReconcilerOptions{OnMissing: func(name string) { gone <- name }})
		want := plan(t, dualStack()).With(kernelmode.Sysctl{Name: "net/ipv4/conf/weft0/accept_local", Value: "1"})
		r.Want(want)
		eventually(t, "installed", func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })
		for range 2 {
			w.deleteLink(t, "weft0")
			if name := <-gone; name != "weft0" {
				t.Errorf("told that %s is missing", name)
			}
			eventually(t, "reported", func() bool { return len(kernelmode.MissingDevices(r.Status().Err)) == 1 })
			w.addTUN(t, "weft0")
			eventually(t, "configured again", func() bool {
				return r.Status().Err == nil && len(kernelmode.Diff(want, look(t, w, want))) == 0
			})
		}
		if len(gone) != 0 {
			t.Errorf("told %d times more than it happened", len(gone))
		}
	})
}

// The fake is only worth testing against while it is harmed as Linux is.
func TestBothWorldsSufferAlike(t *testing.T) {
	for _, harm := range harms {
		t.Run(harm.what, func(t *testing.T) {
			want := plan(t, dualStack())
			var after []string
			for _, w := range []world{memory{kerneltest.New()}, newReal(t)} {
				w.addTUN(t, "weft0")
				_, err := kernelmode.Apply(w, want)
				must(t, err)
				harm.do(t, w, want)
				after = append(after, look(t, w, want).String())
			}
			equal(t, "the fake after the harm", after[0], after[1])
		})
	}
}

func TestReconcilerHealsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		want := plan(t, dualStack())
		r := start(t, k, kernelmode.ReconcilerOptions{})
		r.Want(want)
		synctest.Wait()
		for range 100 { // a program that insists
			must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Delete, Object: want.Routes[0]}))
			begin := time.Now()
			for len(kernelmode.Diff(want, look(t, k, want))) != 0 {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(begin); took > time.Second {
				t.Fatalf("healed after %v", took)
			}
		}
	})
}

func TestReconcilerNewestWishWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		r := start(t, k, kernelmode.ReconcilerOptions{})
		u := dualStack()
		for u.Revision = range 50 {
			u.MTU = 1300 + int(u.Revision)
			r.Want(plan(t, u))
		}
		synctest.Wait()
		s := r.Status()
		if s.Installed.Revision != 49 || s.Installed.Links[0].MTU != 1349 || s.Err != nil {
			t.Errorf("installed revision %d with %v, error %v", s.Installed.Revision, s.Installed.Links, s.Err)
		}
	})
}

func TestReconcilerTouchesNothingBeforeTheFirstWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		r := start(t, k, kernelmode.ReconcilerOptions{})
		time.Sleep(time.Minute)
		if ops := k.Ops(); len(ops) != 0 || !r.Status().At.IsZero() {
			t.Errorf("did %v before anything was wanted", ops)
		}
	})
}

// With events lost for good (a filter, a broken socket), the periodic look is what is left.
func TestReconcilerLooksWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := deaf{kerneltest.New()}
		k.AddTUN("weft0", 1500)
		want := plan(t, dualStack())
		r := start(t, k, kernelmode.ReconcilerOptions{Recheck: 10 * time.Second})
		r.Want(want)
		synctest.Wait()
		must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Delete, Object: want.Routes[0]}))
		time.Sleep(9 * time.Second)
		if len(kernelmode.Diff(want, look(t, k, want))) == 0 {
			t.Error("repaired before the period was over: the kernel wasn't deaf")
		}
		time.Sleep(2 * time.Second)
		if ops := kernelmode.Diff(want, look(t, k, want)); len(ops) != 0 {
			t.Errorf("left to do after the period: %v", ops)
		}
	})
}

// deaf never delivers an event.
type deaf struct{ *kerneltest.Kernel }

func (deaf) Watch(ctx context.Context, _ func(kernelmode.Event)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestReconcilerListensAgainAfterABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		want := plan(t, dualStack())
		r := start(t, k, kernelmode.ReconcilerOptions{})
		r.Want(want)
		synctest.Wait()
		k.BreakWatch(syscall.ENOBUFS)
		must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Delete, Object: want.Routes[0]}))
		time.Sleep(time.Second)
		if ops := kernelmode.Diff(want, look(t, k, want)); len(ops) != 0 {
			t.Errorf("left to do a second after the break: %v", ops)
		}
	})
}

func TestReconcilerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		var mu sync.Mutex
		tries := 0
		k.FailRead(func() error { mu.Lock(); defer mu.Unlock(); tries++; return syscall.ENOMEM })
		r := start(t, k, kernelmode.ReconcilerOptions{})
		r.Want(plan(t, dualStack()))
		time.Sleep(time.Minute)
		mu.Lock()
		if tries < 5 || tries > 20 {
			t.Errorf("%d tries in the first minute of a permanent error, want 5 to 20", tries)
		}
		mu.Unlock()
		if s := r.Status(); !errors.Is(s.Err, syscall.ENOMEM) {
			t.Errorf("status error %v, want ENOMEM", s.Err)
		}
		k.FailRead(nil)
		time.Sleep(20 * time.Second)
		if s := r.Status(); s.Err != nil || len(s.Installed.Routes) != 2 {
			t.Errorf("status after the error ended: %+v", s)
		}
	})
}

// A host with a full routing table must not have weft read it at every change.
func TestReconcilerIgnoresForeignEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		k.AddTUN("other0", 1500)
		r := start(t, k, kernelmode.ReconcilerOptions{})
		r.Want(plan(t, dualStack()))
		time.Sleep(time.Second)
		looked := r.Status().At
		must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Add, Object: kernelmode.Address{Dev: "other0", Prefix: prefix("192.0.2.1/24")}}))
		must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Change, Object: kernelmode.Link{Name: "other0", MTU: 1400, Up: true}}))
		must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Add, Object: kernelmode.Route{Dst: prefix("198.51.100.0/24"), Dev: "other0"}}))
		time.Sleep(5 * time.Second)
		if at := r.Status().At; at != looked {
			t.Errorf("looked again %v after", at.Sub(looked))
		}
	})
}

func TestReconcilerReportsEachRevisionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		k.AddTUN("weft0", 1500)
		var mu sync.Mutex
		var revisions []int64
		r := start(t, k, kernelmode.ReconcilerOptions{OnApplied: func(s kernelmode.Status) {
			mu.Lock()
			defer mu.Unlock()
			revisions = append(revisions, s.Installed.Revision)
		}})
		u := dualStack()
		for _, u.Revision = range []int64{3, 4} {
			r.Want(plan(t, u))
			time.Sleep(5 * time.Minute)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(revisions) != 2 || revisions[0] != 3 || revisions[1] != 4 {
			t.Errorf("told of revisions %v, want 3 and 4 once each", revisions)
		}
	})
}
