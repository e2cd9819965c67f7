package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// A Role is one end of a measurement.
type Role string

// The roles, sinks (which listen and are started first) beside their sources.
const (
	TCPSink    Role = "tcp-sink"    // counts bytes of many streams
	TCPSource  Role = "tcp-source"  // fills streams as fast as they take it
	UDPSink    Role = "udp-sink"    // counts packets of one flow
	UDPSource  Role = "udp-source"  // sends one flow, without a limit
	EchoSink   Role = "echo-sink"   // answers every message of one connection
	EchoSource Role = "echo-source" // sends a message, waits for it, again
	CRRSink    Role = "crr-sink"    // accepts, answers one byte, and closes
	CRRSource  Role = "crr-source"  // connects, asks one byte, and closes, again and again
)

// A Job is what one load process has to do. It travels as JSON in the process's only argument.
type Job struct {
	Role Role `json:"role"`

	// Addr is where a sink listens (port 0: the kernel picks, and the ready line says which), and
	// where a source sends to.
	Addr netip.AddrPort `json:"addr"`

	Streams int   `json:"streams,omitempty"` // TCP: connections; CRR: connections in flight
	Sizes   []int `json:"sizes,omitempty"`   // UDP: payload bytes, repeated in this order; echo: the first is the message's

	// Warmup is left out of every figure (slow start, cold caches); Duration is what counts.
	Warmup   time.Duration `json:"warmup"`
	Duration time.Duration `json:"duration"`
}

// A Report is what one role measured. Fields that a role can't know stay 0.
type Report struct {
	Seconds float64 `json:"seconds"` // length of the counted window as it really was

	Bytes      uint64 `json:"bytes,omitempty"`      // payload received in the window
	TotalBytes uint64 `json:"totalBytes,omitempty"` // payload received at all, warm-up included: for cost per byte
	Packets    uint64 `json:"packets,omitempty"`    // received in the window; a UDP source: sent at all
	Reordered  uint64 `json:"reordered,omitempty"`  // packets that arrived after a later one, at all

	Connections uint64 `json:"connections,omitempty"` // completed in the window

	// Half round trips in microseconds, from every single message of the window.
	Messages uint64  `json:"messages,omitempty"`
	P50      float64 `json:"p50,omitempty"`
	P99      float64 `json:"p99,omitempty"`
	P999     float64 `json:"p999,omitempty"`
}

// A Line is one line of a load process's output: first a sink's Ready, last a Report or an Error.
type Line struct {
	Ready  *netip.AddrPort `json:"ready,omitempty"`
	Report *Report         `json:"report,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// grace is how long either end waits for the other beyond the job's own time.
const grace = 5 * time.Second

// Bounds of a job: beyond them a typing error is more likely than a wish.
const (
	maxStreams  = 4096
	maxDuration = time.Hour
	maxPayload  = 65507 // 65,535 − 20 (IPv4) − 8 (UDP)
)

// Limit is the longest that a process with this job can take.
func (j Job) Limit() time.Duration { return j.Warmup + j.Duration + 2*grace }

// Validate says what is wrong with a job, every fault at once.
func (j Job) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("load job: "+format, args...))
		}
	}
	_, known := roles[j.Role]
	check(known, "role %q is not known: use one of %v", j.Role, Roles())
	check(j.Addr.Addr().IsValid(), "addr is missing: give address:port")
	check(j.Duration > 0 && j.Duration <= maxDuration, "duration %v: use 1ms to %v", j.Duration, maxDuration)
	check(j.Warmup >= 0 && j.Warmup <= maxDuration, "warmup %v: use 0 to %v", j.Warmup, maxDuration)
	check(j.Streams >= 0 && j.Streams <= maxStreams, "streams %d: use 1 to %d", j.Streams, maxStreams)
	for _, size := range j.Sizes {
		check(size >= minPayload && size <= maxPayload, "size %d: use %d to %d bytes", size, minPayload, maxPayload)
	}
	if strings.HasPrefix(string(j.Role), "udp") || strings.HasPrefix(string(j.Role), "echo") {
		check(len(j.Sizes) > 0, "sizes are missing: give at least one")
	}
	return errors.Join(faults...)
}

// roles is the dispatch table of [Run]. Every entry obeys ctx and the job's own limit.
var roles = map[Role]func(context.Context, Job, func(netip.AddrPort)) (Report, error){
	TCPSink: tcpSink, TCPSource: tcpSource,
	UDPSink: udpSink, UDPSource: udpSource,
	EchoSink: echoSink, EchoSource: echoSource,
	CRRSink: crrSink, CRRSource: crrSource,
}

// Roles lists every role in the order of the constants.
func Roles() []Role {
	return []Role{TCPSink, TCPSource, UDPSink, UDPSource, EchoSink, EchoSource, CRRSink, CRRSource}
}

// Run does one job and writes its lines to out. A failure is written as a line too, so that the
// parent sees it beside what it was waiting for, and returned.
func Run(ctx context.Context, j Job, out io.Writer) error {
	lines := json.NewEncoder(out)
	report, err := run(ctx, j, func(addr netip.AddrPort) { lines.Encode(Line{Ready: &addr}) })
	if err != nil {
		lines.Encode(Line{Error: err.Error()})
		return err
	}
	return lines.Encode(Line{Report: &report})
}

func run(ctx context.Context, j Job, ready func(netip.AddrPort)) (Report, error) {
	if err := j.Validate(); err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, j.Limit())
	defer cancel()
	return roles[j.Role](ctx, j, ready)
}
