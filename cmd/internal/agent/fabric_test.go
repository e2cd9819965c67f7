package agent

import (
	"net/netip"
	"testing"

	"weft/kernelmode"
	"weft/lease"
	"weft/routes"
	"weft/tunnel"
)

func config(t *testing.T, text string) lease.Config {
	t.Helper()
	c, err := lease.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	onlyV4 = `{"Network":"10.5.0.0/16"}`
	onlyV6 = `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`
	dual   = `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48"}`
)

const (
	vxlan4    = `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`
	vxlanDual = `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`
)

var testVTEP = vtep{mac: kernelmode.MAC{2, 0, 0, 0, 0, 4}, mac6: kernelmode.MAC{2, 0, 0, 0, 0, 6}}

// host is an underlay with the addresses given; "" for none.
func host(v4, v6 string) kernelmode.Underlay {
	u := kernelmode.Underlay{Name: "eth0", MTU: 1500}
	if v4 != "" {
		u.IPv4 = netip.MustParseAddr(v4)
	}
	if v6 != "" {
		u.IPv6 = netip.MustParseAddr(v6)
	}
	u.PublicIP, u.PublicIPv6 = u.IPv4, u.IPv6
	return u
}

// What a lease says is what flannel's peers and etcd's readers see: to the byte.
func TestRecord(t *testing.T) {
	plain := Options{RemoteSums: tunnel.Off}
	for _, test := range []struct {
		name, config string
		underlay     kernelmode.Underlay
		options      Options
		want         string
	}{
		{"flannel's udp", onlyV4, host("192.0.2.1", ""), plain, `{"PublicIP":"192.0.2.1","PublicIPv6":null}`},
		{"IPv6 is not told in an IPv4 network", onlyV4, host("192.0.2.1", "2001:db8::1"), plain, `{"PublicIP":"192.0.2.1","PublicIPv6":null}`},
		{"dual stack", dual, host("192.0.2.1", "2001:db8::1"), plain, `{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1"}`},
		{"IPv6 only", onlyV6, host("192.0.2.1", "2001:db8::1"), plain, `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}`},
		{"an IPv4 network over an IPv6 underlay", onlyV4, host("", "2001:db8::1"), plain, `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}`},
		{"a link-local address is nobody's to reach", dual, host("192.0.2.1", "fe80::1"), plain, `{"PublicIP":"192.0.2.1","PublicIPv6":null}`},
		{"the network's own port is no news", onlyV4, host("192.0.2.1", ""), Options{RemoteSums: tunnel.Off, Port: 8285}, `{"PublicIP":"192.0.2.1","PublicIPv6":null}`},
		{"a port of its own", onlyV4, host("192.0.2.1", ""), Options{RemoteSums: tunnel.Off, Port: 9999},
			`{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendData":{"Weft":{"Version":1,"Caps":8,"Port":9999}}}`},
		{"remote checksums", onlyV4, host("192.0.2.1", ""), Options{},
			`{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendData":{"Weft":{"Version":1,"Caps":9,"Port":8285}}}`},
		{"remote checksums, and none over IPv6", dual, host("192.0.2.1", "2001:db8::1"), Options{},
			`{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendData":{"Weft":{"Version":1,"Caps":25,"Port":8285}}}`},
		{"vxlan", vxlan4, host("192.0.2.1", ""), Options{}, `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:04"}}`},
		{"vxlan of both families", vxlanDual, host("192.0.2.1", "2001:db8::1"), Options{},
			`{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:04"},"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:06"}}`},
		{"vxlan at a port of its own", vxlan4, host("192.0.2.1", ""), Options{Port: 9999},
			`{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:04","Weft":{"Version":1,"Caps":8,"Port":9999}}}`},
		{"vxlan with remote checksums", vxlan4, host("192.0.2.1", ""), Options{RemoteSums: tunnel.On},
			`{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:04","Weft":{"Version":1,"Caps":10,"Port":8472}}}`},
		{"host-gw", `{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`, host("192.0.2.1", ""), Options{}, `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw"}`},
		{"ipip", `{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}`, host("192.0.2.1", ""), Options{}, `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"ipip"}`},
		{"the portable queue takes none", onlyV4, host("192.0.2.1", ""), Options{IO: "portable"}, `{"PublicIP":"192.0.2.1","PublicIPv6":null}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fabric{config: config(t, test.config), underlay: test.underlay, vtep: testVTEP}
			attrs, err := f.attrs(test.options)
			if err != nil {
				t.Fatal(err)
			}
			value, err := lease.EncodeValue(attrs)
			if err != nil || string(value) != test.want {
				t.Errorf("record is %s (%v)\nwant      %s", value, err, test.want)
			}
		})
	}
}

func TestMTU(t *testing.T) {
	for _, test := range []struct {
		config   string
		underlay kernelmode.Underlay
		want     int
	}{
		{onlyV4, host("192.0.2.1", ""), 1472},
		{dual, host("192.0.2.1", "2001:db8::1"), 1472},
		{onlyV6, host("192.0.2.1", "2001:db8::1"), 1452},
		{onlyV4, host("", "2001:db8::1"), 1452},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}`, host("192.0.2.1", ""), 1500},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":1400}}`, host("192.0.2.1", ""), 1372},
		{vxlan4, host("192.0.2.1", ""), 1450},
		{vxlanDual, host("192.0.2.1", "2001:db8::1"), 1450}, // as flannel's subnet.env has it
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`, host("192.0.2.1", "2001:db8::1"), 1430},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}`, host("192.0.2.1", ""), 1480},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`, host("192.0.2.1", ""), 1500},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":9000}}`, host("192.0.2.1", ""), 1472},
	} {
		if got := (fabric{config: config(t, test.config), underlay: test.underlay}).mtu(); got != test.want {
			t.Errorf("MTU %d, want %d: %s", got, test.want, test.config)
		}
	}
}

