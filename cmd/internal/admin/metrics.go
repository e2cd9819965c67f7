package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics serves the state as Prometheus metrics. Every scrape asks the source once; nothing is
// counted here, so that status and metrics can't disagree.
func Metrics(source Source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(stateCollector{source}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// stateCollector turns a State into metrics. The set of drop reasons is the data path's affair, so
// it describes nothing in advance (an unchecked collector, in Prometheus's terms).
type stateCollector struct{ source Source }

// The metrics. The base unit is in the name; counters begin at the start of the agent.
var (
	buildInfo   = describe("build_info", "1, with the version as label.", "version")
	ready       = describe("ready", "1 when packets can flow.")
	peers       = describe("peers", "Subnets of other hosts that have a route.")
	problems    = describe("skipped_records", "Records in the store that can't be used, by reason.", "reason")
	connected   = describe("store_connected", "1 while the store is being followed.")
	offline     = describe("store_offline", "1 while packets flow without the store.")
	storeSince  = describe("store_changed_timestamp_seconds", "When weft_store_connected last changed.")
	copyInUse   = describe("lease_copy_in_use", "1 while packets follow the copy of the leases on disk.")
	copySaved   = describe("lease_copy_saved_timestamp_seconds", "When the copy that this start went by was saved.")
	refused     = describe("config_refused", "1 while the network config in the store can't be followed.")
	datapath    = describe("datapath_info", "1, with who moves the packets and what stands in a faster one's way.", "kind", "obstacle")
	fault       = describe("datapath_fault", "1 while the datapath's kernel state isn't as it should be.")
	seen        = describe("store_revision_seen", "Newest revision of the store that arrived.")
	applied     = describe("store_revision_applied", "Newest revision that packets follow.")
	leaseExpiry = describe("lease_expiry_timestamp_seconds", "When this host's lease expires.")
	traffic     = describe("traffic_total", "Packets and bytes carried, by kind.", "kind")
	drops       = describe("drops_total", "Packets refused, by reason.", "reason")
	lowered     = describe("offloads_lowered", "Rungs of the offload ladder, and peers, that something was taken from while running.")
	laneOn      = describe("lane_on", "1 while packets go through the express lane.")
	lanePassed  = describe("lane_passed_total", "Packets that the express lane left to user space, by cause.", "cause")
	laneCarried = describe("lane_traffic_total", "The express lane's part of weft_traffic_total, by kind.", "kind")
	laneGone    = describe("lane_detached_total", "How often somebody took the express lane's programs away.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weft_"+name, help, labels, nil)
}

// Describe sends nothing: see stateCollector.
func (c stateCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the state as it is now.
func (c stateCollector) Collect(out chan<- prometheus.Metric) {
	s := c.source.State()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(buildInfo, 1, s.Version)
	gauge(ready, boolean(s.Ready))
	gauge(peers, float64(len(s.Peers)))
	gauge(connected, boolean(s.Store.Connected))
	gauge(offline, boolean(s.Offline()))
	gauge(refused, boolean(s.Network.Refused != ""))
	if s.Datapath.Kind != "" {
		gauge(datapath, 1, s.Datapath.Kind, s.Datapath.Obstacle)
		gauge(fault, boolean(s.Datapath.Fault != ""))
	}
	if !s.Store.Since.IsZero() {
		gauge(storeSince, float64(s.Store.Since.Unix()))
	}
	gauge(copyInUse, boolean(s.Store.Copy != nil && s.Store.Copy.InUse))
	if s.Store.Copy != nil && !s.Store.Copy.Saved.IsZero() {
		gauge(copySaved, float64(s.Store.Copy.Saved.Unix()))
	}
	gauge(seen, float64(s.Store.Seen))
	gauge(applied, float64(s.Store.Applied))
	if s.Lease != nil && !s.Lease.Expiry.IsZero() {
		gauge(leaseExpiry, float64(s.Lease.Expiry.Unix()))
	}
	reasons := map[string]int{}
	for _, p := range s.Problems {
		reasons[p.Reason]++
	}
	for reason, n := range reasons {
		gauge(problems, float64(n), reason)
	}
	for kind, n := range s.Traffic {
		out <- prometheus.MustNewConstMetric(traffic, prometheus.CounterValue, float64(n), kind)
	}
	for reason, n := range s.Drops {
		out <- prometheus.MustNewConstMetric(drops, prometheus.CounterValue, float64(n), reason)
	}
	gauge(lowered, float64(len(s.Datapath.Lowered)))
	if s.Lane != nil {
		s.Lane.collect(out)
	}
}

func (l *Lane) collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(laneOn, prometheus.GaugeValue, boolean(l.On))
	out <- prometheus.MustNewConstMetric(laneGone, prometheus.CounterValue, float64(l.Detached))
	for cause, n := range l.Passed {
		out <- prometheus.MustNewConstMetric(lanePassed, prometheus.CounterValue, float64(n), cause)
	}
	for kind, n := range l.Carried {
		out <- prometheus.MustNewConstMetric(laneCarried, prometheus.CounterValue, float64(n), kind)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
