package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/perf/netlab"
)

// A site is a host of a mixed fabric with its two containers: one with the MTU that subnet.env says, and
// one that believes it may send what the underlay takes, and so has to be told better.
type site struct {
	n            int
	fitting      *netlab.Container
	unsuspecting *netlab.Container
	mtu          int // of subnet.env
	mtu6         int // that IPv6 packets have, where its outer headers are longer
}

// datapaths are the letters of a mix.
var datapaths = map[rune]string{'U': "userspace", 'E': "express", 'K': "kernel"}

// Four hosts on one VXLAN network, forwarding in user space, in the eBPF lane and in the kernel in every
// mixture, which they change to while they run: everybody reaches everybody, with packets of every kind and
// size. On the way some host goes from each datapath to each other one.
func TestMixedFabric(t *testing.T) {
	// IPv6 goes over IPv6, whose header is 20 bytes longer; subnet.env has one MTU, IPv4's, as flannel's.
	mixedFabric(t, vxlanConfig, 1450, 1430, "KKKK", "UKKK", "UUKK", "UUUK", "UUUU", "EUUU", "EEUU", "EEEU", "EEEE",
		"KEEE", "KKEE", "KKKE", "UKKE", "UKEE", "UKUE")
}

// The same on a network of type udp, which has no kernel's datapath, and whose IPv6 goes over IPv4.
func TestMixedFabricOfTypeUDP(t *testing.T) {
	mixedFabric(t, dualUDP, 1472, 1472, "UUUU", "UUUE", "UUEE", "UEEE", "EEEE")
}

// dualUDP is testConfig for both families.
const dualUDP = `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48","Backend":{"Type":"udp"}}`

