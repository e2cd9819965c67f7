package kernelmode_test

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"weft/kernelmode"
)

// hosts' interfaces as a user's machine has them: loopback, a LAN with both families and the default
// routes, a second LAN, Docker's bridge, what an earlier kernel datapath left, and one that is down.
func machine() []kernelmode.Interface {
	return []kernelmode.Interface{
		{Name: "lo", Index: 1, MTU: 65536, Up: true, Addresses: []kernelmode.InterfaceAddress{
			{Prefix: prefix("127.0.0.1/8"), HostScope: true}, {Prefix: prefix("::1/128"), HostScope: true},
		}},
		{Name: "eth0", Index: 2, MTU: 1500, Up: true,
			Default4: kernelmode.DefaultRoute{Present: true, Metric: 100}, Default6: kernelmode.DefaultRoute{Present: true, Metric: 1024},
			Addresses: []kernelmode.InterfaceAddress{
				{Prefix: prefix("169.254.7.7/16"), LinkScope: true},
				{Prefix: prefix("192.0.2.10/24")},
				{Prefix: prefix("192.0.2.11/24"), Temporary: true}, // a secondary one
				{Prefix: prefix("fe80::10/64"), LinkScope: true},
				{Prefix: prefix("2001:db8::dead/64"), Deprecated: true},
				{Prefix: prefix("2001:db8::7e39/64"), Temporary: true},
				{Prefix: prefix("2001:db8::10/64")},
			}},
		{Name: "eth1", Index: 3, MTU: 9000, Up: true,
			Default4:  kernelmode.DefaultRoute{Present: true, Metric: 600},
			Addresses: []kernelmode.InterfaceAddress{{Prefix: prefix("198.51.100.5/24")}, {Prefix: prefix("fe80::5/64"), LinkScope: true}}},
		{Name: "docker0", Index: 4, MTU: 1500, Up: true, Addresses: []kernelmode.InterfaceAddress{{Prefix: prefix("172.17.0.1/16")}}},
		{Name: "flannel.1", Index: 5, MTU: 1450, Up: true, Addresses: []kernelmode.InterfaceAddress{{Prefix: prefix("10.244.79.0/32")}}},
		{Name: "eth2", Index: 6, MTU: 1500, Addresses: []kernelmode.InterfaceAddress{{Prefix: prefix("203.0.113.5/24")}}},
		{Name: "eth3", Index: 7, MTU: 1500, Up: true},
	}
}

func regexes(patterns ...string) []*regexp.Regexp {
	var list []*regexp.Regexp
	for _, p := range patterns {
		list = append(list, regexp.MustCompile(p))
	}
	return list
}

func TestChooseUnderlay(t *testing.T) {
	inside := []netip.Prefix{prefix("10.244.0.0/16")}
	for _, c := range []struct {
		what  string
		s     kernelmode.Selection
		reach string
		name  string
		v4    string
		v6    string
	}{
		{"default route", kernelmode.Selection{IPv4: true}, "", "eth0", "192.0.2.10", "2001:db8::10"},
		{"IPv6 default route", kernelmode.Selection{IPv6: true}, "", "eth0", "192.0.2.10", "2001:db8::10"},
		{"public IP that an interface holds", kernelmode.Selection{IPv4: true, PublicIP: addr("198.51.100.5")}, "", "eth1", "198.51.100.5", "fe80::5"},
		{"public IP, a secondary one", kernelmode.Selection{IPv4: true, PublicIP: addr("192.0.2.11")}, "", "eth0", "192.0.2.11", "2001:db8::10"},
		{"public IP behind a NAT", kernelmode.Selection{IPv4: true, PublicIP: addr("203.0.113.99")}, "", "eth0", "192.0.2.10", "2001:db8::10"},
		{"name", kernelmode.Selection{IPv4: true, Interfaces: []string{"eth1"}}, "", "eth1", "198.51.100.5", "fe80::5"},
		{"name beats public IP", kernelmode.Selection{IPv4: true, Interfaces: []string{"eth1"}, PublicIP: addr("192.0.2.10")}, "", "eth1", "198.51.100.5", "fe80::5"},
		{"address", kernelmode.Selection{IPv4: true, Interfaces: []string{"192.0.2.11"}}, "", "eth0", "192.0.2.11", "2001:db8::10"},
		{"second of two names", kernelmode.Selection{IPv4: true, Interfaces: []string{"wlan0", "docker0"}}, "", "docker0", "172.17.0.1", ""},
		{"name without the family, then one with it", kernelmode.Selection{IPv6: true, Interfaces: []string{"docker0", "eth0"}}, "", "eth0", "192.0.2.10", "2001:db8::10"},
		{"down, then up", kernelmode.Selection{IPv4: true, Interfaces: []string{"eth2", "eth1"}}, "", "eth1", "198.51.100.5", "fe80::5"},
		{"pattern of an address", kernelmode.Selection{IPv4: true, Regexes: regexes(`^198\.51`)}, "", "eth1", "198.51.100.5", "fe80::5"},
		{"pattern of a name", kernelmode.Selection{IPv4: true, Regexes: regexes("^docker")}, "", "docker0", "172.17.0.1", ""},
		{"address before name", kernelmode.Selection{IPv4: true, Regexes: regexes("1$")}, "", "eth0", "192.0.2.11", "2001:db8::10"},
		{"second pattern", kernelmode.Selection{IPv4: true, Regexes: regexes("^wlan", "^eth1")}, "", "eth1", "198.51.100.5", "fe80::5"},
		{"never the fabric's own device", kernelmode.Selection{IPv4: true, Networks: inside, Regexes: regexes(`^10\.`, "^flannel", "^docker")}, "", "docker0", "172.17.0.1", ""},
		{"names before patterns before reach", kernelmode.Selection{IPv4: true, Interfaces: []string{"wlan0"}, Regexes: regexes("^docker0"), CanReach: addr("198.51.100.9")}, "eth1", "docker0", "172.17.0.1", ""},
		{"reach", kernelmode.Selection{IPv4: true, CanReach: addr("198.51.100.9")}, "eth1", "eth1", "198.51.100.5", "fe80::5"},
		{"reach after flags that miss", kernelmode.Selection{IPv4: true, Interfaces: []string{"wlan0"}, Regexes: regexes("^x"), CanReach: addr("192.0.2.1")}, "eth0", "eth0", "192.0.2.10", "2001:db8::10"},
		{"v4-mapped address", kernelmode.Selection{IPv4: true, Interfaces: []string{"::ffff:192.0.2.10"}}, "", "eth0", "192.0.2.10", "2001:db8::10"},
	} {
		t.Run(c.what, func(t *testing.T) {
			u, err := kernelmode.Choose(c.s, machine(), c.reach, nil)
			must(t, err)
			v6 := ""
			if u.IPv6.IsValid() {
				v6 = u.IPv6.String()
			}
			if u.Name != c.name || u.IPv4.String() != c.v4 || v6 != c.v6 {
				t.Errorf("chose %s with %v and %v, want %s with %s and %s", u.Name, u.IPv4, u.IPv6, c.name, c.v4, c.v6)
			}
			public := u.IPv4
			if c.s.PublicIP.IsValid() {
				public = c.s.PublicIP
			}
			if u.PublicIP != public {
				t.Errorf("advertises %v, want %v", u.PublicIP, public)
			}
		})
	}
}

