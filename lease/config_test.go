package lease

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// summary is what the config tables compare.
func summary(c Config) string {
	s := c.BackendType
	if c.EnableIPv4 {
		s += " " + c.Network.String() + " " + c.SubnetMin.String() + ".." + c.SubnetMax.String() +
			"/" + netip.PrefixFrom(c.SubnetMin, c.SubnetLen).String()[len(c.SubnetMin.String())+1:]
	}
	if c.EnableIPv6 {
		s += " " + c.IPv6Network.String() + " " + c.IPv6SubnetMin.String() + ".." + c.IPv6SubnetMax.String() +
			"/" + netip.PrefixFrom(c.IPv6SubnetMin, c.IPv6SubnetLen).String()[len(c.IPv6SubnetMin.String())+1:]
	}
	return s
}

func TestParseConfig(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"documented example", `{"Network":"10.3.0.0/16"}`, "udp 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
		{"absent backend is udp", `{"Network":"10.3.0.0/16","Backend":null}`, "udp 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
		{"type in any case", `{"Network":"10.3.0.0/16","Backend":{"tYpE":"VXLAN"}}`, "vxlan 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
		{"keys in any case", `{"NETWORK":"10.3.0.0/16","subnetlen":26,"backend":{"type":"alloc"}}`,
			"alloc 10.3.0.0/16 10.3.0.64..10.3.255.192/26"},
		{"unknown keys", `{"Network":"10.3.0.0/16","What":{"ever":[1]},"Backend":{"Type":"host-gw","More":"x"}}`,
			"host-gw 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
		{"last of two keys", `{"Network":"10.1.0.0/16","network":"10.2.0.0/16"}`, "udp 10.2.0.0/16 10.2.1.0..10.2.255.0/24"},
		{"host bits", `{"Network":"10.3.4.5/16"}`, "udp 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
		{"whole of 10", `{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0","Backend":{"Type":"udp","Port":7890}}`,
			"udp 10.0.0.0/8 10.10.0.0..10.99.0.0/20"},
		{"/22 still gets /24", `{"Network":"10.3.4.0/22"}`, "udp 10.3.4.0/22 10.3.5.0..10.3.7.0/24"},
		{"/23 gets two more bits", `{"Network":"10.3.4.0/23"}`, "udp 10.3.4.0/23 10.3.4.128..10.3.5.128/25"},
		{"smallest", `{"Network":"10.3.4.16/28"}`, "udp 10.3.4.16/28 10.3.4.20..10.3.4.28/30"},
		{"longest subnets", `{"Network":"10.3.0.0/16","SubnetLen":30}`, "udp 10.3.0.0/16 10.3.0.4..10.3.255.252/30"},
		{"zero length is absent", `{"Network":"10.3.0.0/16","SubnetLen":0,"SubnetMin":"0.0.0.0"}`, "udp 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
		{"one subnet", `{"Network":"10.3.0.0/16","SubnetMin":"10.3.9.0","SubnetMax":"10.3.9.0"}`, "udp 10.3.0.0/16 10.3.9.0..10.3.9.0/24"},
		{"end of the address space", `{"Network":"223.255.255.0/24"}`, "udp 223.255.255.0/24 223.255.255.64..223.255.255.192/26"},
		{"dual stack", `{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:3::/48"}`,
			"udp 10.3.0.0/16 10.3.1.0..10.3.255.0/24 fd00:3::/48 fd00:3:0:1::..fd00:3:0:ffff::/64"},
		{"v6 only", `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:3::/62"}`, "udp fd00:3::/62 fd00:3:0:1::..fd00:3:0:3::/64"},
		{"small v6", `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:3::/63"}`,
			"udp fd00:3::/63 fd00:3:0:0:8000::..fd00:3:0:1:8000::/65"},
		{"smallest v6", `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:3::10/124"}`, "udp fd00:3::10/124 fd00:3::14..fd00:3::1c/126"},
		{"v6 keys without v6", `{"Network":"10.3.0.0/16","IPv6Network":"rubbish"}`, "udp 10.3.0.0/16 10.3.1.0..10.3.255.0/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseConfig([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, summary(got)); diff != "" {
				t.Error(diff)
			}
			if string(got.Raw) != c.in {
				t.Errorf("raw is %s", got.Raw)
			}
		})
	}
}

func TestParseConfigSaysEverythingThatIsWrong(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`{"Network":"10.5.0.0/16","SubnetLen":8}`, []string{"config: SubnetLen 8 is not inside 10.5.0.0/16: use 18 to 30"}},
		{`{"Network":"10.5.0.0/16","SubnetLen":31}`, []string{"config: SubnetLen 31 is not inside 10.5.0.0/16: use 18 to 30"}},
		{`{"Network":"10.5.0.0/16","SubnetLen":-1}`, []string{"config: SubnetLen -1 is not inside 10.5.0.0/16: use 18 to 30"}},
		{`{"Network":"10.5.0.0/29"}`, []string{"config: Network 10.5.0.0/29 is too small: use /28 or a larger range"}},
		{`{}`, []string{`config: Network is missing: give the range, such as "Network":"10.5.0.0/16", or set EnableIPv4 to false`}},
		{`{"Network":"10.5.0.0/16","EnableIPv6":true}`,
			[]string{`config: IPv6Network is missing: give the range, such as "IPv6Network":"fd00:5::/48", or set EnableIPv6 to false`}},
		{`{"EnableIPv4":false}`, []string{"config: EnableIPv4 and EnableIPv6 are both false: set one of them to true"}},
		{`{"Network":"10.5.0.0/16","Backend":{}}`, []string{`config: Backend has no Type: add one, such as "Type":"udp"`}},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}`,
			[]string{`config: Backend Type "vxlam" is unknown: use udp, vxlan, host-gw, ipip, wireguard or alloc`}},
		{`{"Network":"10.5.0.0/16","Backend":"udp"}`,
			[]string{`config: Backend is not a JSON object: it starts with udp: write it as "Backend":{"Type":"udp"}`}},
		{`{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0","SubnetMax":"10.5.9.1","Backend":{"Type":"vxlan","VNI":99999999,"Port":"x"}}`, []string{
			"config: SubnetMin 10.6.0.0 is not inside 10.5.0.0/16: use 10.5.0.0 to 10.5.255.0",
			"config: SubnetMax 10.5.9.1 is not on the border of a /24 subnet: use 10.5.9.0",
			"config: Backend VNI is 99999999: use 0 to 16777215",
			`config: Backend Port is "x": write a whole number`,
		}},
		{`{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.8.0"}`,
			[]string{"config: SubnetMin 10.5.9.0 is above SubnetMax 10.5.8.0: exchange them, or leave both out"}},
		{`{"Network":"fd00::/48","EnableIPv4":"yes"}`, []string{
			`config: EnableIPv4 is "yes": write true or false`,
			`config: Network "fd00::/48" is no range of the right family: write it as 10.5.0.0/16`,
		}},
		{`{"Network":"127.0.0.0/8"}`, []string{"config: Network 127.0.0.0/8 is no range for hosts: use a private one, such as 10.5.0.0/16"}},
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/125"}`,
			[]string{"config: IPv6Network fd00::/125 is too small: use /124 or a larger range"}},
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":127,"Backend":{"type":"ipsec"}}`, []string{
			"config: IPv6SubnetLen 127 is not inside fd00::/48: use 50 to 126",
			"config: Backend Type ipsec is flannel's alone: use wireguard, vxlan or udp",
		}},
	} {
		_, err := ParseConfig([]byte(c.in))
		if err == nil {
			t.Errorf("%s was accepted", c.in)
			continue
		}
		if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.in, diff)
		}
	}
}

