package perf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weft/perf/load"
	"weft/perf/report"
)

// This file is for those who trust iperf3 more than weft's own generators, or want to compare both.

// iperfPort is iperf3's own.
const iperfPort = 5201

// iperfCan reports whether iperf3 has the scenario: bulk TCP, and UDP of one size. It has no mix of
// sizes, no latency and no connection rate.
func iperfCan(s scenario) bool {
	return s.sink == load.TCPSink || s.sink == load.UDPSink && s.name != report.IMIX
}

// iperf runs a scenario with iperf3: a server for one test (-1) in the far end, a client in the near
// one. The client must not come before the server listens, and the only sign of that is a line which
// iperf3 writes to a pipe late unless told to flush. Warm-up is -O; a UDP test has none.
func (b *bench) iperf(ctx context.Context, f *fabric, s scenario) (measured, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.Warmup+b.options.Duration+fabricPatience)
	defer cancel()
	addr := netip.AddrPortFrom(f.far.addr, iperfPort)
	server := f.far.space.Command(ctx, "iperf3", "-s", "-1", "--forceflush", "-B", addr.Addr().String())
	stdout, err := server.StdoutPipe()
	if err != nil {
		return measured{}, fmt.Errorf("starting iperf3: %w", err)
	}
	if err := server.Start(); err != nil {
		return measured{}, fmt.Errorf("starting iperf3: %w", err)
	}
	said := bufio.NewScanner(stdout)
	for said.Scan() && !strings.Contains(said.Text(), "listening") {
	}
	client := f.near.space.Command(ctx, "iperf3", b.iperfArgs(addr.Addr(), s, f.mtu)...)
	out, clientErr := client.Output()
	for said.Scan() { // until the server ends, so that it never waits for a reader
	}
	if err := errors.Join(clientErr, server.Wait()); err != nil {
		return measured{}, fmt.Errorf("running iperf3: %w: %s", err, bytes.TrimSpace(out))
	}
	m, err := parseIPerf(out)
	m.generators = client.ProcessState.UserTime() + client.ProcessState.SystemTime() +
		server.ProcessState.UserTime() + server.ProcessState.SystemTime()
	return m, err
}

func (b *bench) iperfArgs(to netip.Addr, s scenario, mtu int) []string {
	// iperf3 takes whole seconds only; a test shorter than one would last forever (-t 0).
	seconds := func(d float64) string { return strconv.Itoa(max(int(d+0.5), 1)) }
	args := []string{"-c", to.String(), "-J", "-t", seconds(b.options.Duration.Seconds())}
	job := s.job(mtu)
	if s.sink == load.TCPSink {
		if b.options.Warmup > 0 {
			args = append(args, "-O", seconds(b.options.Warmup.Seconds()))
		}
		return append(args, "-P", strconv.Itoa(job.Streams))
	}
	return append(args, "-u", "-b", "0", "-l", strconv.Itoa(job.Sizes[0]))
}

// iperfResult is what is read of iperf3's JSON.
type iperfResult struct {
	Error string `json:"error"`
	End   struct {
		Sum struct { // UDP
			Seconds float64 `json:"seconds"`
			Bytes   uint64  `json:"bytes"`
			Packets int64   `json:"packets"`
			Lost    int64   `json:"lost_packets"`
		} `json:"sum"`
		Received struct { // TCP
			BitsPerSecond float64 `json:"bits_per_second"`
			Bytes         uint64  `json:"bytes"`
		} `json:"sum_received"`
	} `json:"end"`
}

// parseIPerf reads the JSON of an iperf3 client. iperf3's loss counts what the server missed, so
// received packets are those sent less those.
func parseIPerf(text []byte) (measured, error) {
	var r iperfResult
	if err := json.Unmarshal(text, &r); err != nil {
		return measured{}, fmt.Errorf("reading iperf3's report: %w", err)
	}
	switch sum := r.End.Sum; {
	case r.Error != "":
		return measured{}, fmt.Errorf("running iperf3: %s", r.Error)
	case sum.Packets > 0 && sum.Seconds > 0:
		received := max(sum.Packets-sum.Lost, 0)
		return measured{
			values: map[report.Metric]float64{
				report.PPS:     float64(received) / sum.Seconds,
				report.SentPPS: float64(sum.Packets) / sum.Seconds,
			},
			bytes: uint64(float64(sum.Bytes) * float64(received) / float64(sum.Packets)),
		}, nil
	case r.End.Received.Bytes > 0:
		return measured{
			values: map[report.Metric]float64{report.Gbps: r.End.Received.BitsPerSecond / 1e9},
			bytes:  r.End.Received.Bytes,
		}, nil
	}
	return measured{}, errors.New("reading iperf3's report: neither packets nor bytes in it")
}