func TestChooseUnderlayFails(t *testing.T) {
	for _, c := range []struct {
		what  string
		s     kernelmode.Selection
		reach error
		says  []string
	}{
		{"nothing of that name", kernelmode.Selection{IPv4: true, Interfaces: []string{"wlan0"}},
			nil, []string{"--iface wlan0: no interface has that name", "eth0 (mtu 1500, default route", "192.0.2.10/24", "name one with --iface"}},
		{"address that is deprecated", kernelmode.Selection{IPv6: true, Interfaces: []string{"2001:db8::dead"}},
			nil, []string{"--iface 2001:db8::dead: no interface has that address", "2001:db8::dead/64 deprecated"}},
		{"everything in vain", kernelmode.Selection{IPv4: true, Interfaces: []string{"eth2", "eth3"}, Regexes: regexes("^x", "^eth3"), CanReach: addr("203.0.113.1")},
			errors.New("network is unreachable"), []string{"eth2 is down", "eth3 has no usable IPv4 address", "--iface-regex ^x: matches no usable address", "--iface-regex ^eth3: eth3 has no", "--iface-can-reach 203.0.113.1: network is unreachable"}},
		{"flags given: no falling back on the default route", kernelmode.Selection{IPv4: true, CanReach: addr("203.0.113.1")},
			errors.New("network is unreachable"), []string{"--iface-can-reach"}},
		{"the fabric itself by name", kernelmode.Selection{IPv4: true, Interfaces: []string{"flannel.1"}, Networks: []netip.Prefix{prefix("10.244.0.0/16")}},
			nil, []string{"flannel.1 belongs to the fabric itself"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := kernelmode.Choose(c.s, machine(), "", c.reach)
			if err == nil {
				t.Fatal("chose one")
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %v\ndoesn't say %q", err, says)
				}
			}
		})
	}
	_, err := kernelmode.Choose(kernelmode.Selection{IPv4: true}, machine()[:1], "", nil)
	if err == nil || !strings.Contains(err.Error(), "the default route: there is none") {
		t.Errorf("error %v without any default route", err)
	}
}

func TestChooseTentativeOnlyWhenDone(t *testing.T) {
	i := kernelmode.Interface{Name: "eth0", Up: true, Addresses: []kernelmode.InterfaceAddress{
		{Prefix: prefix("2001:db8::1/64"), Tentative: true}, {Prefix: prefix("fe80::1/64"), LinkScope: true},
	}}
	s := kernelmode.Selection{IPv6: true, Interfaces: []string{"eth0"}}
	u, err := kernelmode.Choose(s, []kernelmode.Interface{i}, "", nil)
	must(t, err)
	if u.IPv6 != addr("fe80::1") {
		t.Errorf("chose %v while the global address is tentative", u.IPv6)
	}
	i.Addresses[0].Tentative = false
	u, err = kernelmode.Choose(s, []kernelmode.Interface{i}, "", nil)
	must(t, err)
	if u.IPv6 != addr("2001:db8::1") {
		t.Errorf("chose %v, want the global address", u.IPv6)
	}
}
