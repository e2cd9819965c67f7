package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
	"weft/lease"
)

// kernelSession is a session of a vxlan host with two peers in a kernel in memory, one of them of another type.
func kernelSession(t *testing.T) (*session, *kerneltest.Kernel) {
	t.Helper()
	k := kernelOf(t, kernelmode.MAC{})
	m := memberOf(t, k, t.TempDir())
	own := peer(t, "10.5.1.0/24", "", `{"PublicIP":"192.0.2.1","BackendType":"vxlan"}`)
	m.fabric.vtep = testVTEP
	s := &session{member: m, fabric: m.fabric}
	s.fabric.own = own
	s.snapshot = &lease.Snapshot{Revision: 3, Config: s.fabric.config, Leases: []lease.Lease{own,
		peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}`),
		peer(t, "10.5.3.0/24", "", `{"PublicIP":"192.0.2.3","PublicIPv6":null}`)}}
	return s, k
}

// The kernel's datapath says whom it reaches and whom not, and follows what changes.
func TestKernelPath(t *testing.T) {
	s, _ := kernelSession(t)
	k, err := s.openKernel(s.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	var state admin.State
	state.Problems = []admin.Problem{{Key: "junk"}}
	k.describe(&state)
	if len(state.Peers) != 1 || state.Peers[0].Outer != netip.MustParseAddrPort("192.0.2.2:8472") || state.Peers[0].MTU != 1450 {
		t.Errorf("peers %+v", state.Peers)
	}
	if len(state.Problems) != 2 || state.Problems[1].Reason != kernelmode.OtherBackend || state.Datapath.Device != "flannel.1" {
		t.Errorf("problems %+v, datapath %+v", state.Problems, state.Datapath)
	}
	if changed, err := k.follow(s.snapshot); changed != 0 || err != nil {
		t.Errorf("the same again: %d changes, %v", changed, err)
	}
	alone := *s.snapshot
	alone.Leases = alone.Leases[:1]
	if changed, err := k.follow(&alone); changed != 1 || err != nil {
		t.Errorf("a peer went: %d changes, %v", changed, err)
	}
	if !slices.Contains(s.kept.Devices, "flannel.1") {
		t.Errorf("what is made isn't known to the next run: %v", s.kept.Devices)
	}
}

// A datapath without its own device is none, whatever step failed; one that lacks a peer is one, and the
// reconciler goes on trying.
func TestHalfADatapath(t *testing.T) {
	for _, test := range []struct {
		name    string
		fails   func(kernelmode.Op) error
		serious bool
	}{
		{"nothing", func(kernelmode.Op) error { return nil }, false},
		{"the device can't be made", func(op kernelmode.Op) error {
			if l, ok := op.Object.(kernelmode.Link); ok && l.Kind == kernelmode.LinkVXLAN {
				return syscall.EOPNOTSUPP
			}
			return nil
		}, true},
		{"no right", func(kernelmode.Op) error { return syscall.EPERM }, true},
		{"one route", func(op kernelmode.Op) error {
			if _, ok := op.Object.(kernelmode.Route); ok {
				return syscall.ENOMEM
			}
			return nil
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, memory := kernelSession(t)
			k, err := s.openKernel(s.snapshot)
			if err != nil {
				t.Fatal(err)
			}
			s.log = slog.New(slog.DiscardHandler)
			installed, err := kernelmode.Apply(faulty{memory, test.fails}, k.plan())
			if fault := s.serious(k.plan(), installed, err); (fault != nil) != test.serious {
				t.Errorf("serious: %v (of %v)", fault, err)
			}
		})
	}
}

// faulty is a kernel that refuses some operations.
type faulty struct {
	kernelmode.Kernel
	fails func(kernelmode.Op) error
}

func (f faulty) Do(op kernelmode.Op) error {
	if err := f.fails(op); err != nil {
		return err
	}
	return f.Kernel.Do(op)
}

// Before a handover into the kernel its device is there, down, with what leads to peers and no route; when that
// can't be made, nothing of it is left and the packets stay where they are.
func TestPreparingTheKernel(t *testing.T) {
	s, memory := kernelSession(t)
	h := &handover{session: s}
	if err := h.prepareKernel(); err != nil {
		t.Fatal(err)
	}
	have, err := memory.Read(kernelmode.ScopeOf(h.kernel.plan()))
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(slices.Clone(have.Routes), func(r kernelmode.Route) bool { return r.Protocol != kernelmode.RouteProtocol })
	if len(have.Links) != 2 || have.Links[0].Up && have.Links[1].Up || len(have.FDB) != 1 || len(ours) != 0 {
		t.Errorf("prepared:\n%s", have)
	}
	h.discardKernel()
	s.kernel = faulty{memory, func(op kernelmode.Op) error {
		if op.Verb != kernelmode.Delete && strings.HasPrefix(op.Object.Device(), "flannel") {
			return syscall.ENOSPC
		}
		return nil
	}}
	if err := h.prepareKernel(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a kernel that refuses: %v", err)
	}
	if have, err := memory.Read(kernelmode.Scope{Devices: []string{"flannel.1"}}); err != nil || len(have.Links) != 0 {
		t.Errorf("left behind: %s, %v", have, err)
	}
}
