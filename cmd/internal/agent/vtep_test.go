package agent

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
)

// kernelOf is a kernel in memory with an underlay, and a vxlan device on it for each name given.
func kernelOf(t *testing.T, mac kernelmode.MAC, devices ...string) *kerneltest.Kernel {
	t.Helper()
	k := kerneltest.New()
	k.AddDevice("eth0", 1500, netip.MustParsePrefix("192.0.2.1/24"))
	for i, name := range devices {
		err := k.Do(kernelmode.Op{Verb: kernelmode.Add, Object: kernelmode.Link{Name: name, Kind: kernelmode.LinkVXLAN, MTU: 1450, Up: true, MAC: mac,
			VXLAN: kernelmode.VXLAN{VNI: uint32(i + 1), Port: 8472, Parent: "eth0", Local: netip.MustParseAddr("192.0.2.1")}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func memberOf(t *testing.T, k kernelmode.Kernel, dir string) *member {
	t.Helper()
	return &member{options: Options{StateDir: dir}, log: slog.New(slog.NewTextHandler(io.Discard, nil)), kernel: k,
		fabric: fabric{config: config(t, vxlan4), underlay: host("192.0.2.1", "")}}
}

// The VTEP's addresses are made once: the next run has the same, but for a device that stands with another.
func TestVTEPIsKept(t *testing.T) {
	dir := t.TempDir()
	first := memberOf(t, kernelOf(t, kernelmode.MAC{}), dir)
	if err := first.remember(); err != nil {
		t.Fatal(err)
	}
	if v := first.fabric.vtep; v.mac == v.mac6 || v.mac == (kernelmode.MAC{}) || v.mac[0]&3 != 2 {
		t.Errorf("addresses %v and %v", v.mac, v.mac6)
	}
	again := memberOf(t, kernelOf(t, kernelmode.MAC{}), dir)
	if err := again.remember(); err != nil || again.fabric.vtep != first.fabric.vtep {
		t.Errorf("the next run has %v, %v; want %v", again.fabric.vtep, err, first.fabric.vtep)
	}
	flannels := kernelmode.MAC{2, 1, 2, 3, 4, 5}
	beside := memberOf(t, kernelOf(t, flannels, "flannel.1"), dir)
	if err := beside.remember(); err != nil || beside.fabric.vtep.mac != flannels || beside.fabric.vtep.mac6 != first.fabric.vtep.mac6 {
		t.Errorf("with flannel's device: %v, %v", beside.fabric.vtep, err)
	}
	if err := os.WriteFile(keepsakePath(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := memberOf(t, kernelOf(t, kernelmode.MAC{}), dir)
	if err := broken.remember(); err != nil || broken.fabric.vtep.mac == (kernelmode.MAC{}) {
		t.Errorf("with a broken file: %v, %v", broken.fabric.vtep, err)
	}
}

// What was made is known to the next run, until it is gone.
func TestLeftovers(t *testing.T) {
	m := memberOf(t, kernelOf(t, kernelmode.MAC{}), t.TempDir())
	m.making([]string{"flannel.7", "flannel.ipip"})
	m.making([]string{"flannel.7"})
	next := memberOf(t, m.kernel, m.options.StateDir)
	if err := next.remember(); err != nil {
		t.Fatal(err)
	}
	if got := next.leftovers("flannel.1"); !slices.Equal(got, []string{"flannel.7", "flannel.ipip"}) {
		t.Errorf("leftovers %v", got)
	}
	next.removed([]string{"flannel.7"})
	if got := next.leftovers(); !slices.Equal(got, []string{"flannel.1", "flannel.ipip"}) {
		t.Errorf("leftovers %v, want flannel's own in the same network too", got)
	}
}

// No file has weft delete what is another's.
func FuzzKeepsake(f *testing.F) {
	for _, seed := range []string{`{}`, `{"mac":"02:00:00:00:00:01","devices":["flannel.1"]}`, `{"devices":["eth0"]}`, `{"devices":["flannel.1/../x"]}`, `[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseKeepsake(text)
		for _, d := range m.Devices {
			if err != nil || !strings.HasPrefix(d, "flannel") || strings.ContainsAny(d, "/ ") {
				t.Errorf("%q: device %q, %v", text, d, err)
			}
		}
	})
}
