package load

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

func TestMeterCountsOnlyTheWindow(t *testing.T) {
	start := time.Now()
	m := &meter{window: newWindow(start, Job{Warmup: time.Second, Duration: 2 * time.Second})}
	for _, at := range []time.Duration{0, 999 * time.Millisecond, time.Second, 2500 * time.Millisecond, 3 * time.Second} {
		m.add(10, start.Add(at))
	}
	if m.total.Load() != 50 || m.counted.Load() != 20 {
		t.Errorf("total %d, counted %d: want 50 and 20", m.total.Load(), m.counted.Load())
	}
	if got := m.seconds(start.Add(3 * time.Second)); got != 2 {
		t.Errorf("a window lived through is %v s, want 2", got)
	}
	if got := m.seconds(start.Add(2600 * time.Millisecond)); got != 1.5 {
		t.Errorf("a stream that ended early counts %v s, want up to its last bytes: 1.5", got)
	}
}

func TestArrivalsCountLateAndForeignPackets(t *testing.T) {
	now := time.Now()
	a := arrivals{meter: &meter{window: newWindow(now, Job{Duration: time.Second})}}
	var batch []ipv4.Message
	for _, sequence := range []uint64{1, 2, 5, 3, 4, 6} {
		batch = append(batch, message(sequence))
	}
	short := message(9)
	short.N = minPayload - 1
	a.take(append(batch, short), now)
	got, err := a.report(os.ErrDeadlineExceeded)
	if err != nil {
		t.Fatal(err)
	}
	if got.Packets != 6 || got.Reordered != 2 || got.TotalBytes != 6*minPayload || got.Seconds != 1 {
		t.Errorf("report %+v: want 6 packets, 2 of them late, 48 bytes, 1 s", got)
	}
}

func message(sequence uint64) ipv4.Message {
	payload := binary.BigEndian.AppendUint64(nil, sequence)
	return ipv4.Message{Buffers: [][]byte{payload}, N: len(payload)}
}

func TestNothingArrivedIsAnError(t *testing.T) {
	if _, err := (&arrivals{}).report(os.ErrDeadlineExceeded); err == nil {
		t.Error("a sink that saw no packet reports success")
	}
}

func TestLatenciesAreHalfRoundTrips(t *testing.T) {
	var trips []time.Duration
	for i := range 1000 {
		trips = append(trips, time.Duration(1000-i)*2*time.Microsecond)
	}
	got, err := latencies(trips, time.Second)
	if err != nil || got.P50 != 501 || got.P99 != 991 || got.P999 != 1000 {
		t.Errorf("p50 %v p99 %v p99.9 %v (%v): want 501, 991, 1000", got.P50, got.P99, got.P999, err)
	}
	if _, err := latencies(nil, time.Second); err == nil {
		t.Error("no message at all reports success")
	}
}

func TestMixKeepsItsShares(t *testing.T) {
	count := map[int]int{}
	for _, m := range newMessages(IMIX()) {
		count[len(m.Buffers[0])+udpOverhead]++
	}
	if count[64] != 7*count[1400] || count[576] != 4*count[1400] || len(count) != 3 {
		t.Errorf("packets by size %v: want 64, 576 and 1400 bytes as 7:4:1", count)
	}
}
