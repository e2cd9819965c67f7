package tunnel

import "errors"

// ErrWouldBlock is what ReadBatch of a Pollable returns, with n 0, when nothing is ready.
var ErrWouldBlock = errors.New("nothing ready")

// Pollable is a Queue or Conn that can be read without waiting. A worker whose queue and conns are
// all Pollable serves both directions on one thread and waits for all of them in one poll(2): on few
// cores that halves the context switches per superpacket, which is where such a worker spends the
// most after copying.
type Pollable interface {
	// FD is the descriptor to poll for POLLIN. It is valid until Close.
	FD() int

	// SetNonblocking makes ReadBatch return ErrWouldBlock instead of waiting. Called once, before
	// the first ReadBatch.
	SetNonblocking()
}
