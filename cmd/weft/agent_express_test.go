package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"weft/cmd/internal/admin"
	"weft/kernelmode/express"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// settles waits until host n's datapath is of a kind, for a reason that has those words in it.
func (w *world) settles(n int, kind, why string) (state admin.State) {
	w.Helper()
	w.until(fmt.Sprintf("host %d in datapath %s", n, kind), func() (err error) {
		state, err = w.state(n)
		laid := state.Lane != nil && state.Lane.On
		if d := state.Datapath; err == nil && (!state.Ready || d.Kind != kind || !strings.Contains(d.Why, why) || laid != (kind == "express")) {
			err = fmt.Errorf("ready %t, %s: %s; lane %+v", state.Ready, d.Kind, d.Why, state.Lane)
		}
		return err
	})
	return state
}

// The life of a lane as an operator sees it: it carries the packets, is switched off and on, outlives its agent
// whether that is killed or asked to end, is taken over or taken away by the next one, and leaves nothing.
func TestExpress(t *testing.T) {
	w, containers := newLanes(t, 2, testConfig)
	agent := w.programs[1]
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	state := w.settles(1, "express", "asked for")
	if state.Lane == nil || !state.Lane.On || state.Lane.Underlay != "eth0" || state.Traffic["egress_bytes"] < transferBytes {
		t.Errorf("lane %+v, traffic %v", state.Lane, state.Traffic)
	}
	if _, out := w.run(w.lab.Host(1).Namespace, "status", "--admin-socket", w.socket(1)); !strings.Contains(out, "lane      on eth0; carried egress_bytes ") {
		t.Errorf("weft status:\n%s", out)
	}

	t.Run("killed and started again", func(t *testing.T) {
		w := w.with(t)
		device, before := w.link(1, "weft0"), w.lane(1)
		agent.end(t, syscall.SIGKILL)
		w.allPairs(containers)
		agent = w.startAgent(1, laneOnly...)
		w.settles(1, "express", "asked for")
		if after := w.link(1, "weft0"); device == "" || after != device {
			t.Errorf("the device was made again: %q, then %q", device, after)
		}
		if after := w.lane(1); after.Carried["egress_bytes"] < before.Carried["egress_bytes"]+transferBytes {
			t.Errorf("the counts began anew: %+v, then %+v", before.Carried, after.Carried)
		}
		w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	})
	t.Run("switched off and on", func(t *testing.T) {
		w := w.with(t)
		for _, to := range []string{"userspace", "userspace", "express", "express"} {
			if r := w.switches(1, to); r.Error != "" || r.Datapath != to {
				t.Errorf("to %s: %+v", to, r)
			}
			before := w.ready(1, 1)
			w.allPairs(containers)
			after := w.ready(1, 1)
			laned, all := after.Lane.Carried["egress_bytes"]-before.Lane.Carried["egress_bytes"], after.Traffic["egress_bytes"]-before.Traffic["egress_bytes"]
			if after.Lane.On != (to == "express") || all < transferBytes || (laned >= transferBytes) != after.Lane.On {
				t.Errorf("%s: %d bytes of %d by a lane that is on: %t", to, laned, all, after.Lane.On)
			}
		}
	})
	t.Run("the device is deleted", func(t *testing.T) {
		w := w.with(t)
		before := w.link(1, "weft0")
		if out, err := w.lab.Host(1).Command(t.Context(), "ip", "link", "del", "weft0").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		w.until("another device with a lane", func() error {
			if after := w.link(1, "weft0"); after == before || after == "" {
				return fmt.Errorf("device %q", after)
			}
			return nil
		})
		w.inLane(1, 1)
		w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	})
	t.Run("the underlay gets another address", func(t *testing.T) {
		w := w.with(t)
		ip := func(args ...string) {
			t.Helper()
			if out, err := w.lab.Host(1).Command(t.Context(), "ip", args...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v: %s", args, err, out)
			}
		}
		other := netip.PrefixFrom(w.lab.Host(2).Addr.Next().Next().Next(), 24)
		ip("address", "del", netip.PrefixFrom(w.lab.Host(1).Addr, 24).String(), "dev", "eth0")
		ip("address", "add", other.String(), "dev", "eth0")
		w.becomes(1, "at the other address", func(s admin.State) string {
			if s.Host.PublicIP != other.Addr() || s.Lane == nil || !s.Lane.On {
				return fmt.Sprintf("at %v, lane %+v", s.Host.PublicIP, s.Lane)
			}
			return ""
		})
		w.becomes(2, "peer at the other address", func(s admin.State) string {
			if len(s.Peers) != 1 || s.Peers[0].Outer.Addr() != other.Addr() {
				return fmt.Sprintf("peers %v", s.Peers)
			}
			return ""
		})
		w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	})
	t.Run("asked to end, and cleaned up", func(t *testing.T) {
		w := w.with(t)
		if status, out := w.cleans(1); status == 0 {
			t.Errorf("cleaned up beside an agent: %s", out)
		}
		agent.end(t, syscall.SIGTERM)
		if agent.status != 0 {
			t.Errorf("exit status %d:\n%s", agent.status, agent.said())
		}
		w.allPairs(containers)
		status, out := w.cleans(1)
		if status != 0 || !strings.Contains(out, "removed device weft0\n") || !strings.Contains(out, "removed express lane on weft0\n") {
			t.Errorf("exit status %d: %s", status, out)
		}
		w.noLane(1)
		if w.link(1, "weft0") != "" {
			t.Error("the device is still there")
		}
		if status, out := w.cleans(1); status != 0 || out != "nothing of weft's is left here\n" {
			t.Errorf("the second time: %d, %s", status, out)
		}
	})
	t.Run("taken away by an agent without", func(t *testing.T) {
		w := w.with(t)
		agent = w.startAgent(1, laneOnly...)
		w.settles(1, "express", "asked for")
		agent.end(t, syscall.SIGKILL)
		agent = w.startAgent(1, "--datapath", "userspace")
		w.settles(1, "userspace", "asked for")
		w.noLane(1)
		w.allPairs(containers)
		agent.end(t, syscall.SIGTERM)
		if w.link(1, "weft0") != "" {
			t.Error("the device outlives an agent in user space")
		}
	})
	t.Run("with other queues", func(t *testing.T) {
		w := w.with(t)
		agent = w.startAgent(1, "--datapath", "express", "--workers", "2")
		w.settles(1, "express", "asked for")
		agent.end(t, syscall.SIGKILL)
		agent = w.startAgent(1, "--datapath", "express", "--workers", "1")
		w.settles(1, "express", "asked for")
		w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	})
	t.Run("given back with the lease", func(t *testing.T) {
		w := w.with(t)
		agent.end(t, syscall.SIGTERM)
		agent = w.startAgent(1, "--datapath", "express", "--workers", "1", "--release-on-exit")
		w.settles(1, "express", "asked for")
		agent.end(t, syscall.SIGTERM)
		w.noLane(1)
		if w.link(1, "weft0") != "" {
			t.Error("the device is still there")
		}
	})
}

