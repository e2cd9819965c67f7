package tunnel

// Limits of one UDP_SEGMENT message.
const (
	// maxRunBytes is 65,535 minus IPv4 and UDP header: the largest UDP payload, which the kernel
	// also holds a whole run to.
	maxRunBytes = 65535 - ipv4HeaderLen - udpHeaderLen
	// runSegments stays one below UDP_MAX_SEGMENTS, 64 before Linux 6.9 and 128 since.
	runSegments    = 127
	runSegmentsOld = 63
)

// A Run is consecutive datagrams that can travel in one UDP_SEGMENT message.
type Run struct {
	First, Count int // datagrams[First : First+Count]
	SegmentSize  int // bytes of every datagram but the last, which may be shorter
}

// RunLimits bounds what one message may hold.
type RunLimits struct {
	Segments int // datagrams; 1 switches runs off
	Bytes    int // UDP payload in all
}

// PlanRuns appends to dst the runs that out falls into, in order, leaving none out. A run ends where
// the address changes, after a datagram shorter than the first, before a longer one, and at the
// limits. An empty datagram always goes alone, since UDP_SEGMENT can't express it, and so does one that is
// to be Alone.
func PlanRuns(dst []Run, out []Datagram, limits RunLimits) []Run {
	for i := 0; i < len(out); {
		run := Run{First: i, Count: 1, SegmentSize: out[i].Len()}
		extend(&run, out, limits)
		dst = append(dst, run)
		i += run.Count
	}
	return dst
}

// extend grows a run of one as far as the rules let it.
func extend(run *Run, out []Datagram, limits RunLimits) {
	addr, total := out[run.First].Addr, run.SegmentSize
	if run.SegmentSize == 0 || out[run.First].Alone {
		return
	}
	for j := run.First + 1; j < len(out) && run.Count < limits.Segments; j++ {
		n := out[j].Len()
		if n == 0 || n > run.SegmentSize || total+n > limits.Bytes || out[j].Addr != addr || out[j].Alone {
			return
		}
		run.Count++
		total += n
		if n < run.SegmentSize {
			return
		}
	}
}
