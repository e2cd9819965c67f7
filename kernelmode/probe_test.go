package kernelmode_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/kernelmode"
	"weft/perf/netlab/labtest"
)

// Each way to be without a feature has a word of its own, and a sentence that helps.
func TestJudge(t *testing.T) {
	able := kernelmode.Surroundings{Release: "6.1.0-13-amd64", NetAdmin: true, InitialUser: true}
	with := func(change func(*kernelmode.Surroundings)) kernelmode.Surroundings { s := able; change(&s); return s }
	for _, c := range []struct {
		what  string
		at    kernelmode.Step
		err   error
		s     kernelmode.Surroundings
		word  kernelmode.Obstacle
		claim string
	}{
		{"it works", kernelmode.StepDevice, nil, able, "", ""},
		{"built without, says the config", kernelmode.StepDevice, syscall.EOPNOTSUPP, with(func(s *kernelmode.Surroundings) { s.BuiltIn = "n" }), kernelmode.NoModule, "linux-modules-extra-6.1.0-13-amd64"},
		{"not among the modules", kernelmode.StepDevice, syscall.EOPNOTSUPP, with(func(s *kernelmode.Surroundings) { s.Indexed = true }), kernelmode.NoModule, "without ipip"},
		{"there and not loaded", kernelmode.StepDevice, syscall.EOPNOTSUPP, with(func(s *kernelmode.Surroundings) { s.Indexed, s.Inside = true, true }), kernelmode.ModuleUnheard, "/etc/modprobe.d"},
		{"in a container", kernelmode.StepDevice, syscall.EOPNOTSUPP, able, kernelmode.ModuleUnheard, "`modprobe ipip` on the host"},
		{"loading switched off", kernelmode.StepDevice, syscall.EOPNOTSUPP, with(func(s *kernelmode.Surroundings) { s.NoLoading, s.BuiltIn = true, "m" }), kernelmode.ModuleUnheard, "loads no modules any more"},
		{"no capability", kernelmode.StepDevice, syscall.EPERM, with(func(s *kernelmode.Surroundings) { s.NetAdmin = false }), kernelmode.NoPrivilege, "--cap-add NET_ADMIN"},
		{"filter on the message", kernelmode.StepDevice, syscall.EPERM, with(func(s *kernelmode.Surroundings) { s.Filtered = true }), kernelmode.Filtered, "RTM_NEWLINK"},
		{"somebody else's namespace", kernelmode.StepDevice, syscall.EPERM, with(func(s *kernelmode.Surroundings) { s.InitialUser = false }), kernelmode.NoPrivilege, "another user namespace"},
		{"security module", kernelmode.StepDevice, syscall.EACCES, able, kernelmode.Filtered, "SELinux"},
		{"filter on the socket", kernelmode.StepSocket, syscall.EPERM, able, kernelmode.Filtered, "forbids netlink sockets"},
		{"no such call", kernelmode.StepSocket, syscall.ENOSYS, able, kernelmode.Filtered, "netlink sockets"},
		{"kernel in user space", kernelmode.StepDevice, syscall.ENOSYS, able, kernelmode.Filtered, "gVisor"},
		{"no node", kernelmode.StepNode, syscall.ENOENT, able, kernelmode.NoDeviceNode, "--device /dev/net/tun"},
		{"node forbidden", kernelmode.StepNode, syscall.EPERM, able, kernelmode.NodeForbidden, "device rules"},
		{"node without a driver", kernelmode.StepNode, syscall.ENODEV, able, kernelmode.ModuleUnheard, "modprobe tun"},
		{"anything else", kernelmode.StepDevice, syscall.ENOMEM, able, kernelmode.OtherObstacle, "dmesg"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := kernelmode.Judge(kernelmode.FeatureIPIP, c.at, c.err, c.s)
			if got.Obstacle != c.word || !strings.Contains(got.Remedy, c.claim) || got.OK() != (c.err == nil) {
				t.Errorf("%+v, want %q and %q", got, c.word, c.claim)
			}
			if c.err != nil && (!errors.Is(got.Err, c.err) || !strings.Contains(got.String(), c.err.Error())) {
				t.Errorf("%s doesn't say %v", got, c.err)
			}
		})
	}
}