func TestParseConfigRefusesWhatIsNoObject(t *testing.T) {
	for _, in := range []string{``, ` `, `[]`, `null`, `1`, `"x"`, `{`, `{"Network"`, `{"Network":}`, `{} {}`, `{}x`, "\x00"} {
		if _, err := ParseConfig([]byte(in)); err == nil || !strings.HasPrefix(err.Error(), "config: not a JSON object: ") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestBackendOptions(t *testing.T) {
	for in, want := range map[string]Options{
		`{"Type":"udp"}`:                           {Port: 8285},
		`{"Type":"udp","Port":7000,"MTU":1400}`:    {Port: 7000, MTU: 1400},
		`{"Type":"vxlan"}`:                         {Port: 8472, VNI: 1},
		`{"Type":"vxlan","Port":0,"VNI":7}`:        {Port: 8472, VNI: 7},
		`{"Type":"ipip","DirectRouting":true}`:     {DirectRouting: true},
		`{"Type":"host-gw"}`:                       {},
		`{"Type":"wireguard","PSK":"k","Mode":""}`: {},
		`{"Type":"wireguard","PersistentKeepaliveInterval":25}`: {Port: 51820, PortV6: 51821, Mode: "separate",
			Keepalive: 25e9},
		`{"Type":"vxlan","GBP":true,"Learning":true,"DirectRouting":true}`: {Port: 8472, VNI: 1, GBP: true,
			Learning: true, DirectRouting: true},
	} {
		c, err := ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":` + in + `}`))
		if strings.Contains(in, `"Mode":""`) {
			if err == nil {
				t.Errorf("%s was accepted", in)
			}
			continue
		}
		if err != nil || c.Options != want {
			t.Errorf("%s: %+v, %v", in, c.Options, err)
		}
	}
}

// FuzzParseConfig: whatever passes has a range that can be handed out, and reads the same again.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"Network":"10.5.0.0/16","SubnetLen":24,"SubnetMin":"10.5.1.0","Backend":{"Type":"vxlan","VNI":1}}`))
	f.Add([]byte(`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":64}`))
	f.Add([]byte(`{"Network":"0.0.0.0/0","Backend":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		free := 0
		for s := range c.Free(Subnets{}, &Taken{}, Candidates) {
			if !c.Fits(s) || (s.V4.IsValid() && !c.Contains(s.V4)) || (s.V6.IsValid() && !c.Contains(s.V6)) {
				t.Fatalf("%s hands out %s", data, s)
			}
			free++
		}
		if free == 0 {
			t.Fatalf("%s hands out nothing", data)
		}
		again, err := ParseConfig(c.Raw)
		if err != nil || cmp.Diff(summary(c), summary(again)) != "" {
			t.Fatalf("%s reads differently again: %v", data, err)
		}
	})
}
