package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
	"weft/tunnel"
)

// Hosts whose superpackets leave whole.
var (
	wholeVXLAN = withOutlet(fastVXLAN)
	wholeMany  = withOutlet(manyVXLAN)
	wholeGUE   = withOutlet(gue)
)

func withOutlet(v variant) variant {
	v.name, v.outlet = v.name+", whole", true
	return v
}

// needOutlets skips a test on a kernel before 6.17, and fails it elsewhere.
func needOutlets(t *testing.T) {
	t.Helper()
	labtest.NeedTUN(t)
	err := outletsHere()
	if err == nil {
		return
	}
	var kernel unix.Utsname
	unix.Uname(&kernel)
	var major, minor int
	fmt.Sscanf(unix.ByteSliceToString(kernel.Release[:]), "%d.%d", &major, &minor)
	if major > 6 || major == 6 && minor >= 17 {
		t.Fatal(err)
	}
	t.Skip(err)
}

// outletsHere tries to open one.
func outletsHere() error {
	outlets, err := tunnel.OpenOutlets("wefttest%d", "lo", 1)
	if err == nil {
		err = outlets[0].Close()
	}
	return err
}

// openOutlets gives each worker its share of the host's outlet device.
func (n *node) openOutlets() error {
	outlets, err := tunnel.OpenOutlets("weftout%d", n.host.Device(), len(n.workers))
	for i, o := range outlets {
		n.workers[i].Outlet = o
	}
	return err
}

