package kernelmode_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
	"weft/lease"
)

// tunnelHarms are what other programs do to a kernel datapath; each has to be undone.
var tunnelHarms = []struct {
	what string
	do   func(want kernelmode.State) []kernelmode.Op
}{
	{"route deleted", func(s kernelmode.State) []kernelmode.Op { return ops(kernelmode.Delete, s.Routes[0]) }},
	{"IPv6 route deleted", func(s kernelmode.State) []kernelmode.Op {
		return ops(kernelmode.Delete, s.Routes[len(s.Routes)-1])
	}},
	{"neighbour deleted", func(s kernelmode.State) []kernelmode.Op { return ops(kernelmode.Delete, s.Neighbours[0]) }},
	{"neighbour given another MAC", func(s kernelmode.State) []kernelmode.Op {
		n := s.Neighbours[0]
		n.MAC[5] = 0xee
		return ops(kernelmode.Change, n)
	}},
	{"forwarding entry deleted", func(s kernelmode.State) []kernelmode.Op { return ops(kernelmode.Delete, s.FDB[0]) }},
	{"forwarding entry led astray", func(s kernelmode.State) []kernelmode.Op {
		f := s.FDB[0]
		f.Dst = addr("192.0.2.77")
		return ops(kernelmode.Change, f)
	}},
	{"forwarding entry of nobody added", func(s kernelmode.State) []kernelmode.Op {
		return ops(kernelmode.Add, kernelmode.FDBEntry{Dev: "flannel.1", MAC: kernelmode.MAC{2, 9, 9, 9, 9, 9}, Dst: addr("192.0.2.77")})
	}},
	{"address deleted", func(s kernelmode.State) []kernelmode.Op { return ops(kernelmode.Delete, s.Addresses[0]) }},
	{"MTU changed", func(s kernelmode.State) []kernelmode.Op { return changed(s, func(l *kernelmode.Link) { l.MTU = 1300 }) }},
	{"MAC changed", func(s kernelmode.State) []kernelmode.Op {
		return changed(s, func(l *kernelmode.Link) { l.MAC[5] = 0x77 })
	}},
	{"device set down", func(s kernelmode.State) []kernelmode.Op { return changed(s, func(l *kernelmode.Link) { l.Up = false }) }},
	{"device deleted", func(s kernelmode.State) []kernelmode.Op { return ops(kernelmode.Delete, s.Links[0]) }},
	{"device made by another program", func(s kernelmode.State) []kernelmode.Op {
		other := s.Links[0]
		other.VXLAN.VNI, other.VXLAN.Learning, other.MAC = 99, true, kernelmode.MAC{2, 9, 9, 9, 9, 9}
		return append(ops(kernelmode.Delete, s.Links[0]), ops(kernelmode.Add, other)...)
	}},
}

// inflict does the harm; again from its first step where the reconciler undid that before the next. A device that vanishes
// while it is made, or between two attempts, was the reconciler's quickness too.
func inflict(t *testing.T, do func(kernelmode.Op) error, ops []kernelmode.Op) {
	t.Helper()
	again := false
	for i := 0; i < len(ops); i++ {
		err := do(ops[i])
		switch {
		case i > 0 && errors.Is(err, syscall.EEXIST):
			i, again = -1, true
		case (i > 0 || again) && errors.Is(err, syscall.ENODEV):
		default:
			must(t, err)
		}
	}
}

func ops(v kernelmode.Verb, o kernelmode.Object) []kernelmode.Op {
	return []kernelmode.Op{{Verb: v, Object: o}}
}

func changed(s kernelmode.State, change func(*kernelmode.Link)) []kernelmode.Op {
	l := s.Links[0]
	change(&l)
	return ops(kernelmode.Change, l)
}

// three is a dual-stack network of three hosts, seen from the first.
func three(t *testing.T, w world) kernelmode.State {
	t.Helper()
	h := crowd(t, dualNetwork)
	h.Underlay = w.addUnderlay(t, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 2), neighbour(h.Config, 3))
	return kernelPlan(t, h)
}

func TestReconcilerRepairsATunnel(t *testing.T) {
	for _, harm := range tunnelHarms {
		t.Run(harm.what, func(t *testing.T) {
			inBothWorlds(t, func(t *testing.T, w world) {
				want := three(t, w)
				r := start(t, w, kernelmode.ReconcilerOptions{})
				r.Want(want)
				eventually(t, "installed", func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })
				installed := r.Status().Installed.String()
				inflict(t, w.otherProgram, harm.do(want))
				eventually(t, "repaired", func() bool {
					return r.Status().Repairs > 0 && r.Status().Err == nil && len(kernelmode.Diff(want, look(t, w, want))) == 0
				})
				equal(t, "installed afterwards", r.Status().Installed.String(), installed)
			})
		})
	}
}

// The fake is only worth testing against while a tunnel in it suffers as on Linux.
func TestBothWorldsSufferAlikeOnATunnel(t *testing.T) {
	for _, harm := range tunnelHarms {
		t.Run(harm.what, func(t *testing.T) {
			var after []string
			for _, w := range []world{memory{kerneltest.New()}, newReal(t)} {
				want := three(t, w)
				_, err := kernelmode.Apply(w, want)
				must(t, err)
				for _, op := range harm.do(want) {
					w.byHand(t, op)
				}
				have := look(t, w, want)
				after = append(after, kernelmode.Installed(want, have).String())
			}
			equal(t, "the fake after the harm", after[0], after[1])
		})
	}
}