// peer is a lease with the value given, as it stands in the store.
func peer(t *testing.T, subnet, subnet6, value string) lease.Lease {
	t.Helper()
	attrs, err := lease.DecodeValue([]byte(value))
	if err != nil {
		t.Fatal(err)
	}
	l := lease.Lease{Attrs: attrs}
	if subnet != "" {
		l.Subnet = netip.MustParsePrefix(subnet)
	}
	if subnet6 != "" {
		l.Subnet6 = netip.MustParsePrefix(subnet6)
	}
	return l
}

func TestRoutesToPeers(t *testing.T) {
	own := peer(t, "10.5.1.0/24", "fd00:5:0:1::/64", `{"PublicIP":"192.0.2.1"}`)
	for _, test := range []struct {
		name   string
		lease  lease.Lease
		outer  string // "" for no route
		encap  routes.Encapsulation
		mtu    int // 0: the device's
		routes int
	}{
		{"flannel's", peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","PublicIPv6":null}`), "192.0.2.2:8285", routes.EncapUDP, 0, 1},
		{"of another backend type", peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}`), "192.0.2.2:8472", routes.EncapVXLAN, 1450, 1},
		{"with a port of its own", peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendData":{"Weft":{"Version":1,"Caps":0,"Port":7}}}`), "192.0.2.2:7", routes.EncapUDP, 0, 1},
		{"that takes remote checksums", peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendData":{"Weft":{"Version":1,"Caps":1,"Port":0}}}`), "192.0.2.2:8285", routes.EncapGUE, 0, 1},
		{"with both families", peer(t, "10.5.2.0/24", "fd00:5:0:2::/64", `{"PublicIP":"192.0.2.2","PublicIPv6":"2001:db8::2"}`), "192.0.2.2:8285", routes.EncapUDP, 0, 2},
		{"without IPv4", peer(t, "10.5.2.0/24", "", `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::2"}`), "[2001:db8::2]:8285", routes.EncapUDP, 1452, 1},
		{"that is this host", own, "", 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fabric{config: config(t, dual), underlay: host("192.0.2.1", "2001:db8::1"), own: own}
			got, _ := f.routes(&lease.Snapshot{Leases: []lease.Lease{test.lease}}, Options{})
			if len(got) != test.routes {
				t.Fatalf("%d routes, want %d", len(got), test.routes)
			}
			for _, r := range got {
				if r.Hop.Outer.String() != test.outer || r.Hop.Encapsulation != test.encap || r.Hop.MTU() != test.mtu {
					t.Errorf("%v via %v, encapsulation %d, MTU %d", r.Subnet, r.Hop.Outer, r.Hop.Encapsulation, r.Hop.MTU())
				}
			}
		})
	}
}

// A host that has only IPv4 can't reach one that has only IPv6: no route, rather than a wrong one.
func TestNoCommonFamilyNoRoute(t *testing.T) {
	f := fabric{config: config(t, onlyV4), underlay: host("192.0.2.1", "")}
	got, skipped := f.routes(&lease.Snapshot{Leases: []lease.Lease{peer(t, "10.5.2.0/24", "", `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::2"}`)}}, Options{})
	if len(got) != 0 || len(skipped) != 1 || skipped[0].Reason != kernelmode.NoOuterAddress {
		t.Errorf("routes: %v, skipped %v", got, skipped)
	}
}