// leftWhole returns how many superpackets have gone through the host's outlets.
func (n *node) leftWhole(t *testing.T) (packets uint64) {
	t.Helper()
	if err := onOutlet(n.host, func(device netlink.Link) error {
		packets = device.Attrs().Statistics.RxPackets
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return packets
}

func onOutlet(h *netlab.Host, f func(netlink.Link) error) error {
	return h.Do(func() error {
		device, err := netlink.LinkByName("weftout0")
		if err != nil {
			return err
		}
		return f(device)
	})
}

// TestSuperpacketsLeaveWhole: every pair of hosts carries everything, to kernel peers and to peers in user space, over
// an underlay that passes superpackets and over one in front of which the kernel segments.
func TestSuperpacketsLeaveWhole(t *testing.T) {
	needOutlets(t)
	for _, mix := range []struct {
		name      string
		variants  []variant
		segmented bool
		six       bool // IPv6 alone, outside too
		whole     bool // superpackets use the outlet
	}{
		{"VXLAN", []variant{wholeVXLAN, kernelVXLAN, wholeMany}, false, false, true},
		{"VXLAN, segmented", []variant{wholeVXLAN, kernelVXLAN, wholeMany}, true, false, true},
		{"VXLAN to portable", []variant{wholeVXLAN, slowVXLAN}, false, false, true},
		{"VXLAN over IPv6", []variant{wholeVXLAN, kernelVXLAN}, false, true, true},
		{"VXLAN over IPv6, segmented", []variant{wholeVXLAN, kernelVXLAN}, true, true, true},
		{"GUE", []variant{wholeGUE, gue, wholeGUE}, false, false, true},
		{"GUE over IPv6", []variant{wholeGUE, gue}, false, true, true},
		{"GUE, segmented", []variant{wholeGUE, gue}, true, false, false},
		{"headerless", []variant{withOutlet(fast), slow}, false, false, false},
	} {
		t.Run(mix.name, func(t *testing.T) {
			f := testEverythingCrosses(t, fabricSpec{
				variants: mix.variants, hosts: len(mix.variants), inner4: !mix.six, inner6: true, outer6: mix.six, segmented: mix.segmented,
			})
			n := f.nodes[0]
			if got := n.leftWhole(t); (got > 0) != mix.whole {
				t.Errorf("%d superpackets left whole, want any: %v", got, mix.whole)
			}
			for _, n := range f.nodes {
				for i, w := range n.workers {
					if w.Outlet != nil && w.Outlet.LoweredBy() != "" {
						t.Errorf("host %d, worker %d: %s", n.host.Number, i, w.Outlet.LoweredBy())
					}
				}
			}
		})
	}
}

// TestWholeSuperpacketsFollowAShrinkingPath: the outlet's program sees what the kernel has learnt of the path, and says
// so before anything is lost on it.
func TestWholeSuperpacketsFollowAShrinkingPath(t *testing.T) {
	needOutlets(t)
	for i, s := range shrinkings {
		for _, outer6 := range []bool{false, true} {
			v := []variant{wholeGUE, wholeVXLAN}[i%2]
			if outer6 {
				v = wholeGUE // IPv4 in IPv6, which VXLAN isn't laid out for
			}
			t.Run(fmt.Sprintf("%s, %s over %s", s.name, v.name, family(outer6)), func(t *testing.T) {
				followsAShrinkingPath(t, fabricSpec{variants: []variant{v}, hosts: 2, topology: s.topology, outer6: outer6, inner4: true, mtu: wide}, s)
			})
		}
	}
}

func followsAShrinkingPath(t *testing.T, spec fabricSpec, s shrinking) {
	f := build(t, spec)
	stream, err := openTCP(t.Context(), f.nodes[0].container, f.nodes[1].container, f.nodes[1].container.Addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	shrinkInTheMiddle(t, f, s, stream)
	if f.nodes[0].leftWhole(t) == 0 {
		t.Error("no superpacket left whole")
	}
	f.checkRefusals(t)
	f.checkChecksums(t)
}

// TestOutletGoesOffUnderTraffic takes the outlet's device down in the middle of a stream, which goes on.
func TestOutletGoesOffUnderTraffic(t *testing.T) {
	needOutlets(t)
	f := build(t, fabricSpec{variants: []variant{wholeVXLAN, kernelVXLAN}, hosts: 2, inner4: true})
	stream, err := openTCP(t.Context(), f.nodes[0].container, f.nodes[1].container, f.nodes[1].container.Addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.close()
	sending, enough := context.WithCancel(t.Context())
	all, running := errgroup.WithContext(t.Context())
	all.Go(func() error { return stream.send(sending, 0) })
	all.Go(stream.receive)
	all.Go(func() error {
		defer enough()
		waitFor(running, func() bool { return stream.gotBytes.Load() >= 8<<20 })
		if err := onOutlet(f.nodes[0].host, netlink.LinkSetDown); err != nil {
			return err
		}
		then := stream.gotBytes.Load()
		waitFor(running, func() bool { return stream.gotBytes.Load() >= then+16<<20 })
		return nil
	})
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if why := f.nodes[0].workers[0].Outlet.LoweredBy(); !strings.Contains(why, unix.EIO.Error()) {
		t.Errorf("lowered by %q, want the device's EIO", why)
	}
	f.checkRefusals(t)
	f.checkChecksums(t)
}

// TestOutletsYieldToIPsec: what IPsec is to protect must not leave past it.
func TestOutletsYieldToIPsec(t *testing.T) {
	needOutlets(t)
	f := build(t, fabricSpec{variants: []variant{wholeVXLAN}, hosts: 2, inner4: true})
	n := f.nodes[0]
	err := n.host.Do(func() error {
		err := netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{
			Src: prefixNet(network4), Dst: prefixNet(network4), Dir: netlink.XFRM_DIR_OUT, Action: netlink.XFRM_POLICY_BLOCK,
		})
		if err != nil {
			return fmt.Errorf("adding an IPsec policy: %w", err)
		}
		_, err = tunnel.OpenOutlets("wefttest%d", "lo", 1)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "IPsec") {
		t.Errorf("opened beside an IPsec policy: %v", err)
	}
	n.workers[0].Outlet.Recheck()
	if why := n.workers[0].Outlet.LoweredBy(); !strings.Contains(why, "IPsec") {
		t.Errorf("lowered by %q, want the policy", why)
	}
}

// TestOutletsNoticeWhatTheUnderlayPasses switches the underlay's offloads off and on beneath a running host.
func TestOutletsNoticeWhatTheUnderlayPasses(t *testing.T) {
	needOutlets(t)
	f := build(t, fabricSpec{variants: []variant{wholeGUE}, hosts: 2, inner4: true})
	o := f.nodes[0].workers[0].Outlet
	for _, segmented := range []bool{false, true, false} {
		if err := f.lab.SetSegmentation(segmented); err != nil {
			t.Fatal(err)
		}
		o.Recheck() // on a thread of another namespace
		if o.Whole() == segmented {
			t.Errorf("whole: %v on an underlay that segments: %v", o.Whole(), segmented)
		}
	}
}

// TestSegmentsOfWholeSuperpacketsStayInOrder: what the kernel segments in front of a veth keeps its order through GRO on the
// other end. The last segment of each overtook the others as long as it belonged to the outlet's socket.
func TestSegmentsOfWholeSuperpacketsStayInOrder(t *testing.T) {
	needOutlets(t)
	for _, six := range []bool{false, true} {
		t.Run("over "+family(six), func(t *testing.T) {
			f := build(t, fabricSpec{variants: []variant{wholeVXLAN, kernelVXLAN}, hosts: 2, inner4: !six, inner6: six, outer6: six, segmented: true, topology: netlab.Direct})
			to := f.nodes[1].container
			before := overtaken(t, to)
			f.transfer(t, 0, 1, six, 64<<20)
			whole, late := f.nodes[0].leftWhole(t), overtaken(t, to)-before
			if whole == 0 || late > whole/8 { // a thread that changes cores may bring some out of order
				t.Errorf("of %d superpackets that left whole, %d came out of order", whole, late)
			}
		})
	}
}

// overtaken is how often a container's TCP has queued what came ahead of something else.
func overtaken(t *testing.T, c *netlab.Container) (n uint64) {
	t.Helper()
	err := c.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/netstat")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if at := slices.Index(names, "TCPOFOQueue"); at > 0 && len(fields) == len(names) && fields[0] == names[0] {
				n, err = strconv.ParseUint(fields[at], 10, 64)
				return err
			}
			names = fields
		}
		return errors.New("no TCPOFOQueue in /proc/net/netstat")
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
