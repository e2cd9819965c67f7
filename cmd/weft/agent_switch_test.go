package main

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/cmd/internal/admin"
	"weft/perf/netlab"
)

// A stream of numbered datagrams shows what a switch loses.
type numbered struct {
	sent, received atomic.Uint64
	twice, refused atomic.Uint64
	longest        atomic.Int64 // nanoseconds between two arrivals
	stop           chan struct{}
	stopped        chan struct{}
}

// number sends datagrams from one container to another until end is called.
func (w *world) number(from, to *netlab.Container, every time.Duration) *numbered {
	w.Helper()
	in, err := to.ListenPacket(w.Context(), "udp", netip.AddrPortFrom(to.Addr, 0).String())
	if err != nil {
		w.Fatal(err)
	}
	out, err := from.Dial(w.Context(), "udp", in.LocalAddr().String())
	if err != nil {
		w.Fatal(err)
	}
	_ = in.(*net.UDPConn).SetReadBuffer(4 << 20)
	n := &numbered{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(n.stopped)
		seen := map[uint64]bool{}
		buffer := make([]byte, 64)
		for last := time.Now(); ; {
			if _, _, err := in.ReadFrom(buffer); err != nil {
				return
			}
			now := time.Now()
			n.longest.Store(max(n.longest.Load(), int64(now.Sub(last))))
			last = now
			if number := binary.BigEndian.Uint64(buffer); seen[number] {
				n.twice.Add(1)
			} else {
				seen[number] = true
				n.received.Add(1)
			}
		}
	}()
	go func() {
		defer in.Close()
		defer out.Close()
		began, packet := time.Now(), make([]byte, 64)
		for {
			select {
			case <-n.stop:
				n.settled()
				return
			default:
			}
			for due := uint64(time.Since(began) / every); n.sent.Load() < due; {
				binary.BigEndian.PutUint64(packet, n.sent.Load())
				if _, err := out.Write(packet); errors.Is(err, net.ErrClosed) {
					return
				} else if err != nil {
					w.Logf("sending: %v", err) // an ICMP error that came for an earlier one
					n.refused.Add(1)
				}
				n.sent.Add(1)
			}
			time.Sleep(every)
		}
	}()
	return n
}

// settled waits until nothing has come for a while: what is under way then is lost.
func (n *numbered) settled() {
	for last := uint64(0); last != n.received.Load() && n.sent.Load() != n.received.Load(); {
		last = n.received.Load()
		time.Sleep(500 * time.Millisecond)
	}
}

func (n *numbered) end() {
	close(n.stop)
	<-n.stopped
}

// switches asks the agent of host n for a datapath.
func (w *world) switches(n int, to string) admin.Switched {
	w.Helper()
	result, err := admin.RequestSwitch(w.Context(), w.socket(n), admin.Switch{Datapath: to})
	if err != nil {
		w.Fatal(err)
	}
	return result
}

// A host goes from user space into the kernel and back under traffic: what stays is everything that peers
// know of it, and an open connection.
func TestSwitchBackAndForth(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	w.startEtcd()
	w.setConfig(vxlanConfig)
	w.startAgent(1, "--datapath", "userspace")
	w.startAgent(2, "--datapath", "kernel")
	before := w.ready(1, 2)
	w.ready(2, 2)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.allPairs(containers)
	records := w.records(w.etcd())

	for n := 1; n <= 2; n++ {
		out, in := w.number(containers[0], containers[1], 100*time.Microsecond), w.number(containers[1], containers[0], 100*time.Microsecond)
		lost := func() (int64, int64) {
			return int64(out.sent.Load() - out.received.Load()), int64(in.sent.Load() - in.received.Load())
		}
		for _, to := range []string{"kernel", "userspace", "auto", "userspace"} {
			o1, i1 := lost()
			result := w.switches(n, to)
			want := strings.Replace(to, "auto", "kernel", 1)
			if result.Error != "" || result.Datapath != want {
				t.Errorf("host %d to %s: %+v", n, to, result)
			}
			time.Sleep(300 * time.Millisecond)
			o2, i2 := lost()
			t.Logf("host %d to %s: %d and %d more under way or lost, took %v", n, to, o2-o1, i2-i1, result.Took)
			if state := w.ready(n, 2); state.Datapath.Kind != want || state.Datapath.MTU != 1450 || state.Lease == nil {
				t.Errorf("host %d after switching to %s: %+v", n, to, state.Datapath)
			}
		}
		out.end()
		in.end()
		t.Logf("host %d: lost %d of %d and %d of %d, twice %d and %d, longest gap %v and %v", n, out.sent.Load()-out.received.Load(), out.sent.Load(),
			in.sent.Load()-in.received.Load(), in.sent.Load(), out.twice.Load(), in.twice.Load(), time.Duration(out.longest.Load()), time.Duration(in.longest.Load()))
	}
	w.allPairs(containers)
	if after := w.ready(1, 2); after.Lease.Subnet != before.Lease.Subnet {
		t.Errorf("lease %v, before %v", after.Lease, before.Lease)
	}
	for key, record := range w.records(w.etcd()) {
		if records[key] != record {
			t.Errorf("%s is %s, before %s", key, record, records[key])
		}
	}
	if d := w.link(1, "flannel.1"); d != "" {
		t.Error("the kernel's device is left: ", d)
	}
}

