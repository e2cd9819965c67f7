package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"golang.zx2c4.com/wireguard/tun"
)

// PortableQueue is the Queue that runs on every kernel: the TUN device of wireguard-go, one queue a
// device. Its Read cuts superpackets into segments and completes every checksum, and its Write
// merges segments of TCP and UDP flows again; both copy the payload. The fast queue exists to avoid
// just that.
type PortableQueue struct {
	device tun.Device
	name   string
	closed atomic.Bool
	read   readSide
	write  writeSide
}

// A readSide belongs to the reading goroutine. One read may yield more packets than the caller has
// room for; the rest waits in bufs for the next call.
type readSide struct {
	bufs        [][]byte
	sizes       []int
	next, count int // bufs[next:count] are packets not handed out yet
}

// A writeSide belongs to the writing goroutine.
type writeSide struct {
	bufs      [][]byte // full buffers, each of packetBytes behind the headroom
	slices    [][]byte // the part of each that is in use, for the device
	count     int
	alone     bool // the last packet; see standsAlone
	segmenter *Segmenter
	segments  []Datagram
}

// packetBytes is the largest IP packet; headroom is what the device wants in front of a packet that
// it writes, rounded up so that the packet starts aligned.
const (
	packetBytes = 65535
	headroom    = 16
)

// OpenPortableQueue opens the TUN device called name in the network namespace of the calling thread,
// creating it if there is none; "weft%d" lets the kernel number it. It is neither up nor has an
// address or MTU then: that is the datapath plan's part. The error says what to do: no clone
// device, no permission, a name in use, or which process holds the device.
//
// wireguard-go's CreateTUN isn't used since it starts goroutines that wait until somebody takes
// link events off a channel; weft watches links elsewhere.
func OpenPortableQueue(name string) (*PortableQueue, error) {
	fd, err := openTUN(name, vnetFlag)
	if err != nil {
		return nil, err
	}
	device, actual, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		// By now the descriptor belongs to an os.File of wireguard-go's, which closes it when collected.
		return nil, fmt.Errorf("opening device %s: %w", name, err)
	}
	return newPortableQueue(device, actual), nil
}

// newPortableQueue is apart so that tests can put a device of their own underneath.
func newPortableQueue(device tun.Device, name string) *PortableQueue {
	n := device.BatchSize()
	q := &PortableQueue{device: device, name: name}
	q.read = readSide{bufs: make([][]byte, n), sizes: make([]int, n)}
	q.write = writeSide{bufs: make([][]byte, n), slices: make([][]byte, n), segmenter: NewSegmenter()}
	// Two slabs, so that the pages which no packet ever reaches never become resident.
	readSlab, writeSlab := make([]byte, n*packetBytes), make([]byte, n*(headroom+packetBytes))
	for i := range n {
		q.read.bufs[i] = readSlab[i*packetBytes : (i+1)*packetBytes : (i+1)*packetBytes]
		at := i * (headroom + packetBytes)
		q.write.bufs[i] = writeSlab[at : at+headroom+packetBytes : at+headroom+packetBytes]
	}
	return q
}

// Name returns the device's name.
func (q *PortableQueue) Name() string { return q.name }

// ReadBatch implements Queue. One call makes one read at most: what one superpacket falls into.
func (q *PortableQueue) ReadBatch(packets []Packet) (n int, err error) {
	if q.closed.Load() {
		return 0, os.ErrClosed
	}
	r := &q.read
	for r.next == r.count {
		r.next = 0
		r.count, err = q.device.Read(r.bufs, r.sizes, 0)
		if r.count == 0 && q.fatal(err) {
			return 0, fmt.Errorf("reading device %s: %w", q.name, q.cause(err))
		}
	}
	for n < len(packets) && r.next < r.count {
		packets[n] = Packet{Data: r.bufs[r.next][:r.sizes[r.next]]}
		mendZeroChecksum(packets[n].Data)
		n++
		r.next++
	}
	return n, nil
}

// mendZeroChecksum gives a UDP checksum that comes to zero its other form. wireguard-go completes partial
// checksums and leaves the zero, which means "none" and is forbidden over IPv6 (RFC 8200 8.1): one
// datagram in 65,536 was dropped by its receiver. Over IPv4 a sender may mean it.
func mendZeroChecksum(data []byte) {
	h, ok := parseHeaders(data)
	if !ok || !h.v6 || h.protocol != protocolUDP {
		return
	}
	if field := data[h.ip+udpChecksum:][:2]; field[0] == 0 && field[1] == 0 {
		field[0], field[1] = 0xff, 0xff
	}
}

