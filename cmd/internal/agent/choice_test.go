package agent

import (
	"strings"
	"syscall"
	"testing"

	"weft/kernelmode"
	"weft/lease"
	"weft/tunnel"
)

// What a host chooses, by what its kernel can do, and what it says about it.
func TestChoose(t *testing.T) {
	works := func(f kernelmode.Feature) kernelmode.Capability { return kernelmode.Capability{Feature: f} }
	refuses := func(o kernelmode.Obstacle) func(kernelmode.Feature) kernelmode.Capability {
		return func(f kernelmode.Feature) kernelmode.Capability {
			return kernelmode.Capability{Feature: f, Obstacle: o, Err: syscall.EOPNOTSUPP, Remedy: "do this"}
		}
	}
	const hostGW = `{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`
	const ipip = `{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}`
	for _, test := range []struct {
		name, config string
		options      Options
		others       string
		probe        func(kernelmode.Feature) kernelmode.Capability
		kind         string
		says         string // in why or better
		word         string
		err          string
	}{
		{name: "udp", config: onlyV4, probe: works, kind: userspace, says: "backend type vxlan", word: "backend_type"},
		{name: "alloc", config: `{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}`, probe: works, kind: "none", says: "only hands out"},
		{name: "host-gw", config: hostGW, probe: refuses(kernelmode.NoModule), kind: inKernel, says: "routes"},
		{name: "vxlan works", config: vxlan4, probe: works, kind: inKernel, says: "makes vxlan devices"},
		{name: "ipip works", config: ipip, probe: works, kind: inKernel, says: "makes ipip devices"},
		{name: "no module", config: vxlan4, probe: refuses(kernelmode.NoModule), kind: userspace, says: "do this", word: "no_module"},
		{name: "not loadable", config: vxlan4, probe: refuses(kernelmode.ModuleUnheard), kind: userspace, says: "makes no vxlan", word: "module_unheard"},
		{name: "no right", config: ipip, probe: refuses(kernelmode.NoPrivilege), kind: userspace, says: "makes no ipip", word: "no_privilege"},
		{name: "filtered", config: vxlan4, probe: refuses(kernelmode.Filtered), kind: userspace, says: "do this", word: "filtered"},
		{name: "the lane", config: onlyV4, options: Options{Datapath: byLane}, probe: works, kind: byLane, says: "asked for"},
		{name: "the lane for vxlan", config: vxlan4, options: Options{Datapath: byLane, Port: 9}, others: "two are udp", probe: works, kind: byLane, says: "asked for"},
		{name: "no right to the lane", config: onlyV4, options: Options{Datapath: byLane}, probe: refuses(kernelmode.NoPrivilege), kind: userspace,
			says: "express was asked for, and isn't to be had here", word: "no_privilege"},
		{name: "no lane without a device to keep", config: onlyV4, options: Options{Datapath: byLane, IO: "portable"}, probe: works, kind: userspace,
			says: "without --io portable", word: "lane_failed"},
		{name: "user space asked for in udp", config: onlyV4, options: Options{Datapath: userspace}, probe: works, kind: userspace, says: "weft switch express", word: "asked"},
		{name: "host-gw by the lane", config: hostGW, options: Options{Datapath: byLane}, probe: works, err: "--datapath express contradicts backend type host-gw"},
		{name: "other peers", config: vxlan4, others: "two are udp", probe: works, kind: userspace, says: "two are udp", word: "other_peers"},
		{name: "a port of its own", config: vxlan4, options: Options{Port: 9}, probe: works, kind: userspace, says: "--port", word: "own_port"},
		{name: "remote checksums", config: vxlan4, options: Options{RemoteSums: tunnel.On}, probe: works, kind: userspace, says: "remote-checksum", word: "remote_checksum"},
		{name: "user space asked for", config: vxlan4, options: Options{Datapath: userspace}, probe: works, kind: userspace, says: "weft switch auto", word: "asked"},
		{name: "the kernel asked for", config: vxlan4, options: Options{Datapath: inKernel}, probe: works, kind: inKernel, says: "asked for"},
		{name: "and not to be had", config: vxlan4, options: Options{Datapath: inKernel}, probe: refuses(kernelmode.NoModule), err: "do this; or use auto or userspace"},
		{name: "host-gw in user space", config: hostGW, options: Options{Datapath: userspace}, probe: works, err: "--datapath userspace contradicts backend type host-gw"},
		{name: "udp in the kernel", config: onlyV4, options: Options{Datapath: inKernel}, probe: works, err: "--datapath kernel contradicts backend type udp"},
		{name: "a port where there is none", config: ipip, options: Options{Port: 9}, probe: works, err: "--port 9 contradicts backend type ipip"},
		{name: "a port of its own in the kernel", config: vxlan4, options: Options{Datapath: inKernel, Port: 9}, probe: works, err: "--port 9 contradicts --datapath kernel"},
		{name: "remote checksums in the kernel", config: vxlan4, options: Options{Datapath: inKernel, RemoteSums: tunnel.On}, probe: works, err: "contradicts --datapath kernel"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := choose(config(t, test.config), test.options, test.others, test.probe)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%+v, %v; want an error with %q", got, err, test.err)
				}
				return
			}
			if err != nil || got.kind != test.kind || !strings.Contains(got.why+got.better, test.says) || got.word != test.word {
				t.Errorf("%+v, %v; want %s saying %q, word %q", got, err, test.kind, test.says, test.word)
			}
		})
	}
}

