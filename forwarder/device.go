package forwarder

import (
	"sync"

	"weft/tunnel"
)

// A sharedQueue lets the goroutines of one worker take turns at writing to its queue: once per batch
// for ingress, once per ICMP error for egress. Reading needs no turn, only egress reads.
type sharedQueue struct {
	tunnel.Queue
	writing sync.Mutex
}

// WriteBatch is Queue.WriteBatch, for any number of goroutines.
func (q *sharedQueue) WriteBatch(packets []tunnel.Packet) (n int, err error) {
	q.writing.Lock()
	n, err = q.Queue.WriteBatch(packets)
	q.writing.Unlock()
	return n, err
}
