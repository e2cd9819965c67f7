package tunnel

import (
	"bytes"
	"errors"
	"testing"
)

// A limit below the superpacket's own segment size gives the segments of a smaller superpacket. UDP is
// left alone: its receiver counts on the datagrams' borders.
func TestSegmentLimitCutsTCPFiner(t *testing.T) {
	const asked, finer = 100, 60
	for _, spec := range segmentCases() {
		super := superOf(spec, asked)
		size := finer
		if spec.udp {
			size = asked
		}
		want := segmentsOf(spec, size)
		cut := Cut{Limit: int(super.GSO.HeaderLen) + finer}
		got, err := NewSegmenter().Append(nil, &super, cut)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d bytes, v6 %v, udp %v: %d segments (%v), want %d", len(spec.payload), spec.v6, spec.udp, len(got), err, len(want))
		}
		for i := range want {
			if one := append(bytes.Clone(got[i].Head), got[i].Payload...); !bytes.Equal(one, want[i].Data) {
				t.Fatalf("%d bytes, v6 %v, udp %v: segment %d is\n% x\nwant\n% x", len(spec.payload), spec.v6, spec.udp, i, one, want[i].Data)
			}
		}
	}
}

func TestSegmentLimitWithoutRoomIsRefused(t *testing.T) {
	super := superOf(testPacket{payload: pattern(300, 1)}, 100)
	out, err := NewSegmenter().Append(nil, &super, Cut{Limit: int(super.GSO.HeaderLen)})
	if !errors.Is(err, ErrMalformed) || len(out) != 0 {
		t.Errorf("Append = %d datagrams, %v; want ErrMalformed", len(out), err)
	}
}
