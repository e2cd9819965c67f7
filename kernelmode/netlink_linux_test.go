package kernelmode_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/kernelmode"
	"weft/perf/netlab/labtest"
)

// A route put in front of weft's takes effect, while weft's is still there: only an order-aware look
// notices (`ip route prepend`).
func TestReconcilerRepairsAPrependedRoute(t *testing.T) {
	w := newReal(t)
	w.addTUN(t, "weft0")
	want := plan(t, dualStack())
	_, err := kernelmode.Apply(w, want)
	must(t, err)
	must(t, w.hand.Run(func() error {
		lo, err := netlink.LinkByName("lo")
		must(t, err)
		must(t, netlink.LinkSetUp(lo))
		dst, err := netlink.ParseIPNet("10.244.0.0/16")
		must(t, err)
		return netlink.RouteAddEcmp(&netlink.Route{Dst: dst, LinkIndex: lo.Attrs().Index, Protocol: unix.RTPROT_BOOT})
	}))
	if len(kernelmode.Diff(want, look(t, w, want))) == 0 {
		t.Fatal("the route in front wasn't noticed")
	}
	_, err = kernelmode.Apply(w, want)
	must(t, err)
	have := look(t, w, want)
	if len(have.Routes) != 2 || have.Routes[0] != want.Routes[0] {
		t.Errorf("routes afterwards: %v", have.Routes)
	}
}

// peers plans what a kernel datapath lays out for n peers on a device that is there.
func peers(dev string, n int) kernelmode.State {
	s := kernelmode.State{Owns: kernelmode.Ownership{Networks: []netip.Prefix{prefix("10.0.0.0/8")}}}
	s.Links = []kernelmode.Link{{Name: dev, Kind: "vxlan", MTU: 1450, Up: true, VXLAN: kernelmode.VXLAN{VNI: 1, Port: 8472}}}
	// Without any address a namespace has no local table, and every gateway is invalid to it.
	s.Addresses = []kernelmode.Address{{Dev: dev, Prefix: prefix("10.255.0.0/32")}}
	for i := range n {
		base := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		mac := kernelmode.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
		s.Neighbours = append(s.Neighbours, kernelmode.Neighbour{Dev: dev, IP: base, MAC: mac})
		s.FDB = append(s.FDB, kernelmode.FDBEntry{Dev: dev, MAC: mac, Dst: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})})
		s.Routes = append(s.Routes, kernelmode.Route{
			Dst: netip.PrefixFrom(base, 24), Via: base, Dev: dev, Onlink: true, Protocol: kernelmode.RouteProtocol,
		})
	}
	return s
}

// addVXLAN makes the device whose neighbours and entries the tests lay out.
func addVXLAN(tb testing.TB, w *real, name string) {
	tb.Helper()
	err := w.hand.Run(func() error {
		link := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: name}, VxlanId: 1, Port: 8472, Learning: false}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func TestApplyPeersOnAVXLANDevice(t *testing.T) {
	w := newReal(t)
	addVXLAN(t, w, "kmvx")
	want := peers("kmvx", 5)
	installed, err := kernelmode.Apply(w, want)
	must(t, err)
	want.Links = installed.Links // with what it had of its own
	equal(t, "installed", installed.String(), want.String())

	// One moved to another host, one left.
	fewer := peers("kmvx", 4)
	fewer.FDB[0].Dst = addr("198.51.100.1")
	fewer.Neighbours[1].MAC = kernelmode.MAC{2, 9, 9, 9, 9, 9}
	installed, err = kernelmode.Apply(w, fewer)
	must(t, err)
	fewer.Links = installed.Links
	equal(t, "installed after the change", installed.String(), fewer.String())
	if ops := kernelmode.Diff(fewer, look(t, w, fewer)); len(ops) != 0 {
		t.Errorf("left to do: %v", ops)
	}
}

// Two Kernels, one thread: each stays in its own namespace, sysctls included.
func TestNetlinkStaysInItsNamespace(t *testing.T) {
	a, b := newReal(t), newReal(t)
	on := kernelmode.State{}.With(kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "1"})
	off := kernelmode.State{}.With(kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "0"})
	for _, step := range []struct {
		w    *real
		want kernelmode.State
	}{{a, on}, {b, on}, {b, off}} {
		_, err := kernelmode.Apply(step.w, step.want)
		must(t, err)
	}
	if got := look(t, a, on); len(got.Sysctls) != 1 || got.Sysctls[0].Value != "1" {
		t.Errorf("first namespace: %v, want 1", got.Sysctls)
	}
	a.addTUN(t, "weft0")
	if all, err := b.Interfaces(); err != nil || len(all) != 1 {
		t.Errorf("second namespace has %v, %v; want lo alone", all, err)
	}
}

func TestApplySysctlThatIsNotThere(t *testing.T) {
	w := newReal(t)
	_, err := kernelmode.Apply(w, kernelmode.State{}.With(kernelmode.Sysctl{Name: "net/ipv4/no_such", Value: "1"}))
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "no such parameter") {
		t.Errorf("error %v, want ENOENT with its remedy", err)
	}
}

// /proc/sys is read-only in most containers, here through a mount namespace that ends with its thread.
func TestApplySysctlReadOnly(t *testing.T) {
	labtest.Need(t)
	result := make(chan [2]error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is spoilt for others
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_NEWNET),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""),
			unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		k, openErr := kernelmode.Open()
		if err := errors.Join(err, openErr); err != nil {
			result <- [2]error{err, nil}
			return
		}
		defer k.Close()
		_, set := kernelmode.Apply(k, kernelmode.State{}.With(kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "1"}))
		_, already := kernelmode.Apply(k, kernelmode.State{}.With(kernelmode.Sysctl{Name: "net/ipv4/ip_forward", Value: "0"}))
		result <- [2]error{set, already}
	}()
	errs := <-result
	if !errors.Is(errs[0], syscall.EROFS) || !strings.Contains(errs[0].Error(), "docker run --sysctl net.ipv4.ip_forward=1") {
		t.Errorf("error %v, want EROFS with its remedy", errs[0])
	}
	if errs[1] != nil {
		t.Errorf("error %v for a parameter that has its value already", errs[1])
	}
}

func BenchmarkApplyPeers(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newReal(b)
				addVXLAN(b, w, "kmvx")
				b.StartTimer()
				if _, err := kernelmode.Apply(w, peers("kmvx", n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
