package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// What the network config asks for decides what two hosts carry, and over what.
func TestNetworksOfEveryFamily(t *testing.T) {
	for _, test := range []struct {
		name, config string
		args         []string
		mtu          int
		env          []string
	}{
		{
			name:   "dual stack",
			config: `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48","Backend":{"Type":"udp"}}`,
			mtu:    1472,
			env:    []string{"FLANNEL_NETWORK=10.5.0.0/16\n", "FLANNEL_IPV6_NETWORK=fd00:5::/48\n", "FLANNEL_MTU=1472\n"},
		},
		{
			name:   "IPv6 inside and outside",
			config: `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"udp"}}`,
			mtu:    1452, // 48 bytes of outer header
			env:    []string{"FLANNEL_IPV6_SUBNET=fd00:5:", "FLANNEL_MTU=1452\n"},
		},
		{
			name:   "a port and an MTU of its own",
			config: `{"Network":"172.20.0.0/14","SubnetLen":26,"Backend":{"Type":"udp","Port":4789,"MTU":1400}}`,
			mtu:    1372,
			env:    []string{"FLANNEL_NETWORK=172.20.0.0/14\n", "/26\n", "FLANNEL_MTU=1372\n"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 2)
			if test.mtu == 1452 && !w.lab.Host(1).Addr6.IsValid() {
				labtest.Missing(t, errors.New("the kernel has no IPv6"))
			}
			w.startEtcd()
			w.setConfig(test.config)
			var containers []*netlab.Container
			for n := 1; n <= 2; n++ {
				w.startAgent(n, test.args...)
			}
			for n := 1; n <= 2; n++ {
				if state := w.ready(n, len(strings.Split(test.config, "Network\":"))-1); state.Datapath.MTU != test.mtu {
					t.Errorf("device MTU %d, want %d", state.Datapath.MTU, test.mtu)
				}
				containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
				env, err := os.ReadFile(w.subnetFile(n))
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range test.env {
					if !strings.Contains(string(env), line) {
						t.Errorf("subnet.env lacks %q:\n%s", line, env)
					}
				}
			}
			w.allPairs(containers)
		})
	}
}

// A config that this version can't follow is waited out, with the reason; alloc only hands out subnets.
func TestConfigsThatCarryNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard"}}`)
	w.startAgent(1)
	w.waiting(1, `backend type "wireguard" is one that this version of weft doesn't carry: use "udp"`)
	w.setConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}`)
	state := w.ready(1, 0)
	if state.Datapath.Kind != "none" || state.Lease == nil {
		t.Errorf("datapath %+v, lease %+v", state.Datapath, state.Lease)
	}
	env, err := os.ReadFile(w.subnetFile(1))
	if err != nil || !strings.Contains(string(env), "FLANNEL_MTU=1500\n") {
		t.Errorf("subnet.env: %s, %v", env, err)
	}
	// Packets are wanted after all: the same lease, and now a device.
	w.setConfig(testConfig)
	w.until("a device", func() error {
		now, err := w.state(1)
		if err == nil && (!now.Ready || now.Datapath.Device != "weft0" || now.Lease == nil || now.Lease.Subnet != state.Lease.Subnet) {
			err = fmt.Errorf("ready %t, datapath %+v, lease %+v", now.Ready, now.Datapath, now.Lease)
		}
		return err
	})
}

// A running host follows its underlay: another MTU arrives at the device and in subnet.env.
func TestUnderlayChanges(t *testing.T) {
	w := newWorld(t, 2)
	w.startEtcd()
	w.setConfig(testConfig)
	w.startAgent(1)
	w.startAgent(2)
	w.ready(1, 1)
	w.ready(2, 1)
	if err := w.lab.SetMTU(1400); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		w.until("the new MTU", func() error {
			state, err := w.state(n)
			if err == nil && (!state.Ready || state.Datapath.MTU != 1372) {
				err = fmt.Errorf("ready %t, MTU %d", state.Ready, state.Datapath.MTU)
			}
			env, readErr := os.ReadFile(w.subnetFile(n))
			if err == nil && !strings.Contains(string(env), "FLANNEL_MTU=1372\n") {
				err = fmt.Errorf("subnet.env says %s", env)
			}
			return errors.Join(err, readErr)
		})
	}
	w.allPairs([]*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")})
}