// noLane waits until nothing of a lane is left on host n, neither pins nor programs nor devices: an agent that has taken over
// from another takes it away once packets flow.
func (w *world) noLane(n int) {
	w.Helper()
	w.until(fmt.Sprintf("no lane on host %d", n), func() error {
		return w.lab.Host(n).Do(func() error {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			for _, device := range []string{"weft0-x", "weft0-y"} {
				if _, err := net.InterfaceByName(device); err == nil {
					return fmt.Errorf("device %s is left", device)
				}
			}
			if found, err := link.QueryPrograms(link.QueryOptions{Target: eth0.Index, Attach: ebpf.AttachTCXIngress}); err == nil && len(found.Programs) > 0 {
				return fmt.Errorf("%d programs are left on eth0", len(found.Programs))
			}
			if express.Left("", "weft0") {
				return errors.New("pins are left")
			}
			return nil
		})
	})
	out, err := w.lab.Host(n).Command(w.Context(), "tc", "filter", "show", "dev", "eth0", "ingress").CombinedOutput()
	if err != nil || strings.Contains(string(out), "weft-express") {
		w.Errorf("filters of eth0: %v: %s", err, out)
	}
}

// A vxlan host goes from the lane into the kernel and back, and peers in the kernel notice nothing.
func TestExpressAndTheKernel(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	w.needLane()
	w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`)
	agent := w.startAgent(1, "--datapath", "express")
	w.startAgent(2, "--datapath", "kernel")
	w.ready(1, 1)
	w.ready(2, 1)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.settles(1, "express", "asked for")
	for _, to := range []string{"kernel", "express", "auto", "express", "userspace", "kernel", "userspace", "express"} {
		want := strings.Replace(to, "auto", "kernel", 1)
		if r := w.switches(1, to); r.Error != "" || r.Datapath != want {
			t.Errorf("to %s: %+v", to, r)
		}
		if to == "express" {
			w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
			continue
		}
		w.allPairs(containers)
		w.noLane(1)
	}

	// What the lane was carrying when its agent died, the next one has the kernel carry.
	for _, datapath := range []string{"kernel", "express"} {
		agent.end(t, syscall.SIGKILL)
		w.allPairs(containers)
		agent = w.startAgent(1, "--datapath", datapath)
		w.settles(1, datapath, "asked for")
		w.allPairs(containers)
		if datapath == "kernel" {
			w.noLane(1)
			w.until("the lane's device gone", func() error {
				if w.link(1, "weft0") != "" {
					return errors.New("weft0 is left")
				}
				return nil
			})
		}
	}
	w.inLane(1, 1)
}

// What can't be is refused with the reason, and what was before goes on.
func TestExpressRefused(t *testing.T) {
	w := newWorld(t, 2)
	w.needLane()
	w.startEtcd()
	w.setConfig(hostGWOnly)
	w.startAgent(1)
	w.ready(1, 0)
	if r := w.switches(1, "express"); !strings.Contains(r.Error, "contradicts backend type host-gw") || r.Datapath != "kernel" {
		t.Errorf("host-gw: %+v", r)
	}
	turned := w.startAgent(2, laneOnly...)
	w.waiting(2, "--datapath express contradicts backend type host-gw")
	turned.end(t, syscall.SIGTERM)
	w.setConfig(testConfig)
	w.settles(1, "express", "backend type udp")
	w.startAgent(2, "--io", "portable")
	w.ready(2, 1)
	if r := w.switches(2, "express"); !strings.Contains(r.Error, "without it") || r.Datapath != "userspace" {
		t.Errorf("portable: %+v", r)
	}
	if status, out := w.run(w.lab.Host(2).Namespace, "agent", "--datapath", "express", "--io", "portable"); status != 2 || !strings.Contains(out, "drop one of them") {
		t.Errorf("exit status %d: %s", status, out)
	}
}

// A lane whose packets don't get through, behind a firewall that goes by source ports, is given up: at a switch, where
// peers are asked before, and at a start, where those who are silent are asked in another way.
func TestExpressIsChecked(t *testing.T) {
	iptables := labtest.NeedProgram(t, "iptables", "iptables")
	w := newWorld(t, 3)
	w.needLane()
	w.startEtcd()
	w.setConfig(testConfig)
	w.startAgent(2, "--datapath", "userspace")
	if out, err := w.lab.Host(2).Command(t.Context(), iptables, "-A", "INPUT", "-p", "udp", "--dport", "8285", "!", "--sport", "8285", "-j", "DROP").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v: %s", err, out)
	}
	agent := w.startAgent(1, laneOnly...)
	w.startAgent(3, laneOnly...)
	w.ready(1, 2)
	w.ready(2, 2)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	state := w.settles(1, "userspace", "its self-check failed")
	if d := state.Datapath; d.Obstacle != "lane_check" || !strings.Contains(d.Why, "10.99.0.2") {
		t.Errorf("datapath %+v", d)
	}
	w.allPairs(containers)
	if r := w.switches(1, "express"); !strings.Contains(r.Error, "don't answer any more") || r.Datapath != "userspace" {
		t.Errorf("asked for: %+v", r)
	}
	w.allPairs(containers)
	agent.end(t, syscall.SIGTERM)
	if out, err := w.lab.Host(2).Command(t.Context(), iptables, "-F", "INPUT").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v: %s", err, out)
	}
	w.startAgent(1, laneOnly...)
	w.inLane(1, 2)
	w.throughLane(1, transferBytes, 0, func() { w.allPairs(containers) })
}

// The network config changes under hosts with lanes: another MTU, another port, another backend type. Device and lane stay, a
// connection goes on, and the lane is of the new shape.
func TestExpressReconfigured(t *testing.T) {
	w, containers := newLanes(t, 2, testConfig)
	device := w.link(1, "weft0")
	flow := startFlow(t, containers[0], containers[1])
	for _, step := range []struct {
		config string
		mtu    int
		port   uint16 // that peers are sent to
	}{
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":1400}}`, 1372, 8285},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":1400,"Port":8299}}`, 1372, 8299},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":1400,"VNI":7}}`, 1350, 8472},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}`, 1480, 0},
		{testConfig, 1472, 8285},
	} {
		w.setConfig(step.config)
		for n := 1; n <= 2; n++ {
			w.becomes(n, step.config, func(s admin.State) string {
				if d := s.Datapath; d.Kind != "express" || d.MTU != step.mtu || s.Lane == nil || !s.Lane.On || len(s.Peers) != 1 || s.Peers[0].Outer.Port() != step.port {
					return fmt.Sprintf("%s with MTU %d: %s; peers %v", d.Kind, d.MTU, d.Why, s.Peers)
				}
				return ""
			})
		}
		for n := 1; n <= 2; n++ {
			w.throughLane(n, transferBytes, transferBytes, func() { w.allPairs(containers) })
		}
		w.Logf("%s: TCP without a byte for %v at most", step.config, flow.worst())
	}
	if bytes, err := flow.end(); err != nil || bytes == 0 {
		t.Errorf("the TCP connection broke after %d bytes: %v", bytes, err)
	}
	if after := w.link(1, "weft0"); after != device {
		t.Errorf("the device was made again: %q, then %q", device, after)
	}
}

