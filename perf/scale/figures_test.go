package scale

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/lease"
)

func TestSpreads(t *testing.T) {
	if s := spreadOf("none", nil); s.Count != 0 || s.Quantiles != nil {
		t.Errorf("of nothing: %+v", s)
	}
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*time.Millisecond)
	}
	s := spreadOf("x", all)
	// The 99th hundredth of 1 … 200 is not below 198.01, and rounded up.
	if s.Count != 200 || s.P50 != 101 || s.P99 != 199 || s.Max != 200 || s.Quantiles[0] != 1 || s.Quantiles[100] != 200 {
		t.Errorf("%+v", s)
	}
}

func TestWhoHasASubnetTwice(t *testing.T) {
	of := func(subnets ...string) (all []lease.Lease) {
		for _, s := range subnets {
			l := lease.Lease{}
			if s != "" {
				l.Subnet = netip.MustParsePrefix(s)
			}
			all = append(all, l)
		}
		return all
	}
	for _, c := range []struct {
		leases []lease.Lease
		want   string
	}{
		{of("10.1.1.0/24", "10.1.2.0/24"), ""},
		{of("10.1.1.0/24", "10.1.2.0/24", "10.1.1.0/24"), "agents 0 and 2 both have 10.1.1.0/24"},
		{of("10.1.1.0/24", ""), "agent 1 has none"},
	} {
		if got := distinct(c.leases); got != c.want {
			t.Errorf("%v: %q, want %q", c.leases, got, c.want)
		}
	}
}

func TestEveryHostHasAnAddressOfItsOwn(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for i := range MostHosts {
		ip := publicIP(i)
		if seen[ip] || !netip.MustParsePrefix("100.64.0.0/10").Contains(ip) {
			t.Fatalf("host %d: %s", i, ip)
		}
		seen[ip] = true
	}
}

const someMetrics = `# TYPE grpc_server_started_total counter
grpc_server_started_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} 7
grpc_server_started_total{grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"} 3
# TYPE grpc_server_msg_sent_total counter
grpc_server_msg_sent_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 40
# TYPE etcd_network_client_grpc_sent_bytes_total counter
etcd_network_client_grpc_sent_bytes_total 1000
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.5
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 5e+07
`

func TestCountersOfTwoMoments(t *testing.T) {
	before, err := parseCounters(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseCounters(strings.NewReader(someMetrics))
	if err != nil {
		t.Fatal(err)
	}
	l := after.since(before)
	if l.Requests["Range"] != 7 || l.Requests["Txn"] != 3 || len(l.Requests) != 2 || l.Messages != 40 || l.Sent != 1000 || l.CPU != 1.5 {
		t.Errorf("%+v", l)
	}
	if again := after.since(after); len(again.Requests) != 0 || again.Messages != 0 {
		t.Errorf("since itself: %+v", again)
	}
	if f := after.footprint(); f.RSS != 50_000_000 {
		t.Errorf("%+v", f)
	}
	if _, err := parseCounters(strings.NewReader("no metrics at all\n")); err == nil {
		t.Error("junk was read")
	}
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	if err := (Options{Hosts: 1, Etcd: "mine"}).Check(); err == nil || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("%v", err)
	}
	o := Defaults()
	o.Weft = "weft"
	if err := o.Check(); err != nil {
		t.Error(err)
	}
}
