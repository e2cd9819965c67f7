package agent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
)

// idleQueue and idleConn have nothing to read until they are closed.
type idleQueue struct{ gone chan struct{} }

func (q idleQueue) ReadBatch([]tunnel.Packet) (int, error) { <-q.gone; return 0, os.ErrClosed }
func (q idleQueue) WriteBatch(p []tunnel.Packet) (int, error) {
	return len(p), nil
}
func (q idleQueue) Offloads() tunnel.Offloads { return tunnel.Offloads{} }
func (q idleQueue) Close() error              { return nil }

type idleConn struct{ gone chan struct{} }

func (c idleConn) ReadBatch([]tunnel.Datagram) (int, error) { <-c.gone; return 0, os.ErrClosed }
func (c idleConn) WriteBatch(d []tunnel.Datagram) (int, error) {
	return len(d), nil
}
func (c idleConn) LocalAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:8285") }
func (c idleConn) Offloads() tunnel.Offloads { return tunnel.Offloads{} }
func (c idleConn) Close() error              { return nil }

// idle makes generations that end when they are retired, and not before, unless gone is closed.
func idle(gone chan struct{}) func() (*generation, error) {
	return func() (*generation, error) {
		stop := make(chan struct{})
		var once sync.Once
		if gone != nil {
			stop = gone
		}
		live := &routes.Live{}
		table, err := routes.New(routes.Layout{Network: netip.MustParsePrefix("10.5.0.0/16"), SubnetLen: 24}, nil)
		if err != nil {
			return nil, err
		}
		live.Publish(table)
		return newGeneration(forwarder.Config{
			Workers: []forwarder.Worker{{Queue: idleQueue{stop}, Conns: []tunnel.Conn{idleConn{stop}}}},
			Routes:  live, MTU: 1400,
			Stop: func() { once.Do(func() { closeUnlessClosed(stop) }) },
		})
	}
}

func closeUnlessClosed(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// Generations that follow each other faster than Run comes to them hold nobody up: a switch without steering
// hung so.
func TestGenerationsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lineage{}
		if err := l.begin(idle(nil)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- l.Run(t.Context()) }()
		for range 50 {
			if err := l.begin(idle(nil)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !l.alive() {
			t.Error("the last one isn't run")
		}
		l.end()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		l.end()
	})
}

// One that fails ends the lineage with its error, and one that never ran is ended all the same.
func TestGenerationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, gone := &lineage{}, make(chan struct{})
		if err := l.begin(idle(gone)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- l.Run(t.Context()) }()
		synctest.Wait()
		close(gone)
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Run = %v, want what the queue said", err)
		}
		if l.alive() {
			t.Error("it is called alive")
		}
		l.end()
		if err := l.begin(idle(nil)); err != nil { // nobody runs it, and nobody waits for it
			t.Error(err)
		}
	})
	never := &lineage{}
	if err := never.begin(idle(nil)); err != nil {
		t.Fatal(err)
	}
	never.end()
	if err := never.Run(context.Background()); err != nil {
		t.Errorf("Run after the end = %v", err)
	}
}
