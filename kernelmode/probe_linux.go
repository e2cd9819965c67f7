package kernelmode

import (
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// probePrefix begins the names of devices that Probe makes; eight hexadecimal digits follow.
const probePrefix = "weftpr"

// Probe finds out by trying whether this process can have a feature in the network namespace of the
// calling thread. It makes a device with a random name, down and without any address, and deletes it
// at once; what an earlier Probe left when it was killed goes too. A module may get loaded by that,
// which for ipip makes the kernel add its own tunl0.
func Probe(f Feature) Capability {
	at, err := attemptFeature(f)
	if err == nil {
		return judge(f, at, nil, surroundings{})
	}
	return judge(f, at, err, look(f))
}

// Probe is the package's Probe in the Netlink's network namespace.
func (k *Netlink) Probe(f Feature) Capability {
	c := judge(f, stepSocket, errors.ErrUnsupported, surroundings{})
	if err := k.within(func() error { c = Probe(f); return nil }); err != nil {
		c.Err = err
	}
	return c
}

func attemptFeature(f Feature) (step, error) {
	if f == FeatureTUN {
		return tryTUN()
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return stepSocket, err
	}
	defer handle.Close()
	sweepProbes(handle)
	for tries := 0; ; tries++ {
		attrs := netlink.LinkAttrs{Name: probeName(), TxQLen: -1, NetNsID: -1}
		var device netlink.Link = &netlink.Iptun{LinkAttrs: attrs, Local: []byte{127, 0, 0, byte(2 + rand.N(250))}}
		if f == FeatureVXLAN {
			device = &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1 + rand.IntN(1<<24-1), Port: DefaultVXLANPort}
		}
		err := handle.LinkAdd(device)
		if errors.Is(err, unix.EEXIST) && tries < maxReads { // the number is taken, not the kind
			continue
		}
		if err == nil {
			if err = handle.LinkDel(device); errors.Is(err, unix.ENODEV) {
				err = nil // another Probe swept it
			}
		}
		return stepDevice, err
	}
}

func probeName() string { return probePrefix + strconv.FormatUint(uint64(rand.Uint32())|1<<31, 16) }

// sweepProbes deletes what a killed Probe left. One that runs just now gets ENODEV, which it minds not.
func sweepProbes(handle *netlink.Handle) {
	links, err := handle.LinkList()
	if err != nil {
		return
	}
	for _, l := range links {
		attrs := l.Attrs()
		if strings.HasPrefix(attrs.Name, probePrefix) && LinkKind(l.Type()).made() && attrs.Flags&unix.IFF_UP == 0 {
			handle.LinkDel(l)
		}
	}
}

// tryTUN attaches to a TUN that goes with the descriptor.
func tryTUN() (step, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return stepNode, err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(probeName())
	if err != nil {
		return stepDevice, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return stepDevice, unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

// look gathers what tells equal error numbers apart. What can't be read stays at its zero value.
func look(f Feature) surroundings {
	var s surroundings
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		s.release = unix.ByteSliceToString(name.Release[:])
	}
	text, _ := os.ReadFile("/proc/thread-self/status")
	effective, _ := strconv.ParseUint(status(string(text), "CapEff"), 16, 64)
	s.netAdmin = effective&(1<<unix.CAP_NET_ADMIN) != 0
	s.filtered = status(string(text), "Seccomp") == "2"
	users, _ := os.ReadFile("/proc/self/uid_map")
	s.initialUser = strings.Join(strings.Fields(string(users)), " ") == "0 0 4294967295"
	disabled, err := os.ReadFile("/proc/sys/kernel/modules_disabled")
	s.noLoading = errors.Is(err, os.ErrNotExist) || strings.TrimSpace(string(disabled)) == "1"
	s.builtIn = configured(kernelConfig(s.release), symbols[f])
	for _, file := range []string{"modules.dep", "modules.builtin"} {
		list, err := os.ReadFile(filepath.Join("/lib/modules", s.release, file))
		s.indexed = s.indexed || err == nil
		s.inside = s.inside || strings.Contains(string(list), "/"+string(f)+".ko")
	}
	return s
}

// kernelConfig returns the text of the running kernel's config; "" where it isn't published.
func kernelConfig(release string) string {
	if file, err := os.Open("/proc/config.gz"); err == nil {
		defer file.Close()
		if unzip, err := gzip.NewReader(file); err == nil {
			text, _ := io.ReadAll(unzip)
			return string(text)
		}
	}
	text, _ := os.ReadFile("/boot/config-" + release)
	return string(text)
}
