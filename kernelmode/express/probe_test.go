package express_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/kernelmode/express"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// newHost is one host of a lab of its own.
func newHost(t *testing.T) *netlab.Host {
	t.Helper()
	labtest.NeedTUN(t)
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "probe", Hosts: 1, MTU: 1500})
	must(t, err)
	t.Cleanup(func() { must(t, lab.Close()) })
	return lab.Host(1)
}

func TestProbeLeavesNothing(t *testing.T) {
	must(t, newHost(t).Do(func() error {
		obstacle, limit := express.Probe("")
		t.Logf("obstacle: %v, limit: %v", obstacle, limit)
		links, err := netlink.LinkList()
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "weftprobe") {
				t.Errorf("device %s is left", l.Attrs().Name)
			}
		}
		if obstacle != nil {
			return obstacle
		}
		return err
	}))
}

// TestProbeNamesWhatIsMissing: without capabilities the kernel refuses, and the answer says which to give.
func TestProbeNamesWhatIsMissing(t *testing.T) {
	must(t, newHost(t).Do(func() error {
		// The thread ends with this function, and its capabilities with it.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		obstacle, _ := express.Probe("")
		if obstacle == nil || !strings.Contains(obstacle.Error(), "CAP_BPF") {
			t.Errorf("without capabilities Probe says %v", obstacle)
		}
		return nil
	}))
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byUserspace}})
	n := w.nodes[0]
	for _, test := range []struct {
		want   string
		change func(*express.Config)
	}{
		{"name both", func(c *express.Config) { c.Underlay = "" }},
		{"underlay nowhere", func(c *express.Config) { c.Underlay = "nowhere" }},
		{"needs a TUN device", func(c *express.Config) { c.Device = "eth0" }},
		{"writes Ethernet headers", func(c *express.Config) { c.Underlay = tun }},
		{"give UDPPort, VXLANPort or IPIP", func(c *express.Config) { c.UDPPort = 0 }},
		{"give Outer4 or Outer6", func(c *express.Config) { c.Outer4, c.Outer6 = noAddr, noAddr }},
		{"use 576 to 65535", func(c *express.Config) { c.MTU = 0 }},
		{"a VNI has 24 bits", func(c *express.Config) { c.VNI = 1 << 24 }},
		{"use an IPv4 range", func(c *express.Config) { c.SubnetLen = 8 }},
		{"one of each family", func(c *express.Config) { c.Local = append(c.Local, c.Local...) }},
	} {
		c := w.config(n)
		test.change(&c)
		must(t, n.host.Do(func() error {
			l, err := express.Open(c)
			if err == nil {
				t.Errorf("%q: opened", test.want)
				return l.Close(true)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q doesn't say %q", err, test.want)
			}
			return nil
		}))
	}
}