// fatal tells errors of the descriptor from those about one packet, which the device couldn't
// split: that packet is lost, the next one may be fine.
func (q *PortableQueue) fatal(err error) bool {
	var onPath *fs.PathError
	return errors.Is(err, os.ErrClosed) || errors.As(err, &onPath)
}

// errGone is what remains when the device was deleted under the descriptor.
var errGone = errors.New("the device was deleted")

// cause tells a deleted device from a closed queue and from other errors. A deletion comes either as
// EBADFD, which wireguard-go turns into os.ErrClosed, or from the runtime, which finds that it can't
// wait for the descriptor any more and has no errno to give.
func (q *PortableQueue) cause(err error) error {
	var errno syscall.Errno
	switch {
	case q.closed.Load():
		return os.ErrClosed
	case errors.Is(err, os.ErrClosed) || !errors.As(err, &errno):
		return errGone
	}
	return err
}

// WriteBatch implements Queue. Superpackets are cut first, since the device builds its own. When the
// device refuses some of a batch it doesn't say which, so n then counts writes and may be too
// high by the segments of a refused superpacket.
func (q *PortableQueue) WriteBatch(packets []Packet) (n int, err error) {
	w := &q.write
	for i := range packets {
		p := &packets[i]
		if alone := standsAlone(p.Data); alone != w.alone {
			w.alone = alone
			if !alone {
				refused, err := q.flush()
				if n -= refused; err != nil {
					return max(n, 0), err
				}
			}
		}
		w.segmenter.Reset()
		w.segments, err = w.segmenter.Append(w.segments[:0], p, Cut{})
		if err != nil {
			continue // contradicts itself: not taken
		}
		n++
		for _, segment := range w.segments {
			if segment.Len() > packetBytes {
				continue
			}
			if w.count == len(w.bufs) {
				refused, err := q.flush()
				if n -= refused; err != nil {
					return max(n, 0), err
				}
			}
			w.add(segment)
		}
	}
	refused, err := q.flush()
	return max(n-refused, 0), err
}

// standsAlone reports whether the device merges a packet with no other although it may belong to a UDP
// flow: a fragment, an empty datagram, one with IP options. What follows must not be merged with what
// came before, or it would overtake this one; so it goes into another write. (A bare TCP acknowledgement
// stands alone too, and may be overtaken.)
func standsAlone(data []byte) bool {
	h, ok := parseHeaders(data)
	return !ok || h.protocol == protocolUDP && (h.all == len(data) || !h.v6 && h.ip != ipv4HeaderLen)
}

// add copies one segment behind the headroom of the next buffer. The buffer keeps all its capacity,
// because the device merges later segments into it.
func (w *writeSide) add(segment Datagram) {
	buf := w.bufs[w.count]
	end := headroom + copy(buf[headroom:], segment.Head)
	end += copy(buf[end:], segment.Payload)
	w.slices[w.count] = buf[:end]
	w.count++
}

// flush writes what was added and returns how many writes the device refused.
func (q *PortableQueue) flush() (refused int, err error) {
	w := &q.write
	if w.count == 0 {
		return 0, nil
	}
	count := w.count
	w.count = 0
	_, err = q.device.Write(w.slices[:count], headroom)
	if err == nil {
		return 0, nil
	}
	if errors.Is(err, os.ErrClosed) {
		return count, fmt.Errorf("writing device %s: %w", q.name, q.cause(err))
	}
	return min(countErrors(err), count), nil
}

// countErrors returns how many errors were joined, however they are nested.
func countErrors(err error) (n int) {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return 1
	}
	for _, e := range several.Unwrap() {
		n += countErrors(e)
	}
	return n
}

// Offloads implements Queue. What the device does with superpackets stays inside it, so from here
// no rung is in use.
func (q *PortableQueue) Offloads() Offloads { return Offloads{} }

// Close implements Queue. The device goes away with it, unless another program made it persistent.
func (q *PortableQueue) Close() error {
	if q.closed.Swap(true) {
		return nil
	}
	if err := q.device.Close(); err != nil {
		return fmt.Errorf("closing device %s: %w", q.name, err)
	}
	return nil
}

var _ Queue = (*PortableQueue)(nil)
