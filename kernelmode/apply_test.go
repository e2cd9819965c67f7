package kernelmode_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
)

func TestApplyInstallsThePlan(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "weft0")
		want := plan(t, dualStack())
		installed, err := kernelmode.Apply(w, want)
		must(t, err)
		if installed.Revision != 7 {
			t.Errorf("installed revision %d, want 7", installed.Revision)
		}
		golden(t, "installed-udp-dualstack.txt", installed.String())
		if ops := kernelmode.Diff(want, look(t, w, want)); len(ops) != 0 {
			t.Errorf("left to do after Apply: %v", ops)
		}
	})
}

func TestApplyTwiceDoesNothing(t *testing.T) {
	k := kerneltest.New()
	k.AddTUN("weft0", 1500)
	want := plan(t, dualStack())
	_, err := kernelmode.Apply(k, want)
	must(t, err)
	k.Ops()
	_, err = kernelmode.Apply(k, want)
	must(t, err)
	if ops := k.Ops(); len(ops) != 0 {
		t.Errorf("second Apply did %v", ops)
	}
}

func TestApplyMovesToAnotherSubnet(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "weft0")
		_, err := kernelmode.Apply(w, plan(t, dualStack()))
		must(t, err)
		u := dualStack()
		u.Subnet, u.Subnet6 = prefix("10.244.5.0/24"), prefix("fd10:244:0:99::/64")
		want := plan(t, u)
		installed, err := kernelmode.Apply(w, want)
		must(t, err)
		if len(installed.Addresses) != 2 || installed.Addresses[0] != want.Addresses[0] {
			t.Errorf("addresses after the move: %v, want only %v", installed.Addresses, want.Addresses)
		}
	})
}

// An empty State that owns is how a datapath is taken down: only what is weft's goes.
func TestApplyRemovesEverythingOwned(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "weft0")
		want := plan(t, dualStack())
		_, err := kernelmode.Apply(w, want)
		must(t, err)
		foreign := kernelmode.Route{Dst: prefix("10.244.200.0/24"), Dev: "weft0", Protocol: kernelmode.ProtocolBoot}
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: foreign})
		outside := kernelmode.Route{Dst: prefix("10.99.0.0/24"), Dev: "weft0", Protocol: kernelmode.RouteProtocol}
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: outside})
		// Something foreign on the device keeps the last of weft's addresses from taking routes along.
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: kernelmode.Address{Dev: "weft0", Prefix: prefix("192.0.2.9/32")}})

		nothing := kernelmode.State{Owns: kernelmode.Ownership{Networks: want.Owns.Networks, Devices: []string{"weft0"}}}
		installed, err := kernelmode.Apply(w, nothing)
		must(t, err)
		equal(t, "owned after removal", installed.String(), "")
		left := look(t, w, want.With(foreign, outside))
		for _, line := range []string{foreign.String(), outside.String(), "192.0.2.9/32"} {
			if !strings.Contains(left.String(), line) {
				t.Errorf("%s was not weft's, and is gone; left:\n%s", line, left)
			}
		}
	})
}

func TestApplyAdoptsAnIdenticalRoute(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "weft0")
		want := plan(t, dualStack())
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Change, Object: want.Links[0]})
		theirs := want.Routes[0]
		theirs.Protocol = 186 // BIRD's
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: theirs})
		installed, err := kernelmode.Apply(w, want)
		must(t, err)
		if installed.Routes[0] != theirs {
			t.Errorf("installed %v, want the adopted %v", installed.Routes[0], theirs)
		}
	})
}

func TestApplyReportsAMissingTUN(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		installed, err := kernelmode.Apply(w, plan(t, dualStack()))
		missing, ok := errors.AsType[*kernelmode.MissingLinkError](err)
		if !ok || missing.Name != "weft0" {
			t.Fatalf("error %v, want a MissingLinkError for weft0", err)
		}
		equal(t, "installed without the device", installed.String(),
			"# sysctl\nnet/ipv4/ip_forward = 1\nnet/ipv6/conf/all/forwarding = 1\n")
	})
}

func TestApplyLeavesTheConnectedRouteAlone(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "weft0")
		w.addTUN(t, "under0")
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Change, Object: kernelmode.Link{Name: "under0", Kind: kernelmode.LinkTUN, MTU: 1500, Up: true}})
		connected := kernelmode.Route{
			Dst: prefix("10.244.0.0/16"), Dev: "under0", Src: addr("10.244.0.1"),
			Protocol: kernelmode.ProtocolKernel, Scope: kernelmode.ScopeLink,
		}
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: kernelmode.Address{Dev: "under0", Prefix: prefix("10.244.0.1/16")}})
		if m, ok := w.(memory); ok { // which makes no connected routes by itself
			must(t, m.ByHand(kernelmode.Op{Verb: kernelmode.Add, Object: connected}))
		}
		u := dualStack()
		want := plan(t, u)
		installed, err := kernelmode.Apply(w, want)
		if err == nil || !strings.Contains(err.Error(), "overlaps a network that this host is attached to") {
			t.Errorf("error %v, want one that names the overlap", err)
		}
		if !strings.Contains(installed.String(), connected.String()) {
			t.Errorf("the connected route is gone:\n%s", installed)
		}
	})
}

