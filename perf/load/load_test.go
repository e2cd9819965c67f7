package load

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair runs both roles of a measurement over loopback, as two processes would, and returns what
// each reported.
func pair(t *testing.T, sink, source Role, j Job) (fromSink, fromSource Report) {
	t.Helper()
	j.Role = sink
	ready, lines := start(t, j)
	addr, ok := <-ready
	if !ok {
		t.Fatalf("%s ended before it was ready: %+v", sink, <-lines)
	}
	j.Role, j.Addr = source, addr
	_, sourceLines := start(t, j)
	return result(t, source, sourceLines, sink, lines)
}

// start runs one role and splits its output into the ready line and the last one.
func start(t *testing.T, j Job) (<-chan netip.AddrPort, <-chan Line) {
	t.Helper()
	ready, last := make(chan netip.AddrPort, 1), make(chan Line, 1)
	out, in := io.Pipe()
	go func() {
		Run(t.Context(), j, in)
		in.Close()
	}()
	go func() {
		defer close(last)
		defer close(ready)
		lines := json.NewDecoder(out)
		for {
			var line Line
			if lines.Decode(&line) != nil {
				return
			}
			if line.Ready != nil {
				ready <- *line.Ready
				continue
			}
			last <- line
		}
	}()
	return ready, last
}

func result(t *testing.T, source Role, sourceLines <-chan Line, sink Role, sinkLines <-chan Line) (Report, Report) {
	t.Helper()
	b, a := <-sourceLines, <-sinkLines
	if b.Report == nil {
		t.Fatalf("%s: %s", source, b.Error)
	}
	if a.Report == nil {
		t.Fatalf("%s: %s", sink, a.Error)
	}
	return *a.Report, *b.Report
}

func brief() Job {
	return Job{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), Warmup: 20 * time.Millisecond, Duration: 150 * time.Millisecond,
	}
}

func TestTCPStreamsCountWhatArrives(t *testing.T) {
	for _, streams := range []int{1, 4} {
		j := brief()
		j.Streams = streams
		got, _ := pair(t, TCPSink, TCPSource, j)
		if got.Bytes == 0 || got.Seconds != j.Duration.Seconds() {
			t.Errorf("%d streams: %d bytes in %v s, want some in %v", streams, got.Bytes, got.Seconds, j.Duration)
		}
		if got.TotalBytes <= got.Bytes {
			t.Errorf("%d streams: %d bytes in all, %d in the window: warm-up and run-out brought nothing", streams, got.TotalBytes, got.Bytes)
		}
	}
}

func TestUDPCountsPacketsBothFamilies(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		j := brief()
		j.Addr, j.Sizes = netip.MustParseAddrPort(addr), IMIX()
		got, sent := pair(t, UDPSink, UDPSource, j)
		if got.Packets == 0 || got.Packets > sent.Packets {
			t.Errorf("%s: %d packets received of %d sent", addr, got.Packets, sent.Packets)
		}
		if got.Reordered != 0 {
			t.Errorf("%s: loopback reordered %d packets", addr, got.Reordered)
		}
	}
}

func TestEchoMeasuresEveryMessage(t *testing.T) {
	j := brief()
	j.Sizes = []int{64}
	_, got := pair(t, EchoSink, EchoSource, j)
	if got.Messages < 100 || got.P50 <= 0 || got.P50 > got.P99 || got.P99 > got.P999 {
		t.Errorf("latency report %+v: want over 100 messages and 0 < p50 <= p99 <= p99.9", got)
	}
}

func TestConnectionsCountOnlyComplete(t *testing.T) {
	_, got := pair(t, CRRSink, CRRSource, brief())
	if got.Connections < 10 || got.Seconds <= 0 {
		t.Errorf("%d connections in %v s over loopback", got.Connections, got.Seconds)
	}
}

func TestSourceWithoutSinkSaysWhere(t *testing.T) {
	for _, role := range []Role{TCPSource, EchoSource, CRRSource} {
		j := brief()
		j.Role, j.Addr, j.Sizes = role, netip.MustParseAddrPort("127.0.0.1:1"), []int{64}
		var out bytes.Buffer
		err := Run(t.Context(), j, &out)
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("%s: error %v doesn't name the address", role, err)
		}
		var line Line
		if json.Unmarshal(out.Bytes(), &line) != nil || line.Error == "" {
			t.Errorf("%s: wrote %q, want an error line", role, out.String())
		}
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	err := Job{Role: "tcp-sing", Streams: -1, Sizes: []int{7, 65508}, Warmup: -1}.Validate()
	if err == nil {
		t.Fatal("a job with six faults is valid")
	}
	for _, want := range []string{`"tcp-sing"`, "addr is missing", "duration 0s", "warmup", "streams -1", "size 7", "size 65508"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("fault %q isn't named in: %v", want, err)
		}
	}
	for _, role := range Roles() {
		j := brief()
		j.Role, j.Sizes = role, []int{64}
		if err := j.Validate(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}
