package agent

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"weft/kernelmode"
	"weft/lease"
	"weft/tunnel"
)

const migratingConfig = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9001},` +
	`"Weft":{"Migration":{"To":{"Type":"vxlan","VNI":7,"Port":9002},"Hosts":["192.0.2.1"]}}}`

// A store that says one thing.
type oneSnapshot struct {
	lease.Store
	snapshot *lease.Snapshot
}

func (s oneSnapshot) Watch(_ context.Context, yield func(*lease.Snapshot)) error {
	yield(s.snapshot)
	return context.Canceled
}

// What a host gets to see of a migration is its own side, from the moment on that it knows where it is.
func TestSide(t *testing.T) {
	stored := &lease.Snapshot{Revision: 7, Config: config(t, migratingConfig)}
	s := &side{Store: oneSnapshot{snapshot: stored}}
	watched := func() (c lease.Config) {
		_ = s.Watch(t.Context(), func(snapshot *lease.Snapshot) { c = snapshot.Config })
		return c
	}
	if c := watched(); string(c.Raw) != migratingConfig {
		t.Errorf("before it is known where: %s", c.Raw)
	}
	for public, want := range map[string]string{"192.0.2.1": "vxlan", "192.0.2.2": "udp"} {
		at := s.at(stored.Config, netip.MustParseAddr(public), netip.Addr{})
		copied := s.seen(&lease.Copy{Snapshot: stored})
		for what, c := range map[string]lease.Config{"in force": at, "watched": watched(), "on disk": copied.Snapshot.Config} {
			if c.BackendType != want || string(c.Raw) != string(at.Raw) {
				t.Errorf("%s, %s: type %s, want %s: %s", public, what, c.BackendType, want, c.Raw)
			}
		}
	}
	if stored.Config.BackendType != "udp" || string(stored.Config.Raw) != migratingConfig {
		t.Errorf("the shared snapshot was changed: %s", stored.Config.Raw)
	}
	if s.seen(nil) != nil {
		t.Error("a copy out of nowhere")
	}
}

// While the network migrates a host takes both formats at their ports, says so, and forwards in user space.
func TestFabricWhileMigrating(t *testing.T) {
	for public, own := range map[string]string{"192.0.2.1": "vxlan", "192.0.2.2": "udp"} {
		f := fabric{config: config(t, migratingConfig).For(netip.MustParseAddr(public)), underlay: host(public, "")}
		o := Options{RemoteSums: tunnel.Auto, Datapath: auto}
		ports := map[string]uint16{}
		for kind, wanted := range f.formats(nil).byName() {
			if wanted {
				ports[kind], _ = f.receives(kind, o)
			}
		}
		if len(ports) != 2 || ports["udp"] != 9001 || ports["vxlan"] != 9002 || f.vni() != 7 {
			t.Errorf("%s takes %v, VNI %d", own, ports, f.vni())
		}
		a, err := f.attrs(o)
		if w, _ := a.Weft(); err != nil || w.Caps&lease.CapMigrates == 0 || (a.BackendType == "vxlan") != (own == "vxlan") {
			t.Errorf("%s tells %s of type %q, %v", own, a.BackendData, a.BackendType, err)
		}
		works := func(kernelmode.Feature) kernelmode.Capability { return kernelmode.Capability{} }
		if c, err := choose(f.config, o, "", works); err != nil || c.kind != userspace {
			t.Errorf("%s: %+v, %v", own, c, err)
		}
		o.Datapath = inKernel
		if err := o.follows(f.config); err == nil || !strings.Contains(err.Error(), "the network migrates") {
			t.Errorf("%s in the kernel: %v", own, err)
		}
		// A session that began without the migration is another one.
		plain := f
		plain.config.Beside = lease.Format{}
		if f.footing(o) == plain.footing(o) {
			t.Errorf("%s: the other format is no reason to open its sockets", own)
		}
	}
}
