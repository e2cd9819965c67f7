package netlab

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConfigCheck(t *testing.T) {
	good := Config{Name: "demo", Hosts: 3, MTU: 1500}
	if err := good.check(); err != nil {
		t.Errorf("a good config: %v", err)
	}
	for _, c := range []struct {
		name   string
		spoil  func(*Config)
		remedy string
	}{
		{"empty name", func(c *Config) { c.Name = "" }, "1 to 8 lower-case letters"},
		{"name with a slash", func(c *Config) { c.Name = "../etc" }, "1 to 8 lower-case letters"},
		{"no hosts", func(c *Config) { c.Hosts = 0 }, "use 1 to 200"},
		{"too many hosts", func(c *Config) { c.Hosts = 201 }, "use 1 to 200"},
		{"unknown topology", func(c *Config) { c.Topology = 9 }, "Bridged, Routed or Direct"},
		{"direct with three", func(c *Config) { c.Topology = Direct }, "exactly 2"},
		{"no MTU", func(c *Config) { c.MTU = 0 }, "use 1280 to 65521"},
		{"MTU above the devices'", func(c *Config) { c.MTU = 65522 }, "use 1280 to 65521"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := good
			c.spoil(&config)
			if err := config.check(); err == nil || !strings.Contains(err.Error(), c.remedy) {
				t.Errorf("error is %v, want the remedy %q", err, c.remedy)
			}
		})
	}
}

func TestPlanIsDistinct(t *testing.T) {
	for _, topology := range []Topology{Bridged, Routed} {
		config := Config{Topology: topology, Hosts: MaxHosts}
		owner := map[netip.Addr]int{}
		claim := func(n int, addr netip.Addr) {
			if other, taken := owner[addr]; taken && addr.IsValid() {
				t.Errorf("topology %d: hosts %d and %d both have %s", topology, other, n, addr)
			}
			owner[addr] = n
		}
		addr4, addr6 := config.planUnderlay()
		claim(0, addr4.Addr())
		claim(0, addr6.Addr())
		for n := 1; n <= MaxHosts; n++ {
			p := config.planHost(n)
			for _, addr := range []netip.Addr{p.addr4.Addr(), p.addr6.Addr(), p.gateway4, p.gateway6} {
				claim(n, addr)
			}
			if topology == Routed && (!p.addr4.Contains(p.gateway4) || !p.addr6.Contains(p.gateway6)) {
				t.Errorf("gateway of host %d is not on its network", n)
			}
		}
	}
}

func TestPlanContainer(t *testing.T) {
	subnet := netip.MustParsePrefix("10.5.7.0/29")
	for i, want := range []string{"10.5.7.2/29", "10.5.7.3/29", "10.5.7.4/29", "10.5.7.5/29", "10.5.7.6/29"} {
		plans, err := planContainer(i, []netip.Prefix{subnet})
		if err != nil {
			t.Fatal(err)
		}
		if got := plans[0].own.String(); got != want {
			t.Errorf("container %d has %s, want %s", i, got, want)
		}
	}
	if plans, err := planContainer(5, []netip.Prefix{subnet}); err == nil {
		t.Errorf("container 5 has %v, the broadcast address", plans)
	}
}
