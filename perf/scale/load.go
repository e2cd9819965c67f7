package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// A Load is what a phase cost etcd.
type Load struct {
	Seconds  float64            `json:"seconds"`  // how long the phase was
	Requests map[string]float64 `json:"requests"` // by gRPC method: Range, Txn, LeaseGrant, …
	Messages float64            `json:"messages"` // that went out on watch streams
	Sent     float64            `json:"sent"`     // bytes to clients
	Received float64            `json:"received"` // bytes from clients
	CPU      float64            `json:"cpu"`      // s of the etcd process
	OwnCPU   float64            `json:"ownCPU"`   // s of the process that simulates the agents
}

// A Footprint is what etcd takes.
type Footprint struct {
	RSS      uint64 `json:"rss"`      // bytes, at the end
	DB       uint64 `json:"db"`       // bytes on disk
	Watchers int    `json:"watchers"` // while all agents followed
}

// counters are etcd's metrics at one moment, with the CPU time of this process.
type counters struct {
	at       time.Time
	families map[string]*dto.MetricFamily
	own      time.Duration
}

// read asks etcd for its metrics.
func readCounters(ctx context.Context, endpoint string) (counters, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", nil)
	if err != nil {
		return counters{}, fmt.Errorf("asking %s for metrics: %w", endpoint, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return counters{}, fmt.Errorf("asking %s for metrics: %w", endpoint, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return counters{}, fmt.Errorf("asking %s for metrics: %s: let it serve /metrics to clients", endpoint, response.Status)
	}
	c, err := parseCounters(response.Body)
	if err != nil {
		return counters{}, fmt.Errorf("reading metrics of %s: %w", endpoint, err)
	}
	c.at, c.own = time.Now(), ownCPU()
	return c, nil
}

// parseCounters reads Prometheus' text format.
func parseCounters(text io.Reader) (counters, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	return counters{families: families}, err
}

// sum adds up a counter or gauge over all its labels, but for those that pick refuses. One that isn't
// there is 0: a counter with labels appears with its first use.
func (c counters) sum(name string, pick func(labels map[string]string) bool) float64 {
	total := 0.0
	for _, m := range c.families[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if pick == nil || pick(labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return total
}

// Names of etcd's metrics, the same from 3.4 to 3.7.
const (
	metricStarted  = "grpc_server_started_total"
	metricSent     = "grpc_server_msg_sent_total"
	metricBytesOut = "etcd_network_client_grpc_sent_bytes_total"
	metricBytesIn  = "etcd_network_client_grpc_received_bytes_total"
	metricCPU      = "process_cpu_seconds_total"
	metricRSS      = "process_resident_memory_bytes"
	metricDB       = "etcd_mvcc_db_total_size_in_bytes"
	metricWatchers = "etcd_debugging_mvcc_watcher_total"
)

func method(name string) func(map[string]string) bool {
	return func(labels map[string]string) bool { return labels["grpc_method"] == name }
}

// methods are the requests that agents send.
var methods = []string{"Range", "Txn", "Put", "LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseKeepAlive", "Watch"}

// since is what has been spent from one moment to this one.
func (c counters) since(before counters) Load {
	spent := func(name string, pick func(map[string]string) bool) float64 {
		return c.sum(name, pick) - before.sum(name, pick)
	}
	l := Load{
		Seconds: c.at.Sub(before.at).Seconds(), Requests: map[string]float64{},
		Messages: spent(metricSent, method("Watch")),
		Sent:     spent(metricBytesOut, nil), Received: spent(metricBytesIn, nil),
		CPU: spent(metricCPU, nil), OwnCPU: (c.own - before.own).Seconds(),
	}
	for _, m := range methods {
		// Streams count when they begin: they are handled when they end.
		if n := spent(metricStarted, method(m)); n > 0 {
			l.Requests[m] = n
		}
	}
	return l
}

func (c counters) footprint() Footprint {
	return Footprint{RSS: uint64(c.sum(metricRSS, nil)), DB: uint64(c.sum(metricDB, nil)),
		Watchers: int(c.sum(metricWatchers, nil))}
}