// Whether auto takes the lane is one decision; where it does, only in the place of user space, and only where it works.
func TestAutoAndTheLane(t *testing.T) {
	for _, test := range []struct {
		name  string
		take  bool
		works bool
		from  choice
		kind  string
		says  string
	}{
		{"not taken", false, true, inUserspace("slow", "", ""), userspace, "slow"},
		{"taken", true, true, inUserspace("slow", "", ""), byLane, "slow, and express works here"},
		{"not to be had", true, false, inUserspace("slow", "", ""), userspace, "slow; express isn't to be had here: operation not permitted"},
		{"the kernel is faster", true, true, choice{kind: inKernel, why: "fast"}, inKernel, "fast"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := false
			got := test.from.orLane(test.take, func(f kernelmode.Feature) kernelmode.Capability {
				asked = true
				if !test.works {
					return kernelmode.Capability{Feature: f, Obstacle: kernelmode.NoPrivilege, Err: syscall.EPERM}
				}
				return kernelmode.Capability{Feature: f}
			})
			if got.kind != test.kind || got.why != test.says || asked != (test.take && test.from.kind == userspace) {
				t.Errorf("%+v, asked: %t", got, asked)
			}
		})
	}
}

// What the datapath can't do of a network config is said.
func TestUnheard(t *testing.T) {
	c := config(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","GBP":true,"Learning":true}}`)
	if got := unheard(c, userspace); len(got) != 2 {
		t.Errorf("in user space: %q", got)
	}
	if got := unheard(c, inKernel); len(got) != 0 {
		t.Errorf("in the kernel: %q", got)
	}
}

// Peers of a type that only user space talks to keep a host there; those that nobody talks to don't.
func TestOthers(t *testing.T) {
	f := fabric{config: config(t, vxlan4), own: peer(t, "10.5.1.0/24", "", `{"PublicIP":"192.0.2.1","BackendType":"vxlan"}`)}
	s := &lease.Snapshot{Leases: []lease.Lease{f.own, peer(t, "10.5.2.0/24", "", `{"PublicIP":"192.0.2.2","BackendType":"vxlan"}`),
		peer(t, "10.5.3.0/24", "", `{"PublicIP":"192.0.2.3","BackendType":"host-gw"}`)}}
	if got := f.others(s); got != "" {
		t.Errorf("others: %s", got)
	}
	s.Leases = append(s.Leases, peer(t, "10.5.4.0/24", "", `{"PublicIP":"192.0.2.4"}`))
	if got := f.others(s); !strings.Contains(got, "1 peers") || !strings.Contains(got, "10.5.4.0-24") {
		t.Errorf("others: %q", got)
	}
}
