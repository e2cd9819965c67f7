package perf

import (
	"crypto/ecdh"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"weft/perf/report"
)

func TestSubnetFile(t *testing.T) {
	subnet, mtu, err := parseSubnetFile([]byte("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.72.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"))
	if err != nil || subnet != netip.MustParsePrefix("10.244.72.0/24") || mtu != 1472 {
		t.Errorf("subnet %v, MTU %d, %v", subnet, mtu, err)
	}
	for _, broken := range []string{"", "FLANNEL_MTU=1472\n", "FLANNEL_SUBNET=x\nFLANNEL_MTU=1\n", "FLANNEL_SUBNET=10.0.0.1/24\nFLANNEL_MTU=0\n"} {
		if _, _, err := parseSubnetFile([]byte(broken)); err == nil {
			t.Errorf("%q is taken for a lease", broken)
		}
	}
}

func TestIPerfReport(t *testing.T) {
	for _, c := range []struct {
		name, text string
		metric     report.Metric
		value      float64
		bytes      uint64
		fails      string
	}{
		{"tcp", `{"end":{"sum_sent":{"bytes":9},"sum_received":{"bits_per_second":5e9,"bytes":1250}}}`, report.Gbps, 5, 1250, ""},
		{"udp", `{"end":{"sum":{"seconds":2,"bytes":6400,"packets":100,"lost_packets":25}}}`, report.PPS, 37.5, 4800, ""},
		{"all lost and more", `{"end":{"sum":{"seconds":2,"bytes":6400,"packets":100,"lost_packets":101}}}`, report.PPS, 0, 0, ""},
		{"refused", `{"error":"unable to connect"}`, "", 0, 0, "unable to connect"},
		{"empty", `{}`, "", 0, 0, "neither"},
		{"no JSON", `iperf3: oops`, "", 0, 0, "reading iperf3"},
	} {
		m, err := parseIPerf([]byte(c.text))
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v, want %q", c.name, err, c.fails)
			}
			continue
		}
		if err != nil || m.values[c.metric] != c.value || m.bytes != c.bytes {
			t.Errorf("%s: %v, %d bytes, %v", c.name, m.values, m.bytes, err)
		}
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte(`{"end":{"sum":{"seconds":2,"bytes":6400,"packets":100,"lost_packets":25}}}`))
	f.Add([]byte("FLANNEL_SUBNET=10.244.72.1/24\nFLANNEL_MTU=1472\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := parseIPerf(text); err == nil && len(m.values) == 0 {
			t.Error("an iperf3 report without a figure passes")
		}
		if subnet, mtu, err := parseSubnetFile(text); err == nil && (!subnet.IsValid() || mtu <= 0) {
			t.Errorf("subnet %v, MTU %d passes", subnet, mtu)
		}
	})
}

func TestWireGuardSettings(t *testing.T) {
	secret := make([]byte, 32)
	secret[0] = 1
	key, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	got := wireguardSettings(key, key.PublicKey(), netip.MustParseAddr("10.99.0.2"), overlayOf(2), subnetOf(2))
	for _, want := range []string{
		"set=1\nprivate_key=01" + strings.Repeat("0", 62) + "\n", "\nlisten_port=51820\n", "\nendpoint=10.99.0.2:51820\n",
		"\nallowed_ip=172.31.0.2/32\nallowed_ip=10.244.2.0/24\n\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("settings lack %q:\n%s", want, got)
		}
	}
}

func TestWireGuardRefusalIsReported(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "wg.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for _, answer := range []string{"errno=0\n\n", "errno=-22\n\n"} {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 64))
			conn.Write([]byte(answer))
			conn.Close()
		}
	}()
	if err := setWireGuard(socket, "set=1\n\n"); err != nil {
		t.Errorf("errno=0: %v", err)
	}
	if err := setWireGuard(socket, "set=1\n\n"); err == nil || !strings.Contains(err.Error(), "errno=-22") {
		t.Errorf("errno=-22: %v", err)
	}
}

func TestNebulaConfig(t *testing.T) {
	var text strings.Builder
	err := nebulaConfig.Execute(&text, nebulaHost{
		Dir: "/d", Device: "nebula1", Host: 1, Port: 4242, MTU: 1440, Addr: netip.MustParseAddr("10.99.0.1"),
		PeerAddr: netip.MustParseAddr("10.99.0.2"), PeerOverlay: overlayOf(2), PeerSubnet: subnetOf(2),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cert: /d/host1.crt\n", `"172.31.0.2": ["10.99.0.2:4242"]`, "route: 10.244.2.0/24\n      via: 172.31.0.2\n      mtu: 1440\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("config lacks %q:\n%s", want, text.String())
		}
	}
}

func TestProgressLine(t *testing.T) {
	var out strings.Builder
	p := progress{to: &out}
	p.begin(12, 1e9)
	p.sample(5, report.Sample{Row: report.RowGSO, Round: 1, Scenario: report.TCP1, Subject: report.Weft,
		Values: map[report.Metric]float64{report.Gbps: 8.125, report.ForwarderCPU: 0.5, report.TotalCPU: 2}})
	p.sample(5, report.Sample{Row: report.RowGSO, Round: 1, Scenario: report.TCP4, Subject: report.Weft, Error: "it broke"})
	want := "measuring: 12 samples, about 12s\n" +
		"[ 1/12, 11s left] gso, round 2/5, tcp1, weft: TCP 1 8.12 Gb/s, CPU fwd 0.500 s/GB\n" +
		"[ 2/12, 10s left] gso, round 2/5, tcp4, weft: it broke\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}
