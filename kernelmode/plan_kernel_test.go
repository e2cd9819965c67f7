package kernelmode_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/kernelmode"
	"weft/lease"
)

// A crowd is a network in which every peer has one thing about it. Host 1 is this one.
func crowd(t *testing.T, config string, peers ...lease.Lease) kernelmode.Host {
	t.Helper()
	c, err := lease.ParseConfig([]byte(config))
	must(t, err)
	h := kernelmode.Host{
		Config: c, Underlay: memory{}.underlayOf("eth0", "192.0.2.1/24", "2001:db8::1/64"),
		MAC: kernelmode.MAC{2, 0, 0, 0, 0, 1}, MAC6: kernelmode.MAC{2, 0, 0, 0, 6, 1},
		Own: neighbour(c, 1),
	}
	h.Snapshot = &lease.Snapshot{Revision: 5, Config: c, Leases: append([]lease.Lease{h.Own}, peers...)}
	return h
}

// neighbour is host n of 192.0.2.0/24 with subnet 10.244.n.0/24, and the same in IPv6.
func neighbour(c lease.Config, n int, changes ...func(*lease.Lease)) lease.Lease {
	var l lease.Lease
	l.Attrs.BackendType = c.BackendType
	if c.BackendType == "udp" {
		l.Attrs.BackendType = ""
	}
	if c.EnableIPv4 {
		l.Subnet = prefix(fmt.Sprintf("10.244.%d.0/24", n))
		l.Attrs.PublicIP = addr(fmt.Sprintf("192.0.2.%d", n))
	}
	if c.EnableIPv6 {
		l.Subnet6 = prefix(fmt.Sprintf("fd10:244:0:%x::/64", n))
		l.Attrs.PublicIPv6 = addr(fmt.Sprintf("2001:db8::%x", n))
	}
	if c.BackendType == "vxlan" {
		l.Attrs.BackendData = json.RawMessage(fmt.Sprintf(`{"VNI":%d,"VtepMAC":"02:00:00:00:00:%02x"}`, c.Options.VNI, n))
		l.Attrs.BackendV6Data = json.RawMessage(fmt.Sprintf(`{"VNI":%d,"VtepMAC":"02:00:00:00:06:%02x"}`, c.Options.VNI, n))
	}
	for _, change := range changes {
		change(&l)
	}
	return l
}

const (
	vxlanNetwork  = `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`
	dualNetwork   = `{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd10:244::/48","Backend":{"Type":"vxlan"}}`
	v6Network     = `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd10:244::/48","Backend":{"Type":"vxlan"}}`
	fullNetwork   = `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":42,"Port":4789,"MTU":1400,"GBP":true,"Learning":true}}`
	directNetwork = `{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd10:244::/48","Backend":{"Type":"vxlan","DirectRouting":true}}`
	hostGWNetwork = `{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd10:244::/48","Backend":{"Type":"host-gw"}}`
	ipipNetwork   = `{"Network":"10.244.0.0/16","Backend":{"Type":"ipip"}}`
	ipipDirect    = `{"Network":"10.244.0.0/16","Backend":{"Type":"ipip","DirectRouting":true}}`
)

func far(l *lease.Lease) {
	l.Attrs.PublicIP = netip.AddrFrom4([4]byte{198, 51, 100, l.Attrs.PublicIP.As4()[3]})
	if l.Attrs.PublicIPv6.IsValid() {
		l.Attrs.PublicIPv6 = addr("2001:db8:ff::9")
	}
}

func TestKernelPlans(t *testing.T) {
	for name, config := range map[string]string{
		"vxlan": vxlanNetwork, "vxlan-dualstack": dualNetwork, "vxlan-v6only": v6Network, "vxlan-every-option": fullNetwork,
		"vxlan-direct": directNetwork, "ipip": ipipNetwork, "ipip-direct": ipipDirect,
	} {
		t.Run(name, func(t *testing.T) {
			c, err := lease.ParseConfig([]byte(config))
			must(t, err)
			second := neighbour(c, 2)
			var third lease.Lease
			if third = neighbour(c, 3); c.EnableIPv4 {
				third = neighbour(c, 3, far)
			}
			h := crowd(t, config, second, third)
			h.Forwarding = true
			s := kernelPlan(t, h)
			if s.Revision != 5 {
				t.Errorf("planned from revision %d, want 5", s.Revision)
			}
			golden(t, "plan-"+name+".txt", s.String())
		})
	}
}