func TestTunnelHealsWithinASecond(t *testing.T) {
	for _, harm := range tunnelHarms {
		t.Run(harm.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := memory{kerneltest.New()}
				want := three(t, k)
				r := start(t, k, kernelmode.ReconcilerOptions{})
				r.Want(want)
				synctest.Wait()
				for range 10 { // a program that insists
					for _, op := range harm.do(want) {
						must(t, k.ByHand(op))
					}
					begin := time.Now()
					for len(kernelmode.Diff(want, look(t, k, want))) != 0 {
						time.Sleep(time.Millisecond)
					}
					if took := time.Since(begin); took > time.Second {
						t.Fatalf("healed after %v", took)
					}
				}
			})
		})
	}
}

// Upstream failure 11: a deleted vxlan device came back without its peers and with another MAC.
func TestUpstream11DeletedVXLANDeviceComesBackWhole(t *testing.T) {
	inBothWorlds(t, func(t *testing.T, w world) {
		want := three(t, w)
		r := start(t, w, kernelmode.ReconcilerOptions{})
		r.Want(want)
		eventually(t, "installed", func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })
		before := look(t, w, want)
		for range 3 {
			repairs := r.Status().Repairs
			for _, l := range want.Links {
				w.deleteLink(t, l.Name)
			}
			eventually(t, "everything is back as before", func() bool {
				return r.Status().Repairs > repairs && look(t, w, want).String() == before.String()
			})
		}
		mac, ok, err := kernelmode.DeviceMAC(w, "flannel.1")
		if err != nil || !ok || mac != want.Links[0].MAC {
			t.Errorf("MAC %v (%v, %v), want %v", mac, ok, err, want.Links[0].MAC)
		}
	})
}

// The underlay vanishes, and with it the device; it comes back with another address, which the next
// plan has.
func TestTunnelFollowsItsUnderlay(t *testing.T) {
	w := newReal(t)
	h := crowd(t, vxlanNetwork)
	h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 2), neighbour(h.Config, 3))
	h.Underlay = w.addUnderlay(t, "eth0", "192.0.2.1/24")
	r := start(t, w, kernelmode.ReconcilerOptions{})
	r.Want(kernelPlan(t, h))
	eventually(t, "installed", func() bool { s := r.Status(); return !s.At.IsZero() && s.Err == nil })

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	selection := kernelmode.Selection{IPv4: true}.Follow(h.Underlay)
	away := make(chan error, 8)
	go func() {
		done <- kernelmode.WatchUnderlay(ctx, w, selection, h.Underlay, func(u kernelmode.Underlay, err error) {
			if err != nil {
				away <- err
				return
			}
			moved := h
			moved.Underlay = u
			s, _, err := kernelmode.VXLANPlan(moved)
			if err != nil {
				away <- err
				return
			}
			r.Want(s)
		})
	}()
	w.deleteLink(t, "eth0")
	<-away
	eventually(t, "its absence reported", func() bool { return r.Status().Err != nil })
	if s := r.Status(); len(s.Installed.Links) != 0 {
		t.Errorf("installed without the underlay: %v", s.Installed.Links)
	}
	w.addUnderlay(t, "eth0", "192.0.2.5/24")
	eventually(t, "on the new address", func() bool {
		s := r.Status()
		return s.Err == nil && len(s.Installed.Links) == 1 && s.Installed.Links[0].VXLAN.Local == addr("192.0.2.5") && len(s.Installed.FDB) == 2
	})
	cancel()
	must(t, <-done)
}

// Peers come, go and move to other addresses, and nothing of them stays behind.
func TestTunnelFollowsTheSnapshot(t *testing.T) {
	for name, config := range map[string]string{"vxlan": dualNetwork, "vxlan-direct": directNetwork, "host-gw": hostGWNetwork} {
		t.Run(name, func(t *testing.T) {
			inBothWorlds(t, func(t *testing.T, w world) {
				h := crowd(t, config)
				h.Underlay = w.addUnderlay(t, "eth0", "192.0.2.1/24", "2001:db8::1/64")
				for _, peers := range [][]int{{2, 3, 4}, {3, 4, 5, 6}, {}, {9}} {
					h.Snapshot = &lease.Snapshot{Leases: []lease.Lease{h.Own}}
					for i, n := range peers {
						h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, n, func(l *lease.Lease) {
							l.Attrs.PublicIP = addr(fmt.Sprintf("192.0.2.%d", 10*n+i)) // another gateway each time
						}))
					}
					want := kernelPlan(t, h)
					installed, err := kernelmode.Apply(w, want)
					must(t, err)
					if len(installed.Routes) != 2*len(peers) || len(installed.Neighbours) != len(want.Neighbours) || len(installed.FDB) != len(want.FDB) {
						t.Errorf("with peers %v there are\n%s", peers, installed)
					}
				}
			})
		})
	}
}
