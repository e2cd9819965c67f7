package tunnel

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
)

// faultyDevice is the kernel's side of a FastQueue: a list of packets to read, and writes that fail
// as told.
type faultyDevice struct {
	toRead [][]byte // as read returns them, nil for EINTR
	fault  func(data []byte, g GSO) syscall.Errno
	taken  []Packet
	closed bool
}

func (d *faultyDevice) read(b []byte) (int, syscall.Errno) {
	if len(d.toRead) == 0 {
		if d.closed {
			return 0, errDetached
		}
		return 0, syscall.EAGAIN
	}
	next := d.toRead[0]
	if d.toRead = d.toRead[1:]; next == nil {
		return 0, syscall.EINTR
	}
	return copy(b, next), 0
}

func (d *faultyDevice) write(pieces [][]byte) syscall.Errno {
	var p Packet
	if !decodePacket(&p, bytes.Join(pieces, nil)) {
		return syscall.EINVAL
	}
	if errno := d.fault(p.Data, p.GSO); errno != 0 {
		return errno
	}
	d.taken = append(d.taken, p)
	return 0
}

func (d *faultyDevice) wait() syscall.Errno {
	if d.closed {
		return syscall.ECANCELED
	}
	d.closed = true // the next read says the device is gone
	return 0
}
func (d *faultyDevice) wake()        { d.closed = true }
func (d *faultyDevice) close() error { return nil }

func faultyQueue(fault func(data []byte, g GSO) syscall.Errno) (*FastQueue, *faultyDevice) {
	device := &faultyDevice{fault: fault}
	return newFastQueue("test0", device, Offloads{TSO: true, USO: true}, allLimits), device
}

func noFault([]byte, GSO) syscall.Errno { return 0 }

// asRead returns a packet with its virtio header, as a TUN read does.
func asRead(p Packet) []byte {
	var head [vnetHeaderLen]byte
	vnetFor(p.GSO).encode(head[:])
	return append(head[:], p.Data...)
}

func TestQueueReadsABatch(t *testing.T) {
	q, device := faultyQueue(noFault)
	want := []Packet{
		testPacket{payload: pattern(10, 1)}.build(),
		superOf(testPacket{payload: pattern(5000, 1)}, 1000),
		testPacket{udp: true, v6: true, payload: pattern(30, 1), partial: true}.build(),
	}
	device.toRead = [][]byte{asRead(want[0]), nil, asRead(want[1]), {1, 2, 3}, asRead(want[2])}
	packets := make([]Packet, 10)
	n, err := q.ReadBatch(packets)
	if n != 3 || err != nil || q.Malformed() != 1 {
		t.Fatalf("%d packets, %v, %d malformed; want 3 and 1", n, err, q.Malformed())
	}
	for i, p := range packets[:n] {
		if !bytes.Equal(p.Data, want[i].Data) || p.GSO != want[i].GSO {
			t.Errorf("packet %d: %+v, want %+v", i, p.GSO, want[i].GSO)
		}
	}
	if _, err := q.ReadBatch(packets); err == nil || errors.Is(err, os.ErrClosed) {
		t.Errorf("device deleted: %v, want an error that isn't ErrClosed", err)
	}
}

func TestQueueReadBatchIsBounded(t *testing.T) {
	q, device := faultyQueue(noFault)
	small, large := asRead(testPacket{payload: pattern(10, 1)}.build()), asRead(superOf(testPacket{payload: pattern(62000, 1)}, 1000))
	device.toRead = slices.Concat(slices.Repeat([][]byte{small}, 100), slices.Repeat([][]byte{large}, 20))
	packets := make([]Packet, 200)
	var sizes []int
	for len(device.toRead) > 0 {
		n, err := q.ReadBatch(packets)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, n)
	}
	if sizes[0] != readPackets || slices.Max(sizes[2:]) > readBytes/62000+1 {
		t.Errorf("batches of %v packets, want at most %d or %d bytes", sizes, readPackets, readBytes)
	}
}