// The userspace datapath beside it takes whatever the kernel has no route for.
func TestKernelPlanBesideUserspace(t *testing.T) {
	h := crowd(t, vxlanNetwork)
	c := h.Config
	h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(c, 2),
		neighbour(c, 3, func(l *lease.Lease) { l.Attrs.BackendType, l.Attrs.BackendData = "", nil }),
		neighbour(c, 4, func(l *lease.Lease) {
			l.Attrs.BackendData = json.RawMessage(`{"VNI":1,"VtepMAC":"02:00:00:00:00:04","Weft":{"Version":1,"Caps":1,"Port":9000}}`)
		}),
		neighbour(c, 5))
	h.Leave = func(l lease.Lease) bool { return l.Subnet == prefix("10.244.5.0/24") }
	h.Forwarding = true
	h.Beside = &kernelmode.Userspace{
		MTU: 1500 - kernelmode.OverheadVXLAN4, Network: c.Network, Subnet: h.Own.Subnet, Forwarding: true,
	}
	golden(t, "plan-vxlan-beside-userspace.txt", kernelPlan(t, h).String())
}

func TestPlansNameWhatTheySkip(t *testing.T) {
	data := func(text string) func(*lease.Lease) {
		return func(l *lease.Lease) { l.Attrs.BackendData = json.RawMessage(text) }
	}
	kind := func(backend string) func(*lease.Lease) { return func(l *lease.Lease) { l.Attrs.BackendType = backend } }
	outer := func(ip string) func(*lease.Lease) {
		return func(l *lease.Lease) {
			if l.Attrs.PublicIP = (netip.Addr{}); ip != "" {
				l.Attrs.PublicIP = addr(ip)
			}
		}
	}
	for _, c := range []struct {
		what, config string
		with         func(*lease.Lease)
		reason, says string
	}{
		{"udp peer", vxlanNetwork, kind(""), kernelmode.OtherBackend, "udp or alloc"},
		{"host-gw peer", vxlanNetwork, kind("host-gw"), kernelmode.OtherBackend, "weft migrate"},
		{"vxlan peer", hostGWNetwork, kind("vxlan"), kernelmode.OtherBackend, "its backend type is vxlan"},
		{"no data", vxlanNetwork, data(""), kernelmode.BadBackendData, "write the lease again"},
		{"null", vxlanNetwork, data("null"), kernelmode.BadMAC, `""`},
		{"broken JSON", vxlanNetwork, data(`{"VNI":1,`), kernelmode.BadBackendData, "can't be read"},
		{"MAC of another type", vxlanNetwork, data(`{"VtepMAC":7}`), kernelmode.BadBackendData, "can't be read"},
		{"no MAC", vxlanNetwork, data(`{"VNI":1}`), kernelmode.BadMAC, "not six bytes"},
		{"eight bytes", vxlanNetwork, data(`{"VtepMAC":"02:00:00:00:00:00:00:01"}`), kernelmode.BadMAC, "not six bytes"},
		{"group MAC", vxlanNetwork, data(`{"VtepMAC":"03:00:00:00:00:01"}`), kernelmode.BadMAC, "no single host"},
		{"zero MAC", vxlanNetwork, data(`{"VtepMAC":"00:00:00:00:00:00"}`), kernelmode.BadMAC, "no single host"},
		{"our MAC", vxlanNetwork, data(`{"VtepMAC":"02:00:00:00:00:01"}`), kernelmode.DuplicateMAC, "10.244.1.0/24"},
		{"another peer's MAC", vxlanNetwork, data(`{"VtepMAC":"02:00:00:00:00:02"}`), kernelmode.DuplicateMAC, "10.244.2.0/24"},
		{"another VNI", vxlanNetwork, data(`{"VNI":2,"VtepMAC":"02:00:00:00:00:09"}`), kernelmode.OtherVNI, "its VNI is 2"},
		{"a port of its own", vxlanNetwork, data(`{"VtepMAC":"02:00:00:00:00:09","Weft":{"Version":1,"Port":9000}}`), kernelmode.OwnPort, "port 9000"},
		{"no address", vxlanNetwork, outer(""), kernelmode.NoOuterAddress, "no outer IPv4 address"},
		{"our address", vxlanNetwork, outer("192.0.2.1"), kernelmode.OwnAddress, "192.0.2.1"},
		{"behind a gateway", hostGWNetwork, far, kernelmode.NotOnLink, "198.51.100.9 is in none of the networks of eth0 (192.0.2.0/24 2001:db8::/64)"},
		{"no address for ipip", ipipNetwork, outer(""), kernelmode.NoOuterAddress, "no outer IPv4"},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := crowd(t, c.config)
			good := neighbour(h.Config, 2)
			h.Snapshot.Leases = append(h.Snapshot.Leases, good)
			alone, _, err := tryPlan(h)
			must(t, err)
			h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 9, c.with, func(l *lease.Lease) { l.Subnet6 = netip.Prefix{} }))
			s, problems, err := tryPlan(h)
			must(t, err)
			if len(problems) != 1 || problems[0].Reason != c.reason || !strings.Contains(problems[0].String(), c.says) ||
				!strings.Contains(problems[0].String(), "10.244.9.0/24") {
				t.Fatalf("problems %v, want one %s about 10.244.9.0/24 with %q", problems, c.reason, c.says)
			}
			equal(t, "the plan for the others", s.String(), alone.String())
		})
	}
}