// still asserts that a refused switch changed nothing: who moves the packets, and that they move.
func (w *world) still(n int, result admin.Switched, kind, why string, containers []*netlab.Container) {
	w.Helper()
	if result.Datapath != kind || !strings.Contains(result.Error, why) {
		w.Errorf("host %d: %+v, want %s still, and %q", n, result, kind, why)
	}
	state := w.ready(n, 1)
	if state.Datapath.Kind != kind || state.Switched == nil || !strings.Contains(state.Switched.Error, why) {
		w.Errorf("host %d: datapath %+v, latest switch %+v", n, state.Datapath, state.Switched)
	}
	if _, out := w.run(w.lab.Host(n).Namespace, "status", "--admin-socket", w.socket(n)); !strings.Contains(out, "in vain") {
		w.Errorf("weft status doesn't tell of it:\n%s", out)
	}
	w.allPairs(containers)
}

// A datapath through which peers don't answer is left again by itself, and one that can't be had isn't
// entered; each says why, and what was before goes on.
func TestSwitchGoesBack(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`)
	w.startAgent(1, "--datapath", "userspace")
	w.startAgent(2, "--datapath", "kernel")
	w.ready(1, 1)
	w.ready(2, 1)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.allPairs(containers)
	ip := func(n int, args ...string) {
		w.Helper()
		if out, err := w.lab.Host(n).Command(w.Context(), "ip", args...).CombinedOutput(); err != nil {
			w.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}

	t.Run("the kernel doesn't reach anybody", func(t *testing.T) {
		// User space sends from the port, the kernel's device from any other.
		ip(1, "rule", "add", "pref", "10", "ipproto", "udp", "sport", "8472", "dport", "8472", "lookup", "main")
		ip(1, "rule", "add", "pref", "11", "ipproto", "udp", "dport", "8472", "blackhole")
		w := w.with(t)
		w.still(1, w.switches(1, "kernel"), "userspace", "don't answer any more", containers)
		if d := w.link(1, "flannel.1"); d != "" {
			t.Error("the kernel's device is left:", d)
		}
		ip(1, "rule", "del", "pref", "11")
		ip(1, "rule", "del", "pref", "10")
	})
	t.Run("user space doesn't reach anybody", func(t *testing.T) {
		ip(2, "rule", "add", "pref", "10", "ipproto", "udp", "sport", "8472", "blackhole")
		w := w.with(t)
		device := w.link(2, "flannel.1")
		w.still(2, w.switches(2, "userspace"), "kernel", "don't answer any more", containers)
		if w.link(2, "weft0") != "" || w.link(2, "flannel.1") != device {
			t.Errorf("devices: weft0 %q, flannel.1 %q, before %q", w.link(2, "weft0"), w.link(2, "flannel.1"), device)
		}
		ip(2, "rule", "del", "pref", "10")
	})
	t.Run("the kernel can't have the port", func(t *testing.T) {
		other, err := w.lab.Host(1).ListenPacket(w.Context(), "udp4", "127.0.0.1:8472")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		w := w.with(t)
		w.still(1, w.switches(1, "kernel"), "userspace", "another program has UDP port 8472", containers)
	})
	t.Run("user space can't have the device", func(t *testing.T) {
		ip(2, "tuntap", "add", "weft0", "mode", "tap")
		w := w.with(t)
		w.still(2, w.switches(2, "userspace"), "kernel", "weft0", containers)
		ip(2, "tuntap", "del", "weft0", "mode", "tap")
	})
	t.Run("what can't be", func(t *testing.T) {
		w := w.with(t)
		if r := w.switches(1, "sideways"); !strings.Contains(r.Error, "use auto, express, kernel or userspace") {
			t.Errorf("sideways: %+v", r)
		}
	})
	t.Run("and yet it moves", func(t *testing.T) {
		w := w.with(t)
		for n, to := range map[int]string{1: "kernel", 2: "userspace"} {
			if r := w.switches(n, to); r.Error != "" || r.Datapath != to {
				t.Errorf("host %d: %+v", n, r)
			}
		}
		w.allPairs(containers)
	})
}

// A changed network config moves running hosts from one backend type to another and back: under the same
// lease, through the same device, with the kernel taking over by itself once all peers have followed.
func TestBackendTypeChanges(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	w.needLane()
	w.startEtcd()
	const udp, vxlan = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`, `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`
	w.setConfig(udp)
	w.startAgent(1)
	w.startAgent(2, "--datapath", "userspace")
	lease := w.ready(1, 1).Lease.Subnet
	w.ready(2, 1)
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.allPairs(containers)
	device := w.link(2, "weft0")

	out, in := w.number(containers[0], containers[1], 100*time.Microsecond), w.number(containers[1], containers[0], 100*time.Microsecond)
	for _, step := range []struct{ config, first, second string }{{vxlan, "kernel", "userspace"}, {udp, "express", "userspace"}} {
		w.setConfig(step.config)
		for n, kind := range map[int]string{1: step.first, 2: step.second} {
			w.becomes(n, step.config, func(s admin.State) string {
				if s.Datapath.Kind != kind || len(s.Peers) != 1 || !strings.Contains(step.config, `"`+s.Network.BackendType+`"`) {
					return s.Datapath.Kind + " for " + s.Network.BackendType
				}
				return ""
			})
		}
	}
	out.end()
	in.end()
	t.Logf("lost %d of %d and %d of %d, twice %d and %d, longest gap %v and %v", out.sent.Load()-out.received.Load(), out.sent.Load(),
		in.sent.Load()-in.received.Load(), in.sent.Load(), out.twice.Load(), in.twice.Load(), time.Duration(out.longest.Load()), time.Duration(in.longest.Load()))
	if now := w.ready(1, 1).Lease.Subnet; now != lease {
		t.Errorf("lease %v, before %v", now, lease)
	}
	if now := w.link(2, "weft0"); now != device {
		t.Errorf("the device was made again: %q, before %q", now, device)
	}
	w.allPairs(containers)
}
