package kernelmode_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
)

// leftByFlannel lays out a plan as flannel does: without weft's label, and with a peer that is gone.
func leftByFlannel(t *testing.T, w world, s kernelmode.State) {
	t.Helper()
	gone := kernelmode.Route{Dst: prefix("10.244.99.0/24"), Via: addr("10.244.99.0"), Dev: "flannel.1", Onlink: true, Protocol: kernelmode.ProtocolBoot}
	objects := append(s.Objects(),
		kernelmode.Neighbour{Dev: "flannel.1", IP: gone.Via, MAC: kernelmode.MAC{2, 9, 9, 9, 9, 9}},
		kernelmode.FDBEntry{Dev: "flannel.1", MAC: kernelmode.MAC{2, 9, 9, 9, 9, 9}, Dst: addr("192.0.2.99")}, gone)
	for _, o := range objects {
		if r, ok := o.(kernelmode.Route); ok {
			r.Protocol = kernelmode.ProtocolBoot
			o = r
		}
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: o})
	}
}

// A device that flannel left is gone on with: nothing of it is made again, and no packet is lost.
func TestApplyAdoptsFlannelsDevice(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		want := three(t, w)
		leftByFlannel(t, w, want)
		mac, ok, err := kernelmode.DeviceMAC(w, "flannel.1")
		if err != nil || !ok || mac != want.Links[0].MAC {
			t.Fatalf("MAC %v (%v, %v), want %v", mac, ok, err, want.Links[0].MAC)
		}
		var did []kernelmode.Op
		for _, op := range kernelmode.Diff(want, look(t, w, want)) {
			did = append(did, op)
			route, relabelled := op.Object.(kernelmode.Route)
			if op.Verb != kernelmode.Delete && !(relabelled && op.Verb == kernelmode.Change && route.Protocol == kernelmode.RouteProtocol) {
				t.Errorf("to adopt it, %v", op)
			}
		}
		if len(did) != 4+3 { // four routes get their label, and the peer that is gone goes
			t.Errorf("operations %v", did)
		}
		installed, err := kernelmode.Apply(w, want)
		must(t, err)
		if strings.Contains(installed.String(), "10.244.99.0") || len(installed.Routes) != 4 {
			t.Errorf("installed\n%s", installed)
		}
	})
}

// One that doesn't fit is made again, with its MAC and all that belongs on it.
func TestApplyRebuildsADeviceThatDoesNotFit(t *testing.T) {
	for what, change := range map[string]func(*kernelmode.Link){
		"VNI":      func(l *kernelmode.Link) { l.VXLAN.VNI = 7 },
		"port":     func(l *kernelmode.Link) { l.VXLAN.Port = 4789 },
		"local":    func(l *kernelmode.Link) { l.VXLAN.Local = addr("192.0.2.200") },
		"learning": func(l *kernelmode.Link) { l.VXLAN.Learning = true },
		"gbp":      func(l *kernelmode.Link) { l.VXLAN.GBP = true },
		"parent":   func(l *kernelmode.Link) { l.VXLAN.Parent = "" },
	} {
		t.Run(what, func(t *testing.T) {
			inBothWorlds(t, func(t *testing.T, w world) {
				want := three(t, w)
				old := want
				old.Links = append([]kernelmode.Link{}, want.Links...)
				change(&old.Links[0])
				leftByFlannel(t, w, old)
				installed, err := kernelmode.Apply(w, want)
				must(t, err)
				i := slices.IndexFunc(installed.Links, func(l kernelmode.Link) bool { return l.Name == "flannel.1" })
				if got := installed.Links[i]; got.VXLAN != want.Links[0].VXLAN || got.MAC != want.Links[0].MAC {
					t.Errorf("installed %v, want %v", got, want.Links[0])
				}
				if len(installed.FDB) != 4 || len(installed.Neighbours) != 4 || len(installed.Routes) != 4 {
					t.Errorf("installed\n%s", installed)
				}
			})
		})
	}
}

func TestApplyLeavesADeviceOfAnotherKindAlone(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		want := three(t, w)
		w.addTUN(t, "flannel.1")
		installed, err := kernelmode.Apply(w, want)
		if err == nil || !strings.Contains(err.Error(), "a device of kind tun has that name and isn't weft's") {
			t.Errorf("error %v, want one that names the stranger", err)
		}
		if strings.Contains(installed.String(), "10.244.2.0") || !strings.Contains(installed.String(), "flannel-v6.1") {
			t.Errorf("installed\n%s", installed)
		}
	})
}

func TestDeviceMACOfNothing(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		w.addTUN(t, "flannel.1")
		for _, name := range []string{"flannel.1", "flannel.2"} {
			if mac, ok, err := kernelmode.DeviceMAC(w, name); ok || err != nil {
				t.Errorf("MAC of %s: %v, %v, %v", name, mac, ok, err)
			}
		}
	})
}

// Removal takes what weft made, and nothing else.
func TestRemoval(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		want := three(t, w)
		untouched := look(t, w, want).String()
		w.addTUN(t, "weft0")
		_, err := kernelmode.Apply(w, want)
		must(t, err)
		stranger := kernelmode.Link{Name: "vx7", Kind: kernelmode.LinkVXLAN, MTU: 1450, VXLAN: kernelmode.VXLAN{VNI: 7, Port: 8472}}
		w.byHand(t, kernelmode.Op{Verb: kernelmode.Add, Object: stranger})

		_, err = kernelmode.Apply(w, kernelmode.Removal(want.Owns.Networks, "flannel.1", "flannel-v6.1", "flannel.ipip", "weft0"))
		must(t, err)
		equal(t, "what is left of the plan", look(t, w, want).String(), untouched)
		others := kernelmode.Scope{Devices: []string{"vx7", "weft0"}}
		have, err := w.Read(others)
		must(t, err)
		if len(have.Links) != 2 {
			t.Errorf("what wasn't weft's to delete: %v", have.Links)
		}
	})
}