func TestApplyUnderFaults(t *testing.T) {
	want := plan(t, dualStack())
	for _, c := range []struct {
		what  string
		errno syscall.Errno
		on    func(kernelmode.Op) bool
		times int // 0: always
		says  string
	}{
		{"address refused", syscall.EPERM, isA[kernelmode.Address], 0, "needs CAP_NET_ADMIN"},
		{"address refused once", syscall.ENOMEM, isA[kernelmode.Address], 1, ""},
		{"route there already, it says", syscall.EEXIST, isA[kernelmode.Route], 1, ""},
		{"device away for a moment", syscall.ENODEV, isA[kernelmode.Link], 1, ""},
		{"read-only /proc/sys", syscall.EROFS, isA[kernelmode.Sysctl], 0, "docker run --sysctl net.ipv4.ip_forward=1"},
		{"no IPv6", syscall.ENOENT, isA[kernelmode.Sysctl], 0, "is the protocol disabled"},
	} {
		t.Run(c.what, func(t *testing.T) {
			k := kerneltest.New()
			k.AddTUN("weft0", 1500)
			left := c.times
			k.FailDo(func(op kernelmode.Op) error {
				if !c.on(op) || c.times > 0 && left == 0 {
					return nil
				}
				left--
				return c.errno
			})
			installed, err := kernelmode.Apply(k, want)
			if c.says == "" {
				must(t, err)
				equal(t, "installed", installed.String(), look(t, k, want).String())
				return
			}
			if !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %v and %q", err, c.errno, c.says)
			}
			// The truth is reported, and what could be done is done.
			equal(t, "installed", installed.String(), look(t, k, want).String())
			k.FailDo(nil)
			_, err = kernelmode.Apply(k, want)
			must(t, err)
		})
	}
}

func isA[O kernelmode.Object](op kernelmode.Op) bool { _, ok := op.Object.(O); return ok }

func TestApplySysctlAlreadySetIsFine(t *testing.T) {
	k := kerneltest.New()
	k.AddTUN("weft0", 1500)
	for _, s := range kernelmode.ForwardingSysctls(true, true) {
		must(t, k.ByHand(kernelmode.Op{Verb: kernelmode.Change, Object: s}))
	}
	k.FailDo(func(op kernelmode.Op) error {
		if isA[kernelmode.Sysctl](op) {
			return syscall.EROFS
		}
		return nil
	})
	_, err := kernelmode.Apply(k, plan(t, dualStack()))
	must(t, err)
}

func TestApplyNamesEveryFailure(t *testing.T) {
	k := kerneltest.New()
	k.AddTUN("weft0", 1500)
	k.FailDo(func(kernelmode.Op) error { return syscall.EPERM })
	want := plan(t, dualStack())
	_, err := kernelmode.Apply(k, want)
	for _, o := range want.Objects() {
		if err == nil || !strings.Contains(err.Error(), o.String()) {
			t.Errorf("%v is not named in: %v", o, err)
		}
	}
}

func TestApplyReadsAgainAfterAnInterruptedDump(t *testing.T) {
	k := kerneltest.New()
	k.AddTUN("weft0", 1500)
	reads := 0
	k.FailRead(func() error {
		if reads++; reads%3 != 0 {
			return syscall.EINTR
		}
		return nil
	})
	_, err := kernelmode.Apply(k, plan(t, dualStack()))
	must(t, err)
	k.FailRead(func() error { return syscall.EINTR })
	if _, err = kernelmode.Apply(k, plan(t, dualStack())); !errors.Is(err, syscall.EINTR) {
		t.Errorf("error %v, want EINTR when no dump ever completes", err)
	}
}

func TestApplyTellsOfARival(t *testing.T) {
	k := kerneltest.New()
	k.AddTUN("weft0", 1500)
	want := plan(t, dualStack())
	k.FailDo(func(op kernelmode.Op) error { // deletes whatever it sees just as it is added
		if op.Object == kernelmode.Object(want.Routes[0]) {
			return errors.Join(k.ByHand(op), k.ByHand(kernelmode.Op{Verb: kernelmode.Delete, Object: op.Object}), syscall.EAGAIN)
		}
		return nil
	})
	_, err := kernelmode.Apply(k, want)
	if _, ok := errors.AsType[*kernelmode.OpError](err); !ok {
		t.Errorf("error %v, want an OpError for the route", err)
	}
}
