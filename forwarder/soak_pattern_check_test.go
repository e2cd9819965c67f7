package forwarder_test

import (
	"slices"
	"testing"
)

// TestMessagesShowDamage makes sure that the soak would notice: every single damaged bit, and every cut,
// of messages of all sizes.
func TestMessagesShowDamage(t *testing.T) {
	p := newPattern(1)
	buffer := make([]byte, messageMax)
	for n := range uint64(40) {
		good := p.putMessage(buffer, n, messageMax)
		if got, numbered, ok := p.readMessage(good, messageMax); !ok || numbered && got != n {
			t.Fatalf("message %d (%d bytes) reads as %d, ok %t", n, len(good), got, ok)
		}
		for _, at := range []int{0, len(good) / 2, len(good) - 1} {
			bad := slices.Clone(good)
			bad[at] ^= 1 << (n % 8)
			if _, _, ok := p.readMessage(bad, messageMax); ok {
				t.Errorf("message %d of %d bytes: a damaged bit in byte %d goes unnoticed", n, len(good), at)
			}
		}
		if len(good) > messageHeader {
			if _, _, ok := p.readMessage(good[:len(good)-1], messageMax); ok {
				t.Errorf("message %d: a missing byte goes unnoticed", n)
			}
		}
	}
}

func TestPatternShowsMisplacedBytes(t *testing.T) {
	p := newPattern(2)
	b := make([]byte, 3*patternLen/2)
	p.fill(b, patternLen-5)
	if !p.matches(b, patternLen-5) {
		t.Fatal("a pattern doesn't match itself")
	}
	for _, at := range []uint64{patternLen - 4, patternLen - 6, 0} {
		if p.matches(b, at) {
			t.Errorf("bytes from %d pass for those from %d", patternLen-5, at)
		}
	}
}
