package kernelmode_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/kernelmode"
)

var (
	tun     = kernelmode.Link{Name: "weft0", Kind: kernelmode.LinkTUN, MTU: 1472, Up: true}
	base    = kernelmode.Address{Dev: "weft0", Prefix: prefix("10.244.79.0/32")}
	network = kernelmode.Route{Dst: prefix("10.244.0.0/16"), Dev: "weft0", Protocol: kernelmode.RouteProtocol}
	peer    = kernelmode.Route{Dst: prefix("10.244.5.0/24"), Via: addr("192.0.2.7"), Dev: "eth0", Protocol: kernelmode.RouteProtocol}
	ours    = kernelmode.Ownership{Networks: []netip.Prefix{prefix("10.244.0.0/16")}}
)

func TestDiff(t *testing.T) {
	add := func(o kernelmode.Object) string { return kernelmode.Op{Verb: kernelmode.Add, Object: o}.String() }
	change := func(o kernelmode.Object) string {
		return kernelmode.Op{Verb: kernelmode.Change, Object: o}.String()
	}
	remove := func(o kernelmode.Object) string {
		return kernelmode.Op{Verb: kernelmode.Delete, Object: o}.String()
	}
	down, vxlan := tun, kernelmode.Link{Name: "flannel.1", Kind: "vxlan", MTU: 1450, Up: true}
	down.Up = false
	moved := peer
	moved.Via = addr("192.0.2.8")
	label := peer
	label.Protocol = 186 // BIRD's
	byHand := peer
	byHand.Protocol = kernelmode.ProtocolBoot
	mtu := network
	mtu.Protocol, mtu.MTU = kernelmode.ProtocolBoot, 500
	old := kernelmode.Address{Dev: "weft0", Prefix: prefix("10.244.3.0/32")}
	admin := kernelmode.Address{Dev: "weft0", Prefix: prefix("192.0.2.1/32")}
	near := kernelmode.Neighbour{Dev: "flannel.1", IP: addr("10.244.5.0"), MAC: kernelmode.MAC{2, 0, 0, 0, 0, 5}}
	entry := kernelmode.FDBEntry{Dev: "flannel.1", MAC: near.MAC, Dst: addr("192.0.2.7")}
	otherEntry := entry
	otherEntry.Dst = addr("192.0.2.9")
	on := kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "1"}
	other, mac, bridge := vxlan, vxlan, vxlan
	other.VXLAN.VNI, mac.MAC, bridge.Kind = 2, kernelmode.MAC{2, 0, 0, 0, 0, 99}, "bridge"
	vxlan.MAC, other.MAC = kernelmode.MAC{2, 0, 0, 0, 0, 1}, kernelmode.MAC{2, 0, 0, 0, 0, 1}
	stale := kernelmode.Route{Dst: prefix("10.244.9.0/24"), Via: addr("10.244.9.0"), Dev: "flannel.1", Onlink: true, Protocol: kernelmode.ProtocolBoot}
	connected := kernelmode.Route{Dst: prefix("10.244.3.0/32"), Dev: "flannel.1", Protocol: kernelmode.ProtocolKernel}
	try := kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "0", Optional: true}
	off := kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "0"}
	type objects = []kernelmode.Object

	for _, c := range []struct {
		what       string
		want, have objects
		ops        []string
	}{
		{"nothing and nothing", nil, nil, nil},
		{"all there", objects{tun, base, network}, objects{tun, base, network}, nil},
		{"fresh device", objects{tun, base, network, on}, objects{down, off}, []string{change(tun), change(on), add(base), add(network)}},
		{"no device", objects{tun, base, network, peer}, objects{}, []string{add(peer)}},
		{"gateway moved", objects{moved}, objects{peer}, []string{change(moved)}},
		{"route of another program's, identical", objects{peer}, objects{label}, nil},
		{"identical route of flannel's", objects{peer}, objects{byHand}, []string{change(peer)}},
		{"route of another program's in our place", objects{tun, network}, objects{tun, mtu}, []string{change(network)}},
		{"prepended", objects{tun, network}, objects{tun, mtu, network}, []string{remove(network), change(network)}},
		{"idle twin of another program's stays", objects{tun, network}, objects{tun, network, mtu}, nil},
		{"flannel's route to a peer that left, on its device", objects{vxlan}, objects{vxlan, stale}, []string{remove(stale)}},
		{"the kernel's own route on our device", objects{vxlan}, objects{vxlan, connected}, nil},
		{"VNI of the device is another", objects{vxlan, near, entry}, objects{other, near, entry, stale}, []string{remove(other), add(vxlan), add(near), add(entry)}},
		{"MAC of the device is another", objects{vxlan}, objects{mac}, []string{change(vxlan)}},
		{"somebody else's device has the name", objects{vxlan, near, entry}, objects{bridge, near}, []string{change(vxlan)}},
		{"optional sysctl is set to the same", objects{try}, objects{off}, nil},
		{"labelled, not wanted", nil, objects{peer}, []string{remove(peer)}},
		{"not labelled, not wanted", nil, objects{label}, nil},
		{"new subnet before the old goes", objects{tun, base}, objects{tun, old, admin}, []string{add(base), remove(old)}},
		{"entry moved", objects{vxlan, near, entry}, objects{vxlan, near, otherEntry}, []string{change(entry)}},
		{"peer left: route first, device stays", objects{vxlan}, objects{vxlan, near, entry, peer}, []string{remove(peer), remove(entry), remove(near)}},
		{"sysctl not wanted any more", nil, objects{on}, nil},
		{"TUN not wanted is its owner's affair", nil, objects{tun}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			want := kernelmode.State{Owns: ours}.With(c.want...)
			var got []string
			for _, op := range kernelmode.Diff(want, kernelmode.State{}.With(c.have...)) {
				got = append(got, op.String())
			}
			if diff := cmp.Diff(c.ops, got); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiffDeletesADeviceLeftByAnotherDatapath(t *testing.T) {
	left := kernelmode.Link{Name: "flannel.1", Kind: "vxlan", MTU: 1450, Up: true}
	want := kernelmode.State{Owns: kernelmode.Ownership{Devices: []string{"flannel.1"}}}.With(tun)
	ops := kernelmode.Diff(want, kernelmode.State{}.With(tun, left))
	if !slices.Equal(ops, []kernelmode.Op{{Verb: kernelmode.Delete, Object: left}}) {
		t.Errorf("operations %v, want only the deletion of %v", ops, left)
	}
}

// Any value that a plan doesn't ask for must not start a war with whoever set it.
func TestDiffLeavesUnaskedLinkSettings(t *testing.T) {
	have := tun
	have.TxQueueLen, have.GSOMaxSize, have.NoAddrGen = 77, 30000, true
	if ops := kernelmode.Diff(kernelmode.State{}.With(tun), kernelmode.State{}.With(have)); len(ops) != 0 {
		t.Errorf("operations %v, want none", ops)
	}
}

func TestWithLeavesTheReceiverAlone(t *testing.T) {
	s := kernelmode.State{Routes: make([]kernelmode.Route, 1, 8)}
	a, b := s.With(peer), s.With(network)
	if a.Routes[1] != peer || b.Routes[1] != network || len(s.Routes) != 1 {
		t.Errorf("With shares memory: %v, %v", a.Routes, b.Routes)
	}
}

func TestRenderLikeIP(t *testing.T) {
	for want, o := range map[string]kernelmode.Object{
		"10.244.0.0/16 dev weft0 proto 87":                                         network,
		"10.244.5.0/24 via 192.0.2.7 dev eth0 proto 87":                            peer,
		"blackhole 10.244.79.0/24 proto 87":                                        kernelmode.Route{Dst: prefix("10.244.79.0/24"), Kind: kernelmode.Blackhole, Protocol: kernelmode.RouteProtocol},
		"10.244.94.0/24 via 10.244.94.0 dev flannel.1 onlink":                      kernelmode.Route{Dst: prefix("10.244.94.0/24"), Via: addr("10.244.94.0"), Dev: "flannel.1", Onlink: true, Protocol: kernelmode.ProtocolBoot},
		"10.99.0.0/24 dev va proto kernel scope link src 10.99.0.1":                kernelmode.Route{Dst: prefix("10.99.0.0/24"), Dev: "va", Src: addr("10.99.0.1"), Scope: kernelmode.ScopeLink, Protocol: kernelmode.ProtocolKernel},
		"10.244.94.0 dev flannel.1 lladdr 8e:a8:f3:6c:89:ee PERMANENT":             kernelmode.Neighbour{Dev: "flannel.1", IP: addr("10.244.94.0"), MAC: kernelmode.MAC{0x8e, 0xa8, 0xf3, 0x6c, 0x89, 0xee}},
		"8e:a8:f3:6c:89:ee dev flannel.1 dst 10.99.0.2 self permanent":             kernelmode.FDBEntry{Dev: "flannel.1", MAC: kernelmode.MAC{0x8e, 0xa8, 0xf3, 0x6c, 0x89, 0xee}, Dst: addr("10.99.0.2")},
		"inet 10.244.79.0/32 scope global weft0":                                   base,
		"weft0: <UP> mtu 1472 tun":                                                 tun,
		"fd10:244:0:42::/64 via fd10:244:0:42:: dev f proto 87 metric 1024 onlink": kernelmode.Route{Dst: prefix("fd10:244:0:42::/64"), Via: addr("fd10:244:0:42::"), Dev: "f", Metric: 1024, Onlink: true, Protocol: kernelmode.RouteProtocol},
	} {
		if o.String() != want {
			t.Errorf("rendered %q, want %q", o, want)
		}
	}
}