// From one datapath to the other what is new comes before what is old goes, and no device of the other
// is left.
func TestSwitchAddsBeforeItDeletes(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		kernel := three(t, w)
		w.addTUN(t, "weft0")
		u := dualStack()
		u.MTU, u.Subnet, u.Subnet6 = 1430, prefix("10.244.1.0/24"), prefix("fd10:244:0:1::/64")
		userspace := plan(t, u)
		userspace.Owns.Devices = []string{"flannel.1", "flannel-v6.1"}
		kernel.Owns.Devices = []string{"weft0"}
		for _, want := range []kernelmode.State{kernel, userspace, kernel} {
			deleting := false
			for _, op := range kernelmode.Diff(want, look(t, w, want)) {
				if deleting && op.Verb != kernelmode.Delete {
					t.Errorf("%v comes after a deletion", op)
				}
				deleting = op.Verb == kernelmode.Delete
			}
			installed, err := kernelmode.Apply(w, want)
			must(t, err)
			if len(installed.Routes) < len(want.Routes) || len(installed.Links) > 3 {
				t.Errorf("installed\n%s", installed)
			}
		}
	})
}

// Everything at the seam fails once, or for ever, in every place: the truth is reported, nothing is
// leaked, and the next Apply repairs.
func TestTunnelUnderFaults(t *testing.T) {
	probe := memory{kerneltest.New()}
	steps := len(three(t, probe).Objects())
	for _, errno := range []syscall.Errno{syscall.EEXIST, syscall.ENODEV, syscall.EPERM, syscall.EBUSY, syscall.EINTR} {
		for at := range steps {
			k := memory{kerneltest.New()}
			want := three(t, k)
			before := k.State().Objects()
			n := 0
			k.FailDo(func(kernelmode.Op) error { // this one, and none after it: a plan half applied
				if n++; n > at {
					return errno
				}
				return nil
			})
			installed, err := kernelmode.Apply(k, want)
			if !errors.Is(err, errno) && !hasAbsent(err) {
				t.Errorf("%v from operation %d on: error %v", errno, at, err)
			}
			have := look(t, k, want)
			equal(t, "reported", installed.String(), kernelmode.Installed(want, have).String())
			for _, o := range k.State().Objects() {
				if !slices.Contains(before, o) && !slices.Contains(have.Objects(), o) {
					t.Errorf("%v from operation %d on leaks %v", errno, at, o)
				}
			}
			k.FailDo(nil)
			_, err = kernelmode.Apply(k, want)
			must(t, err)
			if left := kernelmode.Diff(want, look(t, k, want)); len(left) != 0 {
				t.Errorf("%v from operation %d on: left to do %v", errno, at, left)
			}
		}
	}
}

func hasAbsent(err error) bool { _, ok := errors.AsType[*kernelmode.AbsentDeviceError](err); return ok }

// One operation that fails once is no error at all.
func TestTunnelUnderOneFault(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EEXIST, syscall.ENODEV, syscall.EPERM, syscall.EINTR} {
		for at := range 14 {
			k := memory{kerneltest.New()}
			want := three(t, k)
			n := 0
			k.FailDo(func(kernelmode.Op) error {
				if n++; n == at+1 {
					return errno
				}
				return nil
			})
			installed, err := kernelmode.Apply(k, want)
			if err != nil || len(installed.Routes) != 4 {
				t.Errorf("%v at operation %d: %v\n%s", errno, at, err, installed)
			}
		}
	}
}

// With a thousand peers and the device refused, one sentence says so.
func TestApplySaysOnceWhatAThousandPeersLack(t *testing.T) {
	k := memory{kerneltest.New()}
	want := many(t, k, 1000)
	for _, errno := range []syscall.Errno{syscall.EOPNOTSUPP, syscall.EPERM, syscall.EEXIST} {
		k.FailDo(func(op kernelmode.Op) error {
			if isA[kernelmode.Link](op) {
				return errno
			}
			return nil
		})
		_, err := kernelmode.Apply(k, want)
		if !errors.Is(err, errno) || strings.Count(err.Error(), "\n") > 1 {
			t.Errorf("%d bytes of error: %.300v", len(err.Error()), err)
		}
	}
	k.FailDo(func(op kernelmode.Op) error {
		if isA[kernelmode.Route](op) {
			return syscall.ENOMEM
		}
		return nil
	})
	_, err := kernelmode.Apply(k, want)
	if err == nil || !strings.HasSuffix(err.Error(), "and 984 more") {
		t.Errorf("%d bytes of error: %.300v", len(err.Error()), err)
	}
}

// A host-gw peer's routes wait for the underlay, which is named once.
func TestHostGWWithoutItsUnderlay(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		h := crowd(t, hostGWNetwork)
		h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 2), neighbour(h.Config, 3))
		_, err := kernelmode.Apply(w, kernelPlan(t, h))
		if absent, ok := errors.AsType[*kernelmode.AbsentDeviceError](err); !ok || absent.Name != "eth0" || strings.Count(err.Error(), "\n") != 0 {
			t.Errorf("error %v, want one AbsentDeviceError for eth0", err)
		}
		if len(kernelmode.MissingDevices(err)) != 0 {
			t.Error("the underlay passes for a TUN that its owner has to open")
		}
		w.addUnderlay(t, "eth0", "192.0.2.1/24", "2001:db8::1/64")
		installed, err := kernelmode.Apply(w, kernelPlan(t, h))
		must(t, err)
		if len(installed.Routes) != 4 {
			t.Errorf("installed\n%s", installed)
		}
	})
}