// In dual stack a fault of one family leaves the other; a peer without a family takes no part in it.
func TestVXLANPlanOneFamilyOnly(t *testing.T) {
	h := crowd(t, dualNetwork)
	h.Snapshot.Leases = append(h.Snapshot.Leases,
		neighbour(h.Config, 2, func(l *lease.Lease) { l.Attrs.BackendV6Data = nil }),
		neighbour(h.Config, 3, func(l *lease.Lease) { l.Subnet6, l.Attrs.PublicIPv6 = netip.Prefix{}, netip.Addr{} }))
	s, problems, err := kernelmode.VXLANPlan(h)
	must(t, err)
	if len(problems) != 1 || problems[0].Subnet != prefix("fd10:244:0:2::/64") || problems[0].Reason != kernelmode.BadBackendData {
		t.Errorf("problems %v", problems)
	}
	if len(s.Routes) != 2 || s.Routes[0].Dst != prefix("10.244.2.0/24") || s.Routes[1].Dst != prefix("10.244.3.0/24") {
		t.Errorf("routes %v", s.Routes)
	}
}

func TestIPIPPlanSaysThatItCarriesIPv4Alone(t *testing.T) {
	h := crowd(t, strings.Replace(dualNetwork, "vxlan", "ipip", 1))
	s, problems, err := kernelmode.IPIPPlan(h)
	must(t, err)
	if len(problems) != 1 || problems[0].Reason != kernelmode.NoIPv6 || len(s.Addresses) != 1 {
		t.Errorf("problems %v, addresses %v", problems, s.Addresses)
	}
}

func TestPlansRefuse(t *testing.T) {
	for _, c := range []struct {
		what, config string
		with         func(*kernelmode.Host)
		says         string
	}{
		{"no family", vxlanNetwork, func(h *kernelmode.Host) { h.Config.EnableIPv4 = false }, "no network in either family"},
		{"no subnet", vxlanNetwork, func(h *kernelmode.Host) { h.Own.Subnet = netip.Prefix{} }, "no subnet of network 10.244.0.0/16"},
		{"subnet of another network", ipipNetwork, func(h *kernelmode.Host) { h.Own.Subnet = prefix("10.3.1.0/24") }, "belongs to another network config"},
		{"no outer address", dualNetwork, func(h *kernelmode.Host) { h.Underlay.IPv6 = netip.Addr{} }, "eth0 has no IPv6 address"},
		{"small MTU", dualNetwork, func(h *kernelmode.Host) { h.Underlay.MTU = 1340 }, "leaves 1270 after 70 bytes"},
		{"small configured MTU", ipipNetwork, func(h *kernelmode.Host) { h.Config.Options.MTU = 80 }, "leaves 60"},
		{"no MAC", vxlanNetwork, func(h *kernelmode.Host) { h.MAC = kernelmode.MAC{} }, "can't be a host's"},
		{"group MAC", vxlanNetwork, func(h *kernelmode.Host) { h.MAC[0] = 1 }, "advertise one from NewMAC"},
		{"long name", dualNetwork, func(h *kernelmode.Host) { h.Config.Options.VNI = 12345 }, "flannel-v6.12345: the name has 16 characters"},
		{"host-gw behind NAT", hostGWNetwork, func(h *kernelmode.Host) { h.Underlay.PublicIP = addr("203.0.113.9") }, "behind a NAT"},
		{"userspace beside it that can't be", vxlanNetwork, func(h *kernelmode.Host) { h.Beside = &kernelmode.Userspace{} }, "planning device weft0"},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := crowd(t, c.config)
			c.with(&h)
			if _, _, err := tryPlan(h); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

// A plan is a function of its arguments: the same twice, and nothing of the snapshot changed.
func TestPlansArePure(t *testing.T) {
	for _, config := range []string{dualNetwork, hostGWNetwork, ipipNetwork} {
		h := crowd(t, config)
		h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 2), neighbour(h.Config, 3))
		before := slices.Clone(h.Snapshot.Leases)
		a, b := kernelPlan(t, h), kernelPlan(t, h)
		if diff := cmp.Diff(a.String(), b.String()); diff != "" {
			t.Errorf("planned twice: %s", diff)
		}
		if fmt.Sprint(before) != fmt.Sprint(h.Snapshot.Leases) {
			t.Error("the snapshot was changed")
		}
	}
}