// Over IPv6 the lane sends no UDP checksums, and so only to those who say that they take it: peers of this version in a
// udp network. Everything else over IPv6 goes out by user space.
func TestExpressOverIPv6(t *testing.T) {
	for name, test := range map[string]struct {
		config string
		laned  uint64 // bytes that a lane carries out at least
	}{
		"udp":   {`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"udp"}}`, transferBytes},
		"vxlan": {`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.needLane()
			if !w.lab.Host(1).Addr6.IsValid() {
				labtest.Missing(t, errors.New("the kernel has no IPv6"))
			}
			w.startEtcd()
			w.setConfig(test.config)
			w.startAgent(1, laneOnly...)
			w.startAgent(2, laneOnly...)
			w.inLane(1, 1)
			w.inLane(2, 1)
			containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
			w.throughLane(1, test.laned, test.laned, func() { w.allPairs(containers) })
			if r := w.switches(2, "userspace"); r.Error != "" {
				t.Error(r.Error)
			}
			w.throughLane(1, test.laned, 0, func() { w.allPairs(containers) })
			w.datagrams(containers[0], containers[1], 4000)
		})
	}
}

// An agent whose BPF file system goes with it, as in a container without the host's, has a lane that stays all the same.
func TestExpressWithMountsOfItsOwn(t *testing.T) {
	unshare := labtest.NeedProgram(t, "unshare", "util-linux")
	w := newWorld(t, 2)
	w.needLane()
	w.startEtcd()
	w.setConfig(testConfig)
	w.startAgent(2, laneOnly...)
	own := func() *program {
		w.by = []string{unshare, "--mount", "sh", "-c", `while umount /sys/fs/bpf 2>/dev/null; do :; done; exec "$@"`, "sh"}
		defer func() { w.by = nil }()
		return w.startAgent(1, laneOnly...)
	}
	agent := own()
	w.inLane(1, 1)
	w.inLane(2, 1)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	agent.end(t, syscall.SIGKILL)
	w.allPairs(containers)
	agent = own()
	w.inLane(1, 1)
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	agent.end(t, syscall.SIGTERM)
	w.allPairs(containers)
	if status, out := w.cleans(1); status != 0 || !strings.Contains(out, "removed express lane on weft0\n") {
		t.Errorf("exit status %d: %s", status, out)
	}
	w.noLane(1)
}

// The underlay's interface goes, and the lane with it; when it is back, the lane comes back by itself.
func TestExpressUnderlayReturns(t *testing.T) {
	w := newWorld(t, 2)
	w.needLane()
	w.startEtcd()
	w.setConfig(testConfig)
	host := w.lab.Host(1)
	ip := func(args ...string) {
		t.Helper()
		if out, err := host.Command(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	arrive := func() {
		t.Helper()
		ip("link", "add", "link", "eth0", "name", "under0", "type", "macvlan", "mode", "bridge")
		ip("address", "add", netip.PrefixFrom(host.Addr, 24).String(), "dev", "under0")
		ip("link", "set", "under0", "up")
	}
	ip("address", "del", netip.PrefixFrom(host.Addr, 24).String(), "dev", "eth0")
	arrive()
	w.startAgent(1, "--datapath", "express", "--iface", "under0")
	w.startAgent(2, laneOnly...)
	w.ready(1, 1)
	w.ready(2, 1)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.throughLane(1, transferBytes, 0, func() { w.allPairs(containers) })
	// What comes in isn't asserted: eth0 answers ARP for the address too.
	ip("link", "del", "under0")
	w.becomes(1, "user space, without the interface", func(s admin.State) string {
		if s.Datapath.Kind != "userspace" || s.Datapath.Obstacle != "lane_lost" {
			return fmt.Sprintf("%s, obstacle %q", s.Datapath.Kind, s.Datapath.Obstacle)
		}
		return ""
	})
	arrive()
	w.settles(1, "express", "asked for")
	w.throughLane(1, transferBytes, 0, func() { w.allPairs(containers) })
}
