package agent

import (
	"net/netip"
	"testing"

	"weft/kernelmode"
	"weft/lease"
	"weft/routes"
	"weft/tunnel"
)

// Peers of every backend type, seen from a host of a dual-stack vxlan network: each is talked to in the
// format that its own lease names, or named with the reason why not.
func TestEveryPeerInItsOwnFormat(t *testing.T) {
	const mac, mac6 = `"VtepMAC":"c6:d2:32:6f:8f:44"`, `"VtepMAC":"c6:d2:32:6f:8f:66"`
	both := `{"PublicIP":"192.0.2.2","PublicIPv6":"2001:db8::2","BackendType":"vxlan","BackendData":{"VNI":1,` + mac + `},"BackendV6Data":{"VNI":1,` + mac6 + `}}`
	for _, test := range []struct {
		name, subnet, value string
		options             Options
		want                *routes.Hop
		mtu                 int
		reason              string
	}{
		{name: "vxlan", subnet: "10.5.2.0/24", value: both,
			want: &routes.Hop{Outer: netip.MustParseAddrPort("192.0.2.2:8472"), Encapsulation: routes.EncapVXLAN, VNI: 1, VTEPMAC: [6]byte{0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x44}}},
		{name: "vxlan over IPv6", subnet: "fd00:5:0:2::/64", value: both, mtu: 1430,
			want: &routes.Hop{Outer: netip.MustParseAddrPort("[2001:db8::2]:8472"), Encapsulation: routes.EncapVXLAN, VNI: 1, VTEPMAC: [6]byte{0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x66}}},
		{name: "vxlan at a port of its own, with remote checksums", subnet: "10.5.2.0/24", options: Options{RemoteSums: tunnel.On},
			value: `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":1,` + mac + `,"Weft":{"Version":1,"Caps":10,"Port":99}}}`,
			want:  &routes.Hop{Outer: netip.MustParseAddrPort("192.0.2.2:99"), Encapsulation: routes.EncapVXLAN, VNI: 1, VTEPMAC: [6]byte{0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x44}, RemoteSums: true, Echoes: true}},
		{name: "remote checksums that this host didn't promise", subnet: "10.5.2.0/24",
			value: `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":1,` + mac + `,"Weft":{"Version":1,"Caps":2,"Port":8472}}}`,
			want:  &routes.Hop{Outer: netip.MustParseAddrPort("192.0.2.2:8472"), Encapsulation: routes.EncapVXLAN, VNI: 1, VTEPMAC: [6]byte{0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x44}}},
		{name: "flannel's udp", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","PublicIPv6":null}`,
			want: &routes.Hop{Outer: netip.MustParseAddrPort("192.0.2.2:8285")}},
		{name: "weft's udp, whose GUE this host's lease doesn't promise", subnet: "10.5.2.0/24",
			value: `{"PublicIP":"192.0.2.2","BackendData":{"Weft":{"Version":1,"Caps":1,"Port":8285}}}`,
			want:  &routes.Hop{Outer: netip.MustParseAddrPort("192.0.2.2:8285")}},
		{name: "ipip", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","BackendType":"ipip"}`,
			want: &routes.Hop{Outer: netip.MustParseAddrPort("192.0.2.2:0"), Encapsulation: routes.EncapIPIP}},
		{name: "ipip has no IPv6", subnet: "fd00:5:0:2::/64", value: `{"PublicIP":"192.0.2.2","BackendType":"ipip"}`, reason: kernelmode.NoIPv6},
		{name: "host-gw", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","BackendType":"host-gw"}`, reason: kernelmode.OtherBackend},
		{name: "wireguard", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","BackendType":"wireguard","BackendData":{}}`, reason: kernelmode.OtherBackend},
		{name: "no MAC", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","BackendType":"vxlan"}`, reason: kernelmode.BadBackendData},
		{name: "a group's MAC", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VtepMAC":"01:00:5e:00:00:01"}}`, reason: kernelmode.BadMAC},
		{name: "another VNI", subnet: "10.5.2.0/24", value: `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":7,` + mac + `}}`, reason: kernelmode.OtherVNI},
		{name: "no outer address of the family", subnet: "fd00:5:0:2::/64", value: `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendV6Data":{"VNI":1,` + mac6 + `}}`, reason: kernelmode.NoOuterAddress},
	} {
		t.Run(test.name, func(t *testing.T) {
			own := peer(t, "10.5.1.0/24", "fd00:5:0:1::/64", `{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1"}`)
			f := fabric{config: config(t, vxlanDual), underlay: host("192.0.2.1", "2001:db8::1"), own: own, vtep: testVTEP}
			l := peer(t, test.subnet, "", test.value)
			if l.Subnet.Addr().Is6() {
				l.Subnet, l.Subnet6 = l.Subnet6, l.Subnet
			}
			got, skipped := f.routes(&lease.Snapshot{Leases: []lease.Lease{own, l}}, test.options)
			if test.reason != "" {
				if len(got) != 0 || len(skipped) != 1 || skipped[0].Reason != test.reason || skipped[0].Detail == "" {
					t.Errorf("%d routes, skipped %v, want reason %s", len(got), skipped, test.reason)
				}
				return
			}
			if len(got) != 1 || len(skipped) != 0 {
				t.Fatalf("%d routes, skipped %v", len(got), skipped)
			}
			hop := got[0].Hop
			if hop.Outer != test.want.Outer || hop.Encapsulation != test.want.Encapsulation || hop.VNI != test.want.VNI ||
				hop.VTEPMAC != test.want.VTEPMAC || hop.RemoteSums != test.want.RemoteSums || hop.Echoes != test.want.Echoes || hop.MTU() != test.mtu {
				t.Errorf("hop %v encapsulation %d VNI %d MAC %x remote sums %v MTU %d", hop.Outer, hop.Encapsulation, hop.VNI, hop.VTEPMAC, hop.RemoteSums, hop.MTU())
			}
		})
	}
}

// A host has sockets for its own type, and for what its peers' leases name.
func TestFormats(t *testing.T) {
	own := peer(t, "10.5.1.0/24", "", `{"PublicIP":"192.0.2.1","BackendType":"vxlan"}`)
	f := fabric{config: config(t, vxlan4), underlay: host("192.0.2.1", ""), own: own}
	alone := f.formats(&lease.Snapshot{Leases: []lease.Lease{own}})
	if alone != (formats{vxlan: true}) || f.formats(nil) != alone {
		t.Errorf("a vxlan host alone takes %v", alone.names())
	}
	mixed := f.formats(&lease.Snapshot{Leases: []lease.Lease{own, peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2"}`)}})
	if mixed != (formats{vxlan: true, udp: true}) || !mixed.cover(alone) || alone.cover(mixed) {
		t.Errorf("with a udp peer it takes %v", mixed.names())
	}
	if port, own := f.receives(typeUDP, Options{Port: 99}); port != 8285 || own {
		t.Errorf("udp in a vxlan network is received at %d, own %t", port, own)
	}
	if port, own := f.receives(typeVXLAN, Options{Port: 99}); port != 99 || !own {
		t.Errorf("vxlan is received at %d, own %t", port, own)
	}
}

// DirectRouting leads to peers on the same link past every tunnel.
func TestDirectRoutes(t *testing.T) {
	f := fabric{config: config(t, vxlan4), underlay: host("192.0.2.1", ""), own: peer(t, "10.5.1.0/24", "", `{"PublicIP":"192.0.2.1","BackendType":"vxlan"}`)}
	f.underlay.OnLink = kernelmode.NetworksOf(netip.MustParsePrefix("192.0.2.0/24"))
	s := &lease.Snapshot{Config: f.config, Leases: []lease.Lease{f.own,
		peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendType":"vxlan"}`),
		peer(t, "10.5.3.0/24", "", `{"PublicIP":"198.51.100.3","BackendType":"vxlan"}`),
		peer(t, "10.5.4.0/24", "", `{"PublicIP":"192.0.2.4"}`),
	}}
	if got := f.direct(s); len(got) != 0 {
		t.Errorf("without DirectRouting: %v", got)
	}
	s.Config = config(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}`)
	if got := f.direct(s); len(got) != 1 || got[0].String() != "10.5.2.0/24 via 192.0.2.2 dev eth0 proto 87" {
		t.Errorf("direct routes: %v", got)
	}
}
