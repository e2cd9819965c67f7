package agent

import (
	"strings"
	"syscall"
	"testing"

	"weft/cmd/internal/probe"
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
	migrates := strings.TrimSuffix(onlyV4, "}") + `,"Weft":{"Migration":{"To":{"Type":"vxlan"}}}}`
	laneAlone := func(f kernelmode.Feature) kernelmode.Capability {
		if f == probe.FeatureLane {
			return works(f)
		}
		return refuses(kernelmode.NoModule)(f)
	}
	for _, test := range []struct {
		name, config string
		options      Options
		others       string
		try          func(kernelmode.Feature) kernelmode.Capability
		kind         string
		says         string // in why or better
		word         string
		err          string
	}{
		{name: "udp", config: onlyV4, try: works, kind: byLane, says: "express works here"},
		{name: "udp without the lane", config: onlyV4, try: refuses(kernelmode.NoPrivilege), kind: userspace, says: "express isn't to be had here", word: "backend_type"},
		{name: "udp with portable queues", config: onlyV4, options: Options{IO: "portable"}, try: works, kind: userspace, says: "without them express serves", word: "backend_type"},
		{name: "udp with two threads", config: onlyV4, options: Options{Split: true}, try: works, kind: userspace, says: "without them express serves", word: "backend_type"},
		{name: "udp with remote checksums", config: onlyV4, options: Options{RemoteSums: tunnel.On}, try: works, kind: userspace, says: "without it express serves", word: "backend_type"},
		{name: "a migration", config: migrates, try: works, kind: userspace, says: "when the migration is over express is taken", word: "backend_type"},
		{name: "no module, and the lane", config: vxlan4, try: laneAlone, kind: byLane, says: "do this", word: "no_module"},
		{name: "alloc", config: `{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}`, try: works, kind: "none", says: "only hands out"},
		{name: "host-gw", config: hostGW, try: refuses(kernelmode.NoModule), kind: inKernel, says: "routes"},
		{name: "vxlan works", config: vxlan4, try: works, kind: inKernel, says: "makes vxlan devices"},
		{name: "ipip works", config: ipip, try: works, kind: inKernel, says: "makes ipip devices"},
		{name: "no module", config: vxlan4, try: refuses(kernelmode.NoModule), kind: userspace, says: "do this", word: "no_module"},
		{name: "not loadable", config: vxlan4, try: refuses(kernelmode.ModuleUnheard), kind: userspace, says: "makes no vxlan", word: "module_unheard"},
		{name: "no right", config: ipip, try: refuses(kernelmode.NoPrivilege), kind: userspace, says: "makes no ipip", word: "no_privilege"},
		{name: "filtered", config: vxlan4, try: refuses(kernelmode.Filtered), kind: userspace, says: "do this", word: "filtered"},
		{name: "the lane", config: onlyV4, options: Options{Datapath: byLane}, try: works, kind: byLane, says: "asked for"},
		{name: "the lane for vxlan", config: vxlan4, options: Options{Datapath: byLane, Port: 9}, others: "two are udp", try: works, kind: byLane, says: "asked for"},
		{name: "no right to the lane", config: onlyV4, options: Options{Datapath: byLane}, try: refuses(kernelmode.NoPrivilege), kind: userspace,
			says: "express was asked for, and isn't to be had here", word: "no_privilege"},
		{name: "no lane without a device to keep", config: onlyV4, options: Options{Datapath: byLane, IO: "portable"}, try: works, kind: userspace,
			says: "without --io portable", word: "lane_failed"},
		{name: "user space asked for in udp", config: onlyV4, options: Options{Datapath: userspace}, try: works, kind: userspace, says: "weft switch express", word: "asked"},
		{name: "host-gw by the lane", config: hostGW, options: Options{Datapath: byLane}, try: works, err: "--datapath express contradicts backend type host-gw"},
		{name: "other peers", config: vxlan4, others: "two are udp", try: works, kind: byLane, says: "two are udp", word: "other_peers"},
		{name: "a port of its own", config: vxlan4, options: Options{Port: 9}, try: works, kind: byLane, says: "--port", word: "own_port"},
		{name: "remote checksums", config: vxlan4, options: Options{RemoteSums: tunnel.On}, try: works, kind: userspace, says: "remote-checksum", word: "remote_checksum"},
		{name: "user space asked for", config: vxlan4, options: Options{Datapath: userspace}, try: works, kind: userspace, says: "weft switch auto", word: "asked"},
		{name: "the kernel asked for", config: vxlan4, options: Options{Datapath: inKernel}, try: works, kind: inKernel, says: "asked for"},
		{name: "and not to be had", config: vxlan4, options: Options{Datapath: inKernel}, try: refuses(kernelmode.NoModule), err: "do this; or use auto, express or userspace"},
		{name: "host-gw in user space", config: hostGW, options: Options{Datapath: userspace}, try: works, err: "--datapath userspace contradicts backend type host-gw"},
		{name: "udp in the kernel", config: onlyV4, options: Options{Datapath: inKernel}, try: works, err: "--datapath kernel contradicts backend type udp"},
		{name: "a port where there is none", config: ipip, options: Options{Port: 9}, try: works, err: "--port 9 contradicts backend type ipip"},
		{name: "a port of its own in the kernel", config: vxlan4, options: Options{Datapath: inKernel, Port: 9}, try: works, err: "--port 9 contradicts --datapath kernel"},
		{name: "remote checksums in the kernel", config: vxlan4, options: Options{Datapath: inKernel, RemoteSums: tunnel.On}, try: works, err: "contradicts --datapath kernel"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := choose(config(t, test.config), test.options, test.others, test.try)
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
