package agent

import (
	"net/netip"
	"slices"
	"testing"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
)

// What weft made goes; what is another's stays, on the same devices and in the same network.
func TestCleanKernel(t *testing.T) {
	k := kerneltest.New()
	k.AddDevice("eth0", 1500, netip.MustParsePrefix("192.0.2.1/24"))
	device := func(name string, vni uint32, port uint16) kernelmode.Link {
		return kernelmode.Link{Name: name, Kind: kernelmode.LinkVXLAN, MTU: 1450, Up: true, MAC: kernelmode.NewMAC(),
			VXLAN: kernelmode.VXLAN{VNI: vni, Port: port, Parent: "eth0", Local: netip.MustParseAddr("192.0.2.1")}}
	}
	route := func(dst, via string, protocol uint8) kernelmode.Route {
		return kernelmode.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(via), Dev: "eth0", Protocol: protocol}
	}
	for _, object := range []kernelmode.Object{
		device("flannel.1", 1, 8472), device("another", 2, 4789),
		route("10.5.2.0/24", "192.0.2.2", kernelmode.RouteProtocol), route("10.5.3.0/24", "192.0.2.3", 4),
	} {
		if err := k.Do(kernelmode.Op{Verb: kernelmode.Add, Object: object}); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{StateDir: t.TempDir()}
	if err := (keepsake{Devices: []string{"flannel.1"}}).save(o.StateDir); err != nil {
		t.Fatal(err)
	}
	removed, err := cleanKernel(k, o)
	want := []string{"device flannel.1", "route 10.5.2.0/24 via 192.0.2.2 dev eth0 proto 87"}
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	if removed, err := cleanKernel(k, o); err != nil || len(removed) != 0 {
		t.Errorf("the second time: %q, %v", removed, err)
	}
}
