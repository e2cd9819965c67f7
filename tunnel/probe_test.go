package tunnel

import (
	"strings"
	"syscall"
	"testing"
)

// What probes write must be what the kernel takes for a superpacket, and must go no further than that.
func TestProbeSuperpacketsAreWellFormedAndDropped(t *testing.T) {
	for _, c := range []struct {
		kind           GSOKind
		segments, tail int
	}{{GSOTCP4, 3, 50}, {GSOTCP4, 3, 1}, {GSOUDP, 3, 0}, {GSOUDP, udpSegmentsOld + 1, 0}} {
		var p Packet
		b := probeSuperpacket(c.kind, c.segments, 100, c.tail)
		if !decodePacket(&p, b) || p.GSO.Kind != c.kind {
			t.Fatalf("%+v: header and packet contradict each other", c)
		}
		h, ok := parseHeaders(p.Data)
		if !ok || len(p.Data)-h.all != c.segments*100+c.tail {
			t.Errorf("%+v: %d bytes of payload", c, len(p.Data)-h.all)
		}
		if naiveSum(p.Data[:ipv4HeaderLen]) == 0 {
			t.Errorf("%+v: the IP checksum is right, so the stack would route the packet", c)
		}
	}
}

func TestProbeVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		on   bool
		says string
	}{
		{"all taken", judgeTSO(0, 0), true, ""},
		{"no TSO", judgeTSO(syscall.EINVAL, syscall.EINVAL), false, "one by one"},
		{"short tail refused", judgeTSO(0, syscall.EINVAL), true, "6.6.44"},
		{"short tail fails", judgeTSO(0, syscall.ENOMEM), false, "one by one"},
		{"USO", judgeUSO(0, 0), true, ""},
		{"USO with 64 segments", judgeUSO(0, syscall.EINVAL), true, "6.9"},
		{"no USO", judgeUSO(syscall.EINVAL, syscall.EINVAL), false, "one by one"},
	} {
		r := rung("x", Auto, func() error { return c.err })
		if r.On != c.on || !strings.Contains(r.Why, c.says) || (c.says == "") != (r.Why == "") {
			t.Errorf("%s: %+v, want on %v and %q", c.name, r, c.on, c.says)
		}
	}
	off := rung("tso", Off, func() error { t.Error("a rung that is off was tried"); return nil })
	if off.On || !strings.Contains(off.Why, "--offload-tso") {
		t.Errorf("switched off: %+v", off)
	}
}

func TestModeFlag(t *testing.T) {
	for _, want := range []Mode{Auto, On, Off} {
		var m Mode
		if err := m.Set(want.String()); err != nil || m != want {
			t.Errorf("%v came back as %v, %v", want, m, err)
		}
	}
	var m Mode
	if err := m.Set("yes"); err == nil || !strings.Contains(err.Error(), `"yes"`) || !strings.Contains(err.Error(), "auto, on, off") {
		t.Errorf("bad mode: %v, want an error that names it and what is allowed", err)
	}
}
