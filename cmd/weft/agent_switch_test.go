package main

import (
	"encoding/binary"
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
	twice          atomic.Uint64
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
				time.Sleep(100 * time.Millisecond) // the last ones are under way
				return
			default:
			}
			for due := uint64(time.Since(began) / every); n.sent.Load() < due; {
				binary.BigEndian.PutUint64(packet, n.sent.Load())
				if _, err := out.Write(packet); err != nil {
					return
				}
				n.sent.Add(1)
			}
			time.Sleep(every)
		}
	}()
	return n
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
			time.Sleep(300 * time.Millisecond)
			o1, i1 := lost()
			result := w.switches(n, to)
			want := strings.Replace(to, "auto", "kernel", 1)
			if result.Error != "" || result.Datapath != want {
				t.Errorf("host %d to %s: %+v", n, to, result)
			}
			time.Sleep(300 * time.Millisecond)
			o2, i2 := lost()
			t.Logf("host %d to %s: lost %d and %d, took %v", n, to, o2-o1, i2-i1, result.Took)
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
	if d := w.device6(1, "flannel.1"); d != "" {
		t.Error("the kernel's device is left: ", d)
	}
}
