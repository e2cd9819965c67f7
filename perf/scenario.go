package perf

import (
	"fmt"
	"slices"
	"strings"

	"weft/perf/load"
	"weft/perf/report"
)

// A scenario is one measurement: which roles run where, with what job, and how to read their reports.
type scenario struct {
	name         string
	what         string
	sink, source load.Role
	job          func(mtu int) load.Job // role, address and times are filled in by whoever runs it
	read         func(sink, source load.Report) map[report.Metric]float64
	brief        bool // part of a quick run
	ladder       bool // part of what shows a rung's worth, or a mix's
}

// udpOverhead is what IPv4 and UDP put in front of a payload.
const udpOverhead = 20 + 8

// scenarios lists all, in the order they run. 64 bytes are payload, as in iperf3's -l 64, so that
// figures compare with what others publish; the packet has 92. Packets as large as the MTU differ
// between subjects, on purpose: what a tunnel takes away in MTU is part of what it costs.
func scenarios() []scenario {
	tcp := func(name string, streams int, brief bool) scenario {
		return scenario{
			name: name, what: fmt.Sprintf("TCP, %d streams", streams), brief: brief, ladder: streams == 1,
			sink: load.TCPSink, source: load.TCPSource, read: readTCP,
			job: func(int) load.Job { return load.Job{Streams: streams} },
		}
	}
	udp := func(name, what string, sizes func(mtu int) []int, brief, ladder bool) scenario {
		return scenario{
			name: name, what: "UDP, " + what, brief: brief, ladder: ladder,
			sink: load.UDPSink, source: load.UDPSource, read: readUDP,
			job: func(mtu int) load.Job { return load.Job{Sizes: sizes(mtu)} },
		}
	}
	return []scenario{
		tcp(report.TCP1, 1, true), tcp(report.TCP4, 4, false), tcp(report.TCP16, 16, false),
		udp(report.UDP64, "64 bytes of payload", func(int) []int { return []int{64} }, true, true),
		udp(report.IMIX, "IMIX", func(int) []int { return load.IMIX() }, false, false),
		udp(report.UDPMTU, "as large as the subject's MTU", func(mtu int) []int { return []int{mtu - udpOverhead} }, false, true),
		{
			name: report.Latency, what: "64-byte ping-pong over TCP", brief: true,
			sink: load.EchoSink, source: load.EchoSource, read: readEcho,
			job: func(int) load.Job { return load.Job{Sizes: []int{64}} },
		},
		{
			name: report.ConnRate, what: "connect, one byte each way, close; 8 at a time",
			sink: load.CRRSink, source: load.CRRSource, read: readCRR,
			job: func(int) load.Job { return load.Job{Streams: 8} },
		},
	}
}

// What counts is what arrived in the window, so a sink's report makes the rates; latency and
// connections are only known to the source.

func readTCP(sink, _ load.Report) map[report.Metric]float64 {
	return map[report.Metric]float64{report.Gbps: rate(8*sink.Bytes, sink.Seconds) / 1e9}
}

func readUDP(sink, source load.Report) map[report.Metric]float64 {
	return map[report.Metric]float64{
		report.PPS:       rate(sink.Packets, sink.Seconds),
		report.SentPPS:   rate(source.Packets, source.Seconds),
		report.Reordered: float64(sink.Reordered),
	}
}

func readEcho(_, source load.Report) map[report.Metric]float64 {
	return map[report.Metric]float64{report.P50: source.P50, report.P99: source.P99, report.P999: source.P999}
}

func readCRR(_, source load.Report) map[report.Metric]float64 {
	return map[report.Metric]float64{report.Connects: rate(source.Connections, source.Seconds)}
}

// rate is 0 over no time at all: a sink that saw nothing in its window has no rate to divide.
func rate(count uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(count) / seconds
}

// Scenarios lists the names that Options.Scenarios takes, and what each is.
func Scenarios() (names, what []string) {
	for _, s := range scenarios() {
		names, what = append(names, s.name), append(what, s.what)
	}
	return names, what
}

// choose returns the scenarios of a run: those named, else the brief ones of a quick run, else all.
func (o *Options) choose() ([]scenario, error) {
	all := scenarios()
	if len(o.Scenarios) == 0 {
		return slices.DeleteFunc(all, func(s scenario) bool { return o.Quick && !s.brief }), nil
	}
	var chosen []scenario
	for _, name := range o.Scenarios {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			names, _ := Scenarios()
			return nil, fmt.Errorf("scenario %q is not known: use some of %s", name, strings.Join(names, ","))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
