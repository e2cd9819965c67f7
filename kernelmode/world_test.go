package kernelmode_test

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
	"weft/perf/netlab/labtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a network namespace, real or in memory, and the hands of another program in it.
type world interface {
	kernelmode.Kernel
	addTUN(t *testing.T, name string)
	// addUnderlay makes a device with these addresses, that carries frames to another end.
	addUnderlay(t testing.TB, name string, addresses ...string) kernelmode.Underlay
	deleteLink(t *testing.T, name string)
	byHand(t *testing.T, op kernelmode.Op)
	otherProgram(op kernelmode.Op) error // byHand, where it may fail
}

// inBothWorlds runs one body over the fake and over a namespace of its own.
func inBothWorlds(t *testing.T, body func(t *testing.T, w world)) {
	t.Run("memory", func(t *testing.T) { body(t, memory{kerneltest.New()}) })
	t.Run("linux", func(t *testing.T) { body(t, newReal(t)) })
}

type memory struct{ *kerneltest.Kernel }

func (m memory) addTUN(_ *testing.T, name string) { m.AddTUN(name, 1500) }

func (m memory) addUnderlay(_ testing.TB, name string, addresses ...string) kernelmode.Underlay {
	var prefixes []netip.Prefix
	for _, a := range addresses {
		prefixes = append(prefixes, prefix(a))
	}
	m.AddDevice(name, 1500, prefixes...)
	return m.underlayOf(name, addresses...)
}

// underlayOf is the Underlay that a device with these addresses makes.
func (memory) underlayOf(name string, addresses ...string) kernelmode.Underlay {
	u := kernelmode.Underlay{Name: name, Index: 2, MTU: 1500}
	var networks []netip.Prefix
	for _, a := range addresses {
		p := prefix(a)
		networks = append(networks, p.Masked())
		if p.Addr().Is4() {
			u.IPv4, u.PublicIP = p.Addr(), p.Addr()
		} else {
			u.IPv6, u.PublicIPv6 = p.Addr(), p.Addr()
		}
	}
	u.OnLink = kernelmode.NetworksOf(networks...)
	return u
}

func (m memory) deleteLink(t *testing.T, name string) { must(t, m.DeleteLink(name)) }

func (m memory) byHand(t *testing.T, op kernelmode.Op) { t.Helper(); must(t, m.ByHand(op)) }

func (m memory) otherProgram(op kernelmode.Op) error { return m.ByHand(op) }

type real struct {
	*kernelmode.Netlink
	hand *kernelmode.Netlink // a second socket: another program
}

// newReal makes a namespace that lives as long as the descriptors of the two Netlinks.
func newReal(t testing.TB) *real {
	t.Helper()
	labtest.Need(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	ns, err := netns.New()
	must(t, err)
	defer ns.Close()
	defer func() { must(t, netns.Set(home)) }()
	w := &real{}
	for _, k := range []**kernelmode.Netlink{&w.Netlink, &w.hand} {
		*k, err = kernelmode.Open()
		must(t, err)
		t.Cleanup(func() { (*k).Close() })
	}
	return w
}

// addTUN opens a TUN whose descriptor the test holds, as the agent does.
func (r *real) addTUN(t *testing.T, name string) {
	t.Helper()
	must(t, r.hand.Run(func() error {
		tun := &netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: unix.IFF_TUN, Flags: unix.IFF_NO_PI,
			NonPersist: true, Queues: 1,
		}
		if err := netlink.LinkAdd(tun); err != nil {
			return err
		}
		for _, fd := range tun.Fds {
			t.Cleanup(func() { fd.Close() })
		}
		return nil
	}))
}

// addUnderlay makes a cable whose other end, far0, is in the same namespace, and the default routes of the
// captured hosts.
func (r *real) addUnderlay(t testing.TB, name string, addresses ...string) kernelmode.Underlay {
	t.Helper()
	s := kernelmode.Selection{Interfaces: []string{name}}
	must(t, r.hand.Run(func() error {
		cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}, PeerName: "far0"}
		must(t, netlink.LinkAdd(cable))
		far, err := netlink.LinkByName("far0")
		must(t, err)
		must(t, errors.Join(netlink.LinkSetUp(far), netlink.LinkSetUp(cable)))
		for _, text := range addresses {
			a, err := netlink.ParseAddr(text)
			must(t, err)
			far, end := prefix(text).Addr().Prev(), prefix(text).Masked().Addr().Next()
			if far == end.Prev() {
				far = prefix(text).Addr().Next()
			}
			if far.Is6() {
				a.Flags, s.IPv6 = unix.IFA_F_NODAD, true
			} else {
				s.IPv4 = true
			}
			must(t, netlink.AddrAdd(cable, a))
			must(t, netlink.RouteAdd(&netlink.Route{Gw: far.AsSlice(), LinkIndex: cable.Index}))
		}
		return nil
	}))
	u, err := kernelmode.SelectInterface(r, s)
	must(t, err)
	return u
}

func (r *real) deleteLink(t *testing.T, name string) {
	t.Helper()
	must(t, r.hand.Run(func() error {
		link, err := netlink.LinkByName(name)
		return errors.Join(err, netlink.LinkDel(link))
	}))
}

func (r *real) byHand(t *testing.T, op kernelmode.Op) { t.Helper(); must(t, r.hand.Do(op)) }

func (r *real) otherProgram(op kernelmode.Op) error { return r.hand.Do(op) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal compares rendered states.
func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	equal(t, file, got, string(want))
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	start := time.Now()
	for deadline := start.Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Logf("%s: after %v", what, time.Since(start).Round(time.Millisecond))
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// dualStack is the host ha of the captured flannel state, with an IPv6 network beside it.
func dualStack() kernelmode.Userspace {
	return kernelmode.Userspace{
		MTU: 1500 - kernelmode.OverheadUDP4, Revision: 7, Forwarding: true,
		Network: prefix("10.244.0.0/16"), Subnet: prefix("10.244.79.0/24"),
		Network6: prefix("fd10:244::/48"), Subnet6: prefix("fd10:244:0:34::/64"),
	}
}

func plan(t *testing.T, u kernelmode.Userspace) kernelmode.State {
	t.Helper()
	s, err := kernelmode.UserspacePlan(u)
	must(t, err)
	return s
}

// look reads what the wanted state covers.
func look(t *testing.T, k kernelmode.Kernel, want kernelmode.State) kernelmode.State {
	t.Helper()
	have, err := k.Read(kernelmode.ScopeOf(want))
	must(t, err)
	return have
}