// mixedFabric runs four hosts through mixes. mtu and mtu6 are what the encapsulation of each family leaves of the
// lab's 1,500 bytes. With -short, which is for the race detector, it is every third mix.
func mixedFabric(t *testing.T, config string, mtu, mtu6 int, mixes ...string) {
	if testing.Short() {
		all := mixes
		for mixes = nil; len(all) > 0; all = all[min(3, len(all)):] {
			mixes = append(mixes, all[0])
		}
	}
	w := newWorld(t, 4)
	w.needLane()
	if slices.ContainsFunc(mixes, func(mix string) bool { return strings.Contains(mix, "K") }) {
		w.needVXLAN()
	}
	w.startEtcd()
	w.setConfig(config)
	for n := 1; n <= 4; n++ {
		w.startAgent(n, "--datapath", "userspace")
	}
	var sites []site
	for n := 1; n <= 4; n++ {
		w.ready(n, 2*3) // a route for each family of each peer
		sites = append(sites, w.addSite(n))
		if sites[n-1].mtu != mtu {
			t.Fatalf("host %d has MTU %d, want %d", n, sites[n-1].mtu, mtu)
		}
		sites[n-1].mtu6 = mtu6
	}
	for _, mix := range mixes {
		t.Run(mix, func(t *testing.T) {
			w := w.with(t)
			began := time.Now()
			for i, letter := range mix {
				w.switchTo(i+1, datapaths[letter])
			}
			switched := time.Since(began)
			w.throughLanes(mix, func() { w.everyPair(sites) })
			for n := 1; n <= 4; n++ {
				w.refusedNothing(n)
			}
			t.Logf("switched within %v, all pairs after %v", switched.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		})
	}
	t.Run(mixes[len(mixes)-1]+" over a wire that cuts superpackets", func(t *testing.T) {
		if err := w.lab.SetSegmentation(true); err != nil {
			t.Fatal(err)
		}
		w := w.with(t)
		w.everyPair(sites)
		for n := 1; n <= 4; n++ {
			w.refusedNothing(n)
		}
	})
}

// throughLanes asserts that the lanes of a mix carried what f sent: half of the bytes of the TCP transfers over
// IPv4 at least, since a packet that the lane isn't sure of goes by userspace.
func (w *world) throughLanes(mix string, f func()) {
	w.Helper()
	for i, letter := range mix {
		if letter != 'E' {
			continue
		}
		n, within := i+1, f
		// To each of the others, and from each, there and back. What comes in from userspace hosts may be runs, which
		// the lane leaves to its forwarder.
		f = func() {
			w.Helper()
			const each = 2 * siteTransfer
			w.throughLane(n, uint64(len(mix)-1)*each/2, uint64(strings.Count(mix, "E")-1)*each/2, within)
		}
	}
	f()
}

// addSite adds a host's containers.
func (w *world) addSite(n int) site {
	w.Helper()
	s := site{n: n, fitting: w.addContainer(n, fmt.Sprintf("c%d", n))}
	var err error
	if s.unsuspecting, err = w.lab.Host(n).AddContainer(fmt.Sprintf("d%d", n), 1500, w.subnets(n)...); err != nil {
		w.Fatal(err)
	}
	s.mtu = w.env(n).MTU
	startEcho(w.T, s.fitting)
	return s
}

// switchTo has a person switch host n, where that isn't how it is.
func (w *world) switchTo(n int, datapath string) {
	w.Helper()
	if state, err := w.state(n); err == nil && state.Datapath.Kind == datapath {
		return
	}
	if status, out := w.run(w.lab.Host(n).Namespace, "switch", "--admin-socket", w.socket(n), datapath); status != 0 {
		w.stacks(n)
		w.Fatalf("weft switch %s on host %d exits with %d: %s\nagent's log:\n%s", datapath, n, status, out, w.logOf(n))
	}
	if state, err := w.state(n); err != nil || state.Datapath.Kind != datapath {
		w.Fatalf("host %d after weft switch %s: %+v, %v", n, datapath, state.Datapath, err)
	}
}

// stacks has an agent that is stuck print its goroutines' stacks, and end.
func (w *world) stacks(n int) {
	for _, p := range w.programs {
		if p.name == fmt.Sprintf("agent%d", n) {
			p.end(w.T, syscall.SIGQUIT)
		}
	}
}

func (w *world) logOf(n int) string {
	for _, p := range slices.Backward(w.programs) {
		if p.name == fmt.Sprintf("agent%d", n) {
			return p.said()
		}
	}
	return ""
}

// everyPair has each site send to each other one, all at once.
func (w *world) everyPair(sites []site) {
	w.Helper()
	var pairs sync.WaitGroup
	for _, from := range sites {
		for _, to := range sites {
			if from.n == to.n {
				continue
			}
			pairs.Go(func() {
				if err := between(from, to); err != nil {
					w.Errorf("host %d to host %d: %v", from.n, to.n, err)
				}
			})
		}
	}
	pairs.Wait()
}

// between sends everything that one site may send to another, over each family.
func between(from, to site) error {
	if err := transfer(from.fitting, to.fitting, siteTransfer, patience); err != nil {
		return fmt.Errorf("TCP: %w", err)
	}
	for _, addr := range families(to.fitting) {
		mtu := from.mtu
		if !addr.Is4() {
			mtu = from.mtu6
		}
		for _, l := range []letter{{"udp", 100, true}, {"udp", mtu, true}, {"icmp", 100, true}, {"icmp", mtu, true}} {
			if err := deliver(from.fitting, addr, l); err != nil {
				return err
			}
		}
		if err := oversize(from.unsuspecting, addr, mtu, from.mtu); err != nil {
			return err
		}
	}
	return nil
}

// siteTransfer is how many bytes each TCP transfer carries, each way.
const siteTransfer = 300_000

// oversize goes to the edge: one byte more than the MTU is answered with the MTU, and arrives in
// fragments where it may be cut; what fits to the byte arrives whole.
func oversize(from *netlab.Container, to netip.Addr, mtu, deviceMTU int) error {
	for _, size := range []int{mtu + 1, 1500} {
		told, err := tooBig(from, to, size)
		if err == nil && told == deviceMTU && told > mtu {
			// A user space host says in two steps what a family with longer headers takes: the device has one
			// MTU for both, and the forwarder knows the hop's.
			told, err = tooBig(from, to, told)
		}
		if err == nil && told != mtu {
			err = fmt.Errorf("to %v: the sender of a packet of %d bytes is told that the MTU is %d: want %d", to, size, told, mtu)
		}
		if err != nil {
			return err
		}
	}
	for _, l := range []letter{{"udp", mtu, true}, {"udp", mtu + 1, false}, {"icmp", mtu + 1, false}, {"udp", 4000, false}} {
		if err := deliver(from, to, l); err != nil {
			return err
		}
	}
	return nil
}

// refusedNothing asserts that host n dropped nothing that its peers sent: what U and K hosts put on the
// wire is the same.
func (w *world) refusedNothing(n int) {
	w.Helper()
	state, err := w.state(n)
	if err != nil {
		w.Fatal(err)
	}
	var refused []string
	for _, reason := range []string{"malformed", "spoofed_source", "unknown_peer", "bad_vni", "bad_mac", "not_local"} {
		if count := state.Drops[reason]; count != 0 {
			refused = append(refused, fmt.Sprintf("%s %d", reason, count))
		}
	}
	if len(refused) > 0 {
		w.Errorf("host %d (%s) dropped what its peers sent: %s", n, state.Datapath.Kind, strings.Join(refused, ", "))
	}
}

// The checks themselves can fail: a packet that comes back altered, and a path that takes everything.
func TestPacketChecks(t *testing.T) {
	if err := same([]byte("carried"), []byte("carved")); !errors.Is(err, errCorrupt) {
		t.Errorf("an altered packet: %v", err)
	}
	if err := same([]byte("carried"), []byte("carried")); err != nil {
		t.Error(err)
	}
}
