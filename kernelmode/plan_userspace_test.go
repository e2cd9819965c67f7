package kernelmode_test

import (
	"net/netip"
	"strings"
	"testing"

	"weft/kernelmode"
)

func TestUserspacePlan(t *testing.T) {
	v4 := dualStack()
	v4.Network6, v4.Subnet6 = netip.Prefix{}, netip.Prefix{}
	v4.Device, v4.TxQueueLen, v4.Forwarding = "flannel0", 500, false
	v6 := dualStack()
	v6.Network, v6.Subnet = netip.Prefix{}, netip.Prefix{}
	v6.MTU, v6.GSOMaxSize = 1500-kernelmode.OverheadUDP6, kernelmode.OneSendGSOSize
	for name, u := range map[string]kernelmode.Userspace{
		"plan-udp-like-flannel.txt": v4, "plan-udp-dualstack.txt": dualStack(), "plan-udp-v6only.txt": v6,
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, plan(t, u).String()) })
	}
}

func TestUserspacePlanRefuses(t *testing.T) {
	for _, c := range []struct {
		what string
		with func(*kernelmode.Userspace)
		says string
	}{
		{"no network", func(u *kernelmode.Userspace) { *u = kernelmode.Userspace{MTU: 1472} }, "no network in either family"},
		{"network without subnet", func(u *kernelmode.Userspace) { u.Subnet = netip.Prefix{} }, "each needs the other"},
		{"subnet elsewhere", func(u *kernelmode.Userspace) { u.Subnet = prefix("10.3.1.0/24") }, "not inside network 10.244.0.0/16"},
		{"subnet larger than the network", func(u *kernelmode.Userspace) { u.Subnet = prefix("10.244.0.0/8") }, "not inside network"},
		{"families swapped", func(u *kernelmode.Userspace) {
			u.Network, u.Network6, u.Subnet, u.Subnet6 = u.Network6, u.Network, u.Subnet6, u.Subnet
		}, "must be IPv4"},
		{"MTU that switches IPv6 off", func(u *kernelmode.Userspace) { u.MTU = 1279 }, "MTU 1279 is not within 1280"},
		{"no MTU", func(u *kernelmode.Userspace) { u.MTU = 0 }, "check the underlay's MTU"},
		{"MTU over 16 bits", func(u *kernelmode.Userspace) { u.MTU = 65536 }, "not within 1280 to 65535"},
		{"long name", func(u *kernelmode.Userspace) { u.Device = "weft-on-the-left" }, "at most 15"},
	} {
		t.Run(c.what, func(t *testing.T) {
			u := dualStack()
			c.with(&u)
			_, err := kernelmode.UserspacePlan(u)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

// A plan is made anew for every snapshot; it must not depend on the base address being masked.
func TestUserspacePlanMasks(t *testing.T) {
	u := dualStack()
	u.Subnet, u.Network = prefix("10.244.79.1/24"), prefix("10.244.3.3/16")
	want := plan(t, dualStack())
	equal(t, "plan of unmasked prefixes", plan(t, u).String(), want.String())
}
