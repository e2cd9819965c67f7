package netlab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestImpairmentCheck(t *testing.T) {
	for _, bad := range []Impairment{
		{Loss: 1.1}, {Loss: -0.1}, {Loss: math.NaN()}, {Duplicate: 2}, {Reorder: -1},
		{Delay: -1}, {Jitter: MaxDelay + 1},
	} {
		if err := bad.check(); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: error is %v, want one with a remedy", bad, err)
		}
	}
	if err := (Impairment{Delay: MaxDelay, Loss: 1, Duplicate: 1, Reorder: 1}).check(); err != nil {
		t.Errorf("the largest values: %v", err)
	}
}

func TestModelIsSeeded(t *testing.T) {
	impairment := Impairment{Loss: 0.3, Duplicate: 0.3, Reorder: 0.3, Jitter: time.Millisecond, Seed: 42}
	one, same, back := newModel(impairment, 1), newModel(impairment, 1), newModel(impairment, 2)
	differences, now := 0, time.Now()
	for range 1000 {
		now = now.Add(time.Microsecond)
		a, b, c := one.next(now), same.next(now), back.next(now)
		if a != b {
			t.Fatalf("the same seed decided %+v and %+v", a, b)
		}
		if a != c {
			differences++
		}
	}
	if differences < 500 {
		t.Errorf("the two directions differ in %d of 1000 decisions only", differences)
	}
}

func TestModelRates(t *testing.T) {
	const packets = 100_000
	m := newModel(Impairment{Loss: 0.1, Duplicate: 0.2, Reorder: 0.05, Seed: 7}, 1)
	var lost, twice, late int
	now := time.Now()
	for range packets {
		f := m.next(now)
		switch f.copies {
		case 0:
			lost++
		case 2:
			twice++
		}
		if f.reordered {
			late++
		}
	}
	for _, c := range []struct {
		name string
		got  int
		want float64
	}{{"lost", lost, 0.1}, {"twice", twice, 0.9 * 0.2}, {"late", late, 0.9 * 0.05}} {
		// Five standard deviations: the seed is fixed, so this can't flicker.
		if got, margin := float64(c.got)/packets, 5*math.Sqrt(c.want*(1-c.want)/packets); math.Abs(got-c.want) > margin {
			t.Errorf("%s: %.4f of the packets, want %.4f ± %.4f", c.name, got, c.want, margin)
		}
	}
}

func TestModelJitterKeepsOrder(t *testing.T) {
	m := newModel(Impairment{Delay: time.Millisecond, Jitter: 10 * time.Millisecond, Seed: 3}, 1)
	now, last := time.Now(), time.Time{}
	for range 1000 {
		now = now.Add(100 * time.Microsecond)
		f := m.next(now)
		if f.due[0].Before(last) || f.due[0].Before(now.Add(time.Millisecond)) {
			t.Fatalf("packet of %v is due %v, the one before it %v", now, f.due[0], last)
		}
		last = f.due[0]
	}
}

// pipe is an io.Reader of whole packets and an io.Writer that records them with their times.
type pipe struct {
	packets chan []byte

	mu      sync.Mutex
	written [][]byte
	at      []time.Time
}

func (p *pipe) Read(buffer []byte) (int, error) {
	packet, ok := <-p.packets
	if !ok {
		return 0, io.EOF
	}
	return copy(buffer, packet), nil
}

func (p *pipe) Write(packet []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written, p.at = append(p.written, packet), append(p.at, time.Now())
	return len(packet), nil
}

// soFar waits until the lane has nothing to do, and returns what it has written.
func (p *pipe) soFar() (written []byte, at []time.Time) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Join(p.written, nil), slices.Clone(p.at)
}

func TestLaneDelaysInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 50 * time.Millisecond
		p := &pipe{packets: make(chan []byte)}
		l := newLane(p, p, 1)
		l.impairment.Store(&Impairment{Delay: delay})
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { errs <- l.read(ctx) }()
		go func() { errs <- l.deliver(ctx) }()
		start := time.Now()
		for i := range byte(10) {
			p.packets <- []byte{i}
		}
		time.Sleep(delay - time.Nanosecond)
		if early, _ := p.soFar(); len(early) != 0 {
			t.Errorf("packets %v came before the delay was over", early)
		}
		time.Sleep(time.Nanosecond)
		got, at := p.soFar()
		if !bytes.Equal(got, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("packets came as %v", got)
		}
		for _, when := range at {
			if when.Sub(start) != delay {
				t.Errorf("a packet took %v", when.Sub(start))
			}
		}
		if got := l.counts.load(); got != (Counts{Delivered: 10}) {
			t.Errorf("counts are %+v", got)
		}
		cancel()
		close(p.packets)
		for range 2 {
			if err := <-errs; !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
				t.Errorf("lane ended with %v", err)
			}
		}
	})
}
