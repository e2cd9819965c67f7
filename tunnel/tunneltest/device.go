package tunneltest

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/tunnel"
)

// Device is a TUN device in memory: a tunnel.Queue for the code under test, and Send and Receive for
// the test in the kernel's place.
type Device struct {
	mu      sync.Mutex
	changed sync.Cond
	out     []tunnel.Packet // kernel to queue
	in      []tunnel.Packet // queue to kernel
	lent    [][]byte        // what the last ReadBatch handed out
	down    bool            // refuse what is written
	closed  bool
}

// NewDevice returns a device that is up and idle.
func NewDevice() *Device {
	d := new(Device)
	d.changed.L = &d.mu
	return d
}

// Send puts copies of packets where the queue's next ReadBatch finds them.
func (d *Device) Send(packets ...tunnel.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range packets {
		d.out = append(d.out, clone(p))
	}
	d.changed.Broadcast()
}

// Receive waits for the next packet written to the queue. It fails the test after 5 s without one.
func (d *Device) Receive(t testing.TB) tunnel.Packet {
	t.Helper()
	deadline := time.Now().Add(patience)
	timeout := time.AfterFunc(patience, func() {
		d.mu.Lock() // so that it can't fall between a look at the clock and the wait
		defer d.mu.Unlock()
		d.changed.Broadcast()
	})
	defer timeout.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.in) == 0 {
		if !time.Now().Before(deadline) {
			t.Fatalf("no packet was written to the device within %v", patience)
		}
		d.changed.Wait()
	}
	p := d.in[0]
	d.in = d.in[1:]
	return p
}

// patience is how long tests wait for what must come.
const patience = 5 * time.Second

// Pending returns how many packets were written to the queue and not yet received.
func (d *Device) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.in)
}

// SetDown makes the device refuse, or take again, what is written.
func (d *Device) SetDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// ReadBatch implements tunnel.Queue.
func (d *Device) ReadBatch(packets []tunnel.Packet) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.lent {
		spoil(b)
	}
	d.lent = d.lent[:0]
	for len(d.out) == 0 && !d.closed {
		d.changed.Wait()
	}
	if d.closed {
		return 0, os.ErrClosed
	}
	n = copy(packets, d.out)
	d.out = slices.Delete(d.out, 0, n)
	for _, p := range packets[:n] {
		d.lent = append(d.lent, p.Data)
	}
	return n, nil
}

// WriteBatch implements tunnel.Queue. It doesn't coalesce.
func (d *Device) WriteBatch(packets []tunnel.Packet) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, os.ErrClosed
	}
	if d.down {
		return 0, nil
	}
	for _, p := range packets {
		d.in = append(d.in, clone(p))
	}
	d.changed.Broadcast()
	return len(packets), nil
}

// Offloads implements tunnel.Queue: superpackets pass as they are.
func (d *Device) Offloads() tunnel.Offloads { return tunnel.Offloads{TSO: true, USO: true} }

// Close implements tunnel.Queue.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.changed.Broadcast()
	return nil
}

func clone(p tunnel.Packet) tunnel.Packet {
	p.Data = slices.Clone(p.Data)
	return p
}

// spoil overwrites memory whose loan has ended.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

var _ tunnel.Queue = (*Device)(nil)
