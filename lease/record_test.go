package lease

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cmpAddrs lets go-cmp compare addresses and prefixes, whose fields it can't see.
var cmpAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

func TestKeys(t *testing.T) {
	for name, want := range map[string]Subnets{
		"10.5.52.0-24":                  {V4: pfx("10.5.52.0/24")},
		"10.12.13.0-24&fd00:12:13::-56": {V4: pfx("10.12.13.0/24"), V6: pfx("fd00:12:13::/56")},
		"fd00:5:0:1::-64":               {V6: pfx("fd00:5:0:1::/64")},
	} {
		got, err := ParseKey(name)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if Key(want) != name || want.String() != name {
			t.Errorf("%v is written %s", want, Key(want))
		}
	}
	for _, name := range []string{
		"", "x", "10.5.52.0", "10.5.52.0/24", "10.5.52.0-33", "10.5.52.1-24", "10.5.52.0-024", "010.5.52.0-24",
		"10.5.52.0-24&", "&fd00::-64", "10.5.52.0-24&10.5.53.0-24", "fd00::-64&10.5.52.0-24", "FD00::-64",
		"fd00:0::-64", "fd00::1-64", "::ffff:10.5.52.0-120", "fe80::%eth0-64", "10.5.52.0-24&fd00::-64&fd01::-64",
		"10.5.52.0--24", "10.5.52.0-+24", strings.Repeat("1", 200),
	} {
		if s, err := ParseKey(name); err == nil {
			t.Errorf("%q was read as %v", name, s)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("10.5.52.0-24")
	f.Add("10.12.13.0-24&fd00:12:13::-56")
	f.Add("0.0.0.0-0&::-0")
	f.Fuzz(func(t *testing.T, name string) {
		if s, err := ParseKey(name); err == nil && Key(s) != name {
			t.Fatalf("%q is written %q", name, Key(s))
		}
	})
}

func TestValues(t *testing.T) {
	v6 := Attrs{PublicIPv6: ip("fd99::1")}
	for value, want := range map[string]Attrs{
		`{"PublicIP":"1.2.3.4","PublicIPv6":null}`:      {PublicIP: ip("1.2.3.4")},
		`{"PublicIP":"0.0.0.0","PublicIPv6":"fd99::1"}`: v6,
		`{"PublicIP":"1.2.3.4","PublicIPv6":"fd99::1","BackendType":"wireguard","BackendData":{"PublicKey":"a+b/c=","Port":51820},"BackendV6Data":{}}`: {
			PublicIP: ip("1.2.3.4"), PublicIPv6: ip("fd99::1"), BackendType: "wireguard",
			BackendData: json.RawMessage(`{"PublicKey":"a+b/c=","Port":51820}`), BackendV6Data: json.RawMessage(`{}`)},
	} {
		got, err := DecodeValue([]byte(value))
		if diff := cmp.Diff(want, got, cmpAddrs); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", value, err, diff)
		}
		if again, err := EncodeValue(want); err != nil || string(again) != value {
			t.Errorf("%s became %s, %v", value, again, err)
		}
	}
	lenient := ` {"publicip":"1.2.3.4","PublicIPv6":"::","backendTYPE":"VXLAN","BackendData":null,"New":[{}],"PublicIP":"1.2.3.5"} `
	got, err := DecodeValue([]byte(lenient))
	if diff := cmp.Diff(Attrs{PublicIP: ip("1.2.3.5"), BackendType: "vxlan"}, got, cmpAddrs); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := EncodeValue(Attrs{BackendData: json.RawMessage("{")}); err == nil {
		t.Error("half an object was encoded")
	}
}

func TestBrokenValues(t *testing.T) {
	for value, reason := range map[string]string{
		``:                            BadJSON,
		`null`:                        BadJSON,
		`[{}]`:                        BadJSON,
		`{"PublicIP":`:                BadJSON,
		`{"PublicIP":"300.1.1.1"}`:    BadJSON,
		`{"PublicIP":"::1"}`:          BadJSON,
		`{"PublicIPv6":"1.2.3.4"}`:    BadJSON,
		`{"PublicIPv6":"fe80::1%x"}`:  BadJSON,
		`{"PublicIP":16909060}`:       BadJSON,
		`{"BackendType":7}`:           BadJSON,
		`{"BackendData":"string"}`:    BadJSON,
		`{"BackendV6Data":[1,2]}`:     BadJSON,
		strings.Repeat(" ", maxValue): BadJSON,
		"{" + strings.Repeat(" ", maxValue) + "}": TooLong,
	} {
		fault := Decode("/x/10.5.1.0-24", "10.5.1.0-24", []byte(value)).Fault
		if fault == nil || fault.Reason != reason || fault.Detail == "" {
			t.Errorf("%.40q: %+v", value, fault)
		}
	}
	if fault := Decode("/x/junk", "junk", []byte(`{"PublicIP":"1.2.3.4"}`)).Fault; fault == nil || fault.Reason != BadKey {
		t.Errorf("junk key: %+v", fault)
	}
}

// FuzzDecodeValue: what is understood can be written, and then reads the same.
func FuzzDecodeValue(f *testing.F) {
	f.Add([]byte(`{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan","BackendData":{"VNI":1}}`))
	f.Add([]byte(`{"PublicIP":"0.0.0.0","PublicIPv6":null,"BackendData":null}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		a, err := DecodeValue(value)
		if err != nil {
			return
		}
		written, err := EncodeValue(a)
		if err != nil {
			t.Fatalf("%q was read, and can't be written: %v", value, err)
		}
		b, err := DecodeValue(written)
		if len(written) > maxValue { // escaping makes it longer
			return
		}
		again, errAgain := EncodeValue(b)
		if err != nil || errAgain != nil || string(again) != string(written) {
			t.Fatalf("%q became %q and then %q: %v", value, written, again, err)
		}
		a.Weft()
	})
}

func TestWeftData(t *testing.T) {
	w := Weft{Version: 1, Caps: 3, Port: 8285}
	for data, want := range map[string]string{
		``:                          `{"Weft":{"Version":1,"Caps":3,"Port":8285}}`,
		`{}`:                        `{"Weft":{"Version":1,"Caps":3,"Port":8285}}`,
		` { "VNI":1,"VtepMAC":"x"}`: `{"VNI":1,"VtepMAC":"x","Weft":{"Version":1,"Caps":3,"Port":8285}}`,
	} {
		a, err := Attrs{BackendData: json.RawMessage(data)}.WithWeft(w)
		if err != nil || strings.ReplaceAll(string(a.BackendData), " ", "") != want {
			t.Errorf("%q: %s, %v", data, a.BackendData, err)
		}
		if got, ok := a.Weft(); !ok || got != w {
			t.Errorf("%s: %+v, %v", a.BackendData, got, ok)
		}
		if _, err := a.WithWeft(w); err == nil {
			t.Errorf("added twice to %q", data)
		}
	}
	if _, err := (Attrs{BackendData: json.RawMessage(`[]`)}).WithWeft(w); err == nil {
		t.Error("added to a list")
	}
	for _, data := range []string{``, `{}`, `{"Weft":1}`, `{"Weft":{"Version":"1"}}`, `{"Weft":{"Version":1,"Port":99999}}`, `{`} {
		if w, ok := (Attrs{BackendData: json.RawMessage(data)}).Weft(); ok {
			t.Errorf("%q is %+v", data, w)
		}
	}
}

func TestSameHost(t *testing.T) {
	at := func(v4, v6 string, port int) Attrs {
		var a Attrs
		if v4 != "" {
			a.PublicIP = ip(v4)
		}
		if v6 != "" {
			a.PublicIPv6 = ip(v6)
		}
		if port != 0 {
			a, _ = a.WithWeft(Weft{Version: 1, Port: port})
		}
		return a
	}
	for _, c := range []struct {
		name string
		a, b Attrs
		port int
		want bool
	}{
		{"same address", at("1.1.1.1", "", 0), at("1.1.1.1", "", 0), 8285, true},
		{"flannel and weft on the network's port", at("1.1.1.1", "", 0), at("1.1.1.1", "", 8285), 8285, true},
		{"flannel and weft on another port", at("1.1.1.1", "", 0), at("1.1.1.1", "", 9000), 8285, false},
		{"two agents behind one address", at("1.1.1.1", "", 9000), at("1.1.1.1", "", 9001), 8285, false},
		{"port unknown", at("1.1.1.1", "", 0), at("1.1.1.1", "", 9000), 0, true},
		{"other address", at("1.1.1.1", "", 0), at("1.1.1.2", "", 0), 8285, false},
		{"two v6-only hosts", at("", "fd99::1", 0), at("", "fd99::2", 0), 8285, false},
		{"v6-only", at("", "fd99::1", 0), at("", "fd99::1", 0), 8285, true},
		{"v4 address changed", at("1.1.1.1", "fd99::1", 0), at("1.1.1.2", "fd99::1", 0), 8285, true},
		{"none at all", at("", "", 0), at("", "", 0), 8285, false},
	} {
		if got := SameHost(c.a, c.b, c.port); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
