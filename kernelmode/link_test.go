package kernelmode_test

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"weft/kernelmode"
	"weft/lease"
)

func TestParseVXLAN(t *testing.T) {
	word := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	four, six := addr("192.0.2.1").AsSlice(), addr("2001:db8::1").AsSlice()
	data := func(attrs ...[]byte) (all []byte) {
		for _, a := range attrs {
			all = append(all, a...)
		}
		return all
	}
	for _, c := range []struct {
		what   string
		data   []byte
		want   kernelmode.VXLAN
		parent int
	}{
		{"flannel's", data(attr(1, word(1)), attr(3, word(4)), attr(4, four), attr(7, []byte{0}), attr(15, []byte{0x21, 0x18}), attr(18, []byte{1})),
			kernelmode.VXLAN{VNI: 1, Port: 8472, Local: addr("192.0.2.1")}, 4},
		{"everything else", data(attr(1, word(1<<24-1)), attr(17, six), attr(7, []byte{1}), attr(16, six), attr(18, []byte{0}), attr(21, []byte{1}), attr(23, nil), attr(25, []byte{1})),
			kernelmode.VXLAN{VNI: 1<<24 - 1, Local: addr("2001:db8::1"), Remote: addr("2001:db8::1"), Learning: true, GBP: true, RemoteChecksum: true, ZeroChecksum: true, External: true}, 0},
		{"an unspecified group", data(attr(2, []byte{0, 0, 0, 0})), kernelmode.VXLAN{}, 0},
		{"too short", data(attr(1, []byte{1}), attr(4, []byte{1, 2}), attr(15, []byte{7})), kernelmode.VXLAN{}, 0},
		{"nothing", nil, kernelmode.VXLAN{}, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got, parent := kernelmode.ParseVXLAN(c.data); got != c.want || parent != c.parent {
				t.Errorf("%+v over %d, want %+v over %d", got, parent, c.want, c.parent)
			}
		})
	}
	if got := kernelmode.ParseIPIP(data(attr(2, four), attr(3, []byte{0, 0, 0, 0}))); got != (kernelmode.IPIP{Local: addr("192.0.2.1")}) {
		t.Errorf("IPIP %+v", got)
	}
}

func FuzzLinkAttributes(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add(append(make([]byte, 16), attr(18, attr(2, attr(15, []byte{0x21, 0x18})))...))
	f.Fuzz(func(t *testing.T, body []byte) {
		data := kernelmode.InfoData(body)
		v, _ := kernelmode.ParseVXLAN(data)
		for _, a := range []kernelmode.IPIP{kernelmode.ParseIPIP(data), {Local: v.Local, Remote: v.Remote}} {
			if a.Local.IsValid() && a.Local.IsUnspecified() || a.Remote.IsValid() && a.Remote.IsUnspecified() {
				t.Errorf("an unspecified address passes for one: %+v", a)
			}
		}
	})
}

// Whatever a peer writes, it is one problem or one whole peer, and the plan for others is the same.
func FuzzVXLANPlanBackendData(f *testing.F) {
	f.Add([]byte(`{"VNI":1,"VtepMAC":"02:00:00:00:00:09","Weft":{"Version":1,"Port":8472}}`))
	f.Add([]byte(`{"VtepMAC":"03-00-00-00-00-01"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := crowd(t, vxlanNetwork)
		h.Snapshot.Leases = append(h.Snapshot.Leases, neighbour(h.Config, 2),
			neighbour(h.Config, 9, func(l *lease.Lease) { l.Attrs.BackendData = json.RawMessage(data) }))
		s, problems, err := kernelmode.VXLANPlan(h)
		if err != nil || len(problems)+len(s.Routes) != 2 || len(s.FDB) != len(s.Routes) || len(s.Neighbours) != len(s.Routes) {
			t.Fatalf("%v, %v\n%s", err, problems, s)
		}
		for _, e := range s.FDB {
			if e.MAC[0]&1 != 0 || e.MAC == (kernelmode.MAC{}) || e.MAC == h.MAC {
				t.Errorf("a VTEP with MAC %s", e.MAC)
			}
		}
	})
}

func TestMAC(t *testing.T) {
	for text, want := range map[string]string{
		"9a:1e:a5:33:00:29": "9a:1e:a5:33:00:29", "9A-1E-A5-33-00-29": "9a:1e:a5:33:00:29", "9a1e.a533.0029": "9a:1e:a5:33:00:29",
		"": "", "9a:1e:a5:33:00": "", "ff:ff:ff:ff:ff:ff": "", "00:00:00:00:00:00": "", "02:00:00:00:00:00:00:01": "",
	} {
		m, err := kernelmode.ParseMAC(text)
		if (err == nil) != (want != "") || err == nil && m.String() != want || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%q is %v, %v; want %q", text, m, err, want)
		}
	}
	seen := map[kernelmode.MAC]bool{}
	for range 1000 {
		m := kernelmode.NewMAC()
		if m[0]&3 != 2 || seen[m] {
			t.Fatalf("%s is of no single host's locally administered range, or came twice", m)
		}
		seen[m] = true
	}
}

func TestNetworks(t *testing.T) {
	a := kernelmode.NetworksOf(prefix("192.0.2.1/24"), prefix("2001:db8::1/64"), prefix("fe80::1/64"), prefix("192.0.2.0/24"))
	b := kernelmode.NetworksOf(prefix("2001:db8::/64"), prefix("192.0.2.0/24"))
	if a != b || len(a.Prefixes()) != 2 {
		t.Errorf("%q and %q", a, b)
	}
	for ip, want := range map[string]bool{"192.0.2.77": true, "2001:db8::7": true, "192.0.3.1": false, "fe80::7": false} {
		if a.Contains(addr(ip)) != want {
			t.Errorf("%s in %q: %v", ip, a, !want)
		}
	}
}
