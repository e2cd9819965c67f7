package scale

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"weft/perf/report"
)

// A Result is one run, complete: what JSON holds.
type Result struct {
	Host          report.Host `json:"host"`
	Date          time.Time   `json:"date"`
	Hosts         int         `json:"hosts"`
	PerConnection int         `json:"hostsPerConnection"`
	Connections   int         `json:"connections"`
	Etcd          string      `json:"etcd"`       // which server, with its version
	Preferred     bool        `json:"preferred"`  // etcd had priority over the agents: see etcdNice
	Background    float64     `json:"background"` // other programs' share of all cores before the run, 0 to 1

	Starts  []Start   `json:"starts"`
	Idle    Load      `json:"idle"`    // all follow and nothing changes
	Changes []Spread  `json:"changes"` // by kind, and all kinds
	Load    Load      `json:"load"`    // of the changes
	Renewal Load      `json:"renewal"` // of one renewal by every agent
	Probes  []Probed  `json:"probes"`
	Memory  Memory    `json:"memory"`
	Checks  []Check   `json:"checks"`
	Server  Footprint `json:"server"`
}

// A Spread is how long something took: over all agents, or all pairs of a change and an agent. Times
// are in ms. Quantiles are the 0th to the 100th hundredth, for a chart.
type Spread struct {
	Name      string    `json:"name"`
	Count     int       `json:"count"`
	P50       float64   `json:"p50"`
	P99       float64   `json:"p99"`
	Max       float64   `json:"max"`
	Quantiles []float64 `json:"quantiles,omitempty"`
}

// spreadOf summarises durations; the zero Spread of none.
func spreadOf(name string, all []time.Duration) Spread {
	s := Spread{Name: name, Count: len(all)}
	if len(all) == 0 {
		return s
	}
	slices.Sort(all)
	at := func(share float64) float64 {
		// The smallest value that so many are not above; rounding up, so that a p99 is never flattered.
		i := int(share*float64(len(all)-1) + 0.999999)
		return float64(all[min(i, len(all)-1)].Microseconds()) / 1000
	}
	s.P50, s.P99, s.Max = at(0.5), at(0.99), at(1)
	for i := range 101 {
		s.Quantiles = append(s.Quantiles, at(float64(i)/100))
	}
	return s
}

// A Start is all agents starting at once.
type Start struct {
	Name      string  `json:"name"`
	Acquired  Spread  `json:"acquired"`  // from the start to each agent's lease
	Converged float64 `json:"converged"` // s from the start until every agent had applied the last change
	Retries   int     `json:"retries"`   // attempts to acquire that failed and were made again
	Load      Load    `json:"load"`
}

// Probed is what one agent in a process of its own brought.
type Probed struct {
	Changes Spread  `json:"changes"` // from a change to its route table, ms
	Apply   Spread  `json:"apply"`   // from the snapshot to the route table, ms
	Leases  int     `json:"leases"`  // in its last snapshot
	Heap    uint64  `json:"heap"`    // bytes in use after a collection
	RSS     uint64  `json:"rss"`     // bytes, before that collection
	Peak    uint64  `json:"peak"`    // the largest RSS, bytes
	Empty   uint64  `json:"empty"`   // RSS before it knew a lease, bytes
	CPU     float64 `json:"cpu"`     // s over the whole run
}

// Memory is what the simulation takes, in bytes.
type Memory struct {
	PerAgent uint64 `json:"perAgent"` // heap and stacks of this process, over the agents
	Peak     uint64 `json:"peak"`     // of this process
}

// A Check is what must hold at any speed.
type Check struct {
	Name string `json:"name"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

// Write writes the result as indented JSON.
func (r *Result) Write(w io.Writer) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// Failed returns an error that names the checks that don't hold; nil when all do.
func (r *Result) Failed() error {
	for _, c := range r.Checks {
		if !c.OK {
			return fmt.Errorf("what must hold doesn't: %s: %s", c.Name, c.Got)
		}
	}
	return nil
}
