package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weft/perf/netlab"
)

// A flow is one TCP connection that stays open, on which one container sends another bytes that both
// can tell, at a steady pace. The receiver compares every byte, and knows for how long none came.
type flow struct {
	stop chan struct{}
	done sync.WaitGroup

	sent, received uint64 // bytes; after end
	err            error

	mu    sync.Mutex
	last  time.Time     // when bytes came
	stall time.Duration // the longest time without any, since the last call of worst
}

const (
	flowPace  = time.Millisecond
	flowBlock = 16 << 10 // bytes each time: 16 MB/s, which leaves the machine idle time to switch in
	flowSeed  = 7
)

func startFlow(t *testing.T, from, to *netlab.Container) *flow {
	t.Helper()
	listener, err := to.Listen(t.Context(), "tcp", netip.AddrPortFrom(to.Addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := from.Dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{stop: make(chan struct{}), last: time.Now()}
	var sendErr, receiveErr error
	var both sync.WaitGroup
	both.Go(func() { sendErr = f.send(out) })
	both.Go(func() { receiveErr = f.receive(in) })
	f.done.Go(func() {
		both.Wait()
		if f.err = sendErr; f.err == nil {
			f.err = receiveErr
		}
		if f.err == nil && f.sent != f.received {
			f.err = fmt.Errorf("%d bytes sent, %d received", f.sent, f.received)
		}
	})
	return f
}

// noise fills a block with what nobody would guess and both ends know.
func noise(r *rand.PCG, block []byte) {
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], r.Uint64())
	}
}

func (f *flow) send(conn net.Conn) error {
	defer conn.Close()
	pace := time.NewTicker(flowPace)
	defer pace.Stop()
	source, block := rand.NewPCG(flowSeed, flowSeed), make([]byte, flowBlock)
	for {
		select {
		case <-f.stop:
			return conn.(*net.TCPConn).CloseWrite()
		case <-pace.C:
		}
		noise(source, block)
		// A connection that is stuck for this long is broken.
		if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		n, err := conn.Write(block)
		if f.sent += uint64(n); err != nil {
			return fmt.Errorf("after %d bytes sent: %w", f.sent, err)
		}
	}
}

func (f *flow) receive(conn net.Conn) error {
	defer conn.Close()
	source, want, got := rand.NewPCG(flowSeed, flowSeed), make([]byte, flowBlock), make([]byte, flowBlock)
	at := 0 // in want; 0: the block before is complete
	for {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		n, err := conn.Read(got[:flowBlock-at])
		f.mu.Lock()
		f.stall, f.last = max(f.stall, time.Since(f.last)), time.Now()
		f.mu.Unlock()
		if at == 0 {
			noise(source, want)
		}
		if string(got[:n]) != string(want[at:at+n]) {
			return fmt.Errorf("byte %d or one of the %d after it isn't what was sent", f.received, n)
		}
		f.received += uint64(n)
		at = (at + n) % flowBlock
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("after %d bytes received: %w", f.received, err)
		}
	}
}

// worst returns the longest time without a byte since it was last asked.
func (f *flow) worst() (stall time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stall = max(f.stall, time.Since(f.last))
	f.stall, f.last = 0, time.Now()
	return stall
}

// end closes the connection, waits for the last byte, and says what was wrong with it.
func (f *flow) end() (bytes uint64, err error) {
	close(f.stop)
	f.done.Wait()
	return f.received, f.err
}