func TestQueueCloseIsErrClosed(t *testing.T) {
	q, _ := faultyQueue(noFault)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.ReadBatch(make([]Packet, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadBatch: %v", err)
	}
	if _, err := q.WriteBatch(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("WriteBatch: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// Whatever the kernel refuses to take whole goes in piece by piece, and the rung is off from then on.
func TestWriteLadderLosesNothing(t *testing.T) {
	train := trainOf(testPacket{payload: pattern(100, 1), df: true}, 3)
	train = append(train, testPacket{payload: pattern(7, 1), df: true, seq: 300, id: 3}.build())
	udp := trainOf(testPacket{udp: true, payload: pattern(100, 2), df: true}, 70)
	super := []Packet{superOf(testPacket{payload: pattern(950, 1), df: true}, 100)}
	for _, c := range []struct {
		name    string
		packets []Packet
		fault   func(data []byte, g GSO) syscall.Errno
		want    Offloads
		limits  coalesceLimits
	}{
		{"nothing refused", train, noFault, Offloads{TSO: true, USO: true}, allLimits},
		{"short tail refused (6.6.44)", train, func(data []byte, g GSO) syscall.Errno {
			if g.Kind != GSONone && (len(data)-int(g.HeaderLen))%int(g.SegmentSize) == 7 {
				return syscall.EINVAL
			}
			return 0
		}, Offloads{TSO: true, USO: true}, coalesceLimits{tcp: true, udp: true, udpSegments: 64, longTail: true}},
		{"no TCP superpackets", train[:3], refuse(GSOTCP4), Offloads{USO: true}, coalesceLimits{udp: true, udpSegments: 64}},
		{"no UDP superpackets", udp, refuse(GSOUDP), Offloads{TSO: true}, coalesceLimits{tcp: true, udpSegments: 64}},
		{"peer's superpacket", super, refuse(GSOTCP4), Offloads{USO: true}, coalesceLimits{udp: true, udpSegments: 64}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, device := faultyQueue(c.fault)
			for range 2 { // the second time around the rung is off
				n, err := q.WriteBatch(c.packets)
				if n != len(c.packets) || err != nil {
					t.Fatalf("%d of %d taken, %v", n, len(c.packets), err)
				}
			}
			if q.Offloads() != c.want || q.coalescer.limits != c.limits {
				t.Errorf("offloads %+v, limits %+v; want %+v, %+v", q.Offloads(), q.coalescer.limits, c.want, c.limits)
			}
			if stepped := c.want != (Offloads{TSO: true, USO: true}) || c.limits != allLimits; stepped != (q.LoweredBy() != "") {
				t.Errorf("lowered by %q, although stepping down is %v", q.LoweredBy(), stepped)
			}
			once, twice := payloadOf(c.packets), payloadOf(device.taken)
			if !bytes.Equal(twice, slices.Concat(once, once)) {
				t.Errorf("%d payload bytes arrived, want %d twice", len(twice), len(once))
			}
		})
	}
}

func refuse(kind GSOKind) func([]byte, GSO) syscall.Errno {
	return func(_ []byte, g GSO) syscall.Errno {
		if g.Kind == kind {
			return syscall.EINVAL
		}
		return 0
	}
}

func payloadOf(packets []Packet) (b []byte) {
	for _, p := range packets {
		h, _ := parseHeaders(p.Data)
		b = append(b, p.Data[h.all:]...)
	}
	return b
}

// More than 64 segments: refused before 6.9, whatever the version says.
func TestWriteLadderLowersUDPSegments(t *testing.T) {
	q, device := faultyQueue(func(data []byte, g GSO) syscall.Errno {
		if g.Kind == GSOUDP && len(data)-int(g.HeaderLen) > 64*int(g.SegmentSize) {
			return syscall.EINVAL
		}
		return 0
	})
	q.coalescer.limits.udpSegments = udpSegmentsNew
	packets := trainOf(testPacket{udp: true, payload: pattern(50, 2), df: true}, 128)
	for range 2 {
		if n, err := q.WriteBatch(packets); n != 128 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if !q.Offloads().USO || q.coalescer.limits.udpSegments != 64 || len(device.taken) != 128+2 {
		t.Errorf("%+v, %d writes; want USO on with 64 segments, 130 writes", q.coalescer.limits, len(device.taken))
	}
}

func TestWriteRefusalsAreCounted(t *testing.T) {
	packets := trainOf(testPacket{payload: pattern(100, 1)}, 3)
	q, _ := faultyQueue(func([]byte, GSO) syscall.Errno { return syscall.EIO }) // device down
	if n, err := q.WriteBatch(packets); n != 0 || err != nil {
		t.Errorf("device down: %d, %v; want 0 and no error", n, err)
	}
	if o := q.Offloads(); !o.TSO {
		t.Error("a device that is down took TSO off")
	}
	// A packet that is refused alone too doesn't say anything about superpackets.
	q, _ = faultyQueue(func([]byte, GSO) syscall.Errno { return syscall.EINVAL })
	if n, err := q.WriteBatch(packets); n != 0 || err != nil || !q.Offloads().TSO {
		t.Errorf("all refused: %d, %v, %+v; want 0, no error, TSO on", n, err, q.Offloads())
	}
	q, _ = faultyQueue(func([]byte, GSO) syscall.Errno { return errDetached })
	if n, err := q.WriteBatch(packets); n != 0 || err == nil {
		t.Errorf("device deleted: %d, %v; want an error", n, err)
	}
}

func TestQueueAllocatesNothing(t *testing.T) {
	q, device := faultyQueue(func([]byte, GSO) syscall.Errno { return syscall.EIO })
	packets := trainOf(testPacket{payload: pattern(1400, 1)}, 45)
	q.device = discard{device}
	if n := testing.AllocsPerRun(50, func() { q.WriteBatch(packets) }); n != 0 {
		t.Errorf("%v allocations per batch written, want 0", n)
	}
}

type discard struct{ *faultyDevice }

func (discard) write([][]byte) syscall.Errno { return 0 }

// A flood of small packets makes the reader step aside, once a batch; nothing else does.
func TestQueueStepsAsideInAFloodOnly(t *testing.T) {
	small := asRead(testPacket{udp: true, payload: pattern(64, 1)}.build())
	large := asRead(testPacket{udp: true, payload: pattern(1400, 1)}.build())
	for _, c := range []struct {
		name  string
		batch [][]byte
		want  int
	}{
		{"request and response", slices.Repeat([][]byte{small}, floodPackets-1), 0},
		{"flood", slices.Repeat([][]byte{small}, floodPackets), 1},
		{"full batch", slices.Repeat([][]byte{small}, readPackets), 0},
		{"bulk", slices.Repeat([][]byte{large}, 10), 0},
	} {
		q, device := faultyQueue(noFault)
		yields := 0
		q.yield = func() { yields++ }
		packets := make([]Packet, readPackets)
		for range 2 {
			device.toRead = slices.Clone(c.batch)
			if n, err := q.ReadBatch(packets); n != len(c.batch) || err != nil {
				t.Fatalf("%s: %d, %v", c.name, n, err)
			}
		}
		if yields != c.want {
			t.Errorf("%s: stepped aside %d times, want %d", c.name, yields, c.want)
		}
	}
}
