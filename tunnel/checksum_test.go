package tunnel

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestOnesSumAgainstRFC1071(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		for _, fill := range []byte{0, 0xff, 1} {
			b := bytes.Repeat([]byte{fill}, n)
			if fill == 1 {
				for i := range b {
					b[i] = byte(random.Uint32())
				}
			}
			if got, want := onesSum(b), ^naiveSum(b); got != want {
				t.Errorf("onesSum of %d bytes of %#x: %#04x, want %#04x", n, fill, got, want)
			}
		}
	}
}

func FuzzOnesSum(f *testing.F) {
	f.Add([]byte{1, 2, 3}, 0)
	f.Add(pattern(1500, 1), 3)
	f.Fuzz(func(t *testing.T, b []byte, offset int) {
		if offset > 0 && offset <= len(b) {
			b = b[offset:] // unaligned starts
		}
		if got, want := onesSum(b), ^naiveSum(b); got != want {
			t.Errorf("onesSum of %x: %#04x, want %#04x", b, got, want)
		}
	})
}

func TestFinishChecksumCompletesEveryKind(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			for n := range 70 {
				spec := testPacket{v6: v6, udp: udp, payload: pattern(n, n)}
				want := spec.build()
				spec.partial = true
				got := spec.build()
				FinishChecksum(&got)
				if !bytes.Equal(got.Data, want.Data) || got.GSO != (GSO{}) {
					t.Fatalf("v6 %v udp %v payload %d: %x, want %x", v6, udp, n, got.Data, want.Data)
				}
			}
		}
	}
}

func BenchmarkOnesSum(b *testing.B) {
	for _, size := range []int{20, 64, 1400, 62 << 10} {
		b.Run(sizeName(size), func(b *testing.B) {
			data := pattern(size, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				sink = onesSum(data)
			}
		})
	}
}

var sink uint16