func TestConfigured(t *testing.T) {
	config := "CONFIG_VXLAN=y\n# CONFIG_NET_IPIP is not set\nCONFIG_NET_IPIP_X=m\nCONFIG_TUN=m\n"
	for symbol, want := range map[string]string{"CONFIG_VXLAN": "y", "CONFIG_NET_IPIP": "n", "CONFIG_TUN": "m", "CONFIG_FOU": ""} {
		if got := kernelmode.Configured(config, symbol); got != want {
			t.Errorf("%s is %q, want %q", symbol, got, want)
		}
	}
}

// What Probe says is what then happens, whichever way that is on this machine.
func TestProbeTellsTheTruth(t *testing.T) {
	w := newReal(t)
	for f, link := range map[kernelmode.Feature]netlink.Link{
		kernelmode.FeatureVXLAN: &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "kmpv"}, VxlanId: 9, Port: 8472},
		kernelmode.FeatureIPIP:  &netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "kmpi"}, Local: []byte{127, 0, 0, 1}},
	} {
		c := w.Probe(f)
		t.Log(c)
		err := w.hand.Run(func() error { return netlink.LinkAdd(link) })
		if c.OK() != (err == nil) || c.OK() != (c.Remedy == "") {
			t.Errorf("probing says %+v, and making one: %v", c, err)
		}
		if err == nil {
			w.deleteLink(t, link.Attrs().Name)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err == nil {
		if c := w.Probe(kernelmode.FeatureTUN); !c.OK() {
			t.Errorf("no TUN: %v", c)
		}
	}
}

// Nothing stays, not even what a killed Probe left, and nothing else goes.
func TestProbeLeavesNothing(t *testing.T) {
	w := newReal(t)
	must(t, w.hand.Run(func() error {
		left := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "weftprdeadbeef"}, VxlanId: 7, Port: 8472}
		up := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "weftprivate", Flags: 1}, VxlanId: 8, Port: 8473}
		return errors.Join(netlink.LinkAdd(left), netlink.LinkAdd(up))
	}))
	for range 20 {
		for _, f := range []kernelmode.Feature{kernelmode.FeatureVXLAN, kernelmode.FeatureIPIP, kernelmode.FeatureTUN} {
			w.Probe(f)
		}
	}
	all, err := w.Interfaces()
	must(t, err)
	var names []string
	for _, i := range all {
		if i.Name != "tunl0" { // the ipip module's own
			names = append(names, i.Name)
		}
	}
	if got := strings.Join(names, " "); got != "lo weftprivate" {
		t.Errorf("devices afterwards: %s", got)
	}
}

// A process without CAP_NET_ADMIN is told so: here a thread that gave it up, and ends with the test.
func TestProbeWithoutTheCapability(t *testing.T) {
	labtest.Need(t)
	result := make(chan [2]kernelmode.Capability)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is spoilt for others
		var head = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Capget(&head, &data[0])
		}
		for i := range data {
			data[i].Effective = 0
		}
		if err == nil {
			err = unix.Capset(&head, &data[0])
		}
		if err != nil {
			failed <- fmt.Errorf("giving up capabilities: %w", err)
			return
		}
		result <- [2]kernelmode.Capability{kernelmode.Probe(kernelmode.FeatureVXLAN), kernelmode.Probe(kernelmode.FeatureTUN)}
	}()
	select {
	case err := <-failed:
		t.Fatal(err)
	case got := <-result:
		for _, c := range got {
			if c.Obstacle != kernelmode.NoPrivilege || !strings.Contains(c.String(), "--cap-add NET_ADMIN") {
				t.Errorf("without CAP_NET_ADMIN: %+v", c)
			}
		}
	}
}
