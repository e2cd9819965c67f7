package tunnel

import (
	"errors"
	"fmt"
	"syscall"
)

// A Rung is one offload as probing found it: what doctor shows, and why it isn't better.
type Rung struct {
	Name string `json:"name"` // as in --offload-NAME
	On   bool   `json:"on"`
	// Why says why the rung is off and what would bring it, or what limits it although it is on.
	// Empty where there is nothing to say.
	Why string `json:"why,omitempty"`
}

// Probe tries every rung in the network namespace of the calling thread, on a TUN device and a
// loopback socket of its own that are gone when it returns. Nothing leaves the host. A rung that modes
// switch off isn't tried. It takes a few milliseconds; err is set only where not even a plain TUN
// device or UDP socket can be had.
//
// Versions alone don't tell: distributions carry fixes and bugs back and forth, so what can be tried
// is tried.
func Probe(modes Modes) ([]Rung, error) {
	device, err := openProbeDevice()
	if err != nil {
		return nil, fmt.Errorf("probing offloads: %w", err)
	}
	defer device.close()
	pair, err := openProbePair()
	if err != nil {
		return nil, fmt.Errorf("probing offloads: %w", err)
	}
	defer pair.close()
	rungs := []Rung{
		rung("tso", modes.TSO, device.tso),
		rung("uso", modes.USO, device.uso),
		rung("gso", modes.GSO, pair.gso),
		rung("gro", modes.GRO, pair.gro),
		rung("multi-queue", modes.MultiQueue, device.multiQueue),
		rung("batch", modes.Batch, pair.batch),
		rung("udp-tunnel-gso", modes.TunnelGSO, probeOutlet),
	}
	return rungs, nil
}

// rung tries one rung. try returns nil, a limitation, or why it can't be had.
func rung(name string, mode Mode, try func() error) Rung {
	if mode == Off {
		return Rung{Name: name, Why: "switched off by --offload-" + name}
	}
	err := try()
	if err == nil {
		return Rung{Name: name, On: true}
	}
	var limit limitation
	return Rung{Name: name, On: errors.As(err, &limit), Why: err.Error()}
}

// A limitation is what a rung lacks although it works.
type limitation string

func (l limitation) Error() string { return string(l) }

// refusedBecause names what the kernel refused and what would bring it.
func refusedBecause(what string, err error, remedy string) error {
	return fmt.Errorf("%s: %w: %s", what, err, remedy)
}

// What the kernel bugs cost, for Rung.Why.
const (
	shortTailBug = limitation("this kernel refuses superpackets whose last segment is shorter than its headers " +
		"(6.6.44 and some stable kernels after it): such a segment goes in on its own")
	fewSegments = limitation("at most 64 segments of UDP in a superpacket; 128 from Linux 6.9")
)

// judgeTSO interprets what the kernel said to a superpacket, and to the same with a short tail.
func judgeTSO(whole, shortTail syscall.Errno) error {
	switch {
	case whole != 0:
		return refusedBecause("writing a TCP superpacket", whole, "packets go in one by one")
	case shortTail == syscall.EINVAL:
		return shortTailBug
	case shortTail != 0:
		return refusedBecause("writing a TCP superpacket with a short tail", shortTail, "packets go in one by one")
	}
	return nil
}

// judgeUSO does so for UDP, small and with more than 64 segments.
func judgeUSO(whole, many syscall.Errno) error {
	switch {
	case whole != 0:
		return refusedBecause("writing a UDP superpacket", whole, "datagrams go in one by one")
	case many != 0:
		return fewSegments
	}
	return nil
}

// probeSuperpacket builds what the probes write: a superpacket of a few hundred bytes whose IP header
// checksum is wrong on purpose, so that the stack drops it as soon as the device has taken it.
func probeSuperpacket(kind GSOKind, segments, size, tail int) []byte {
	protocol, transport := kind.protocol(), tcpHeaderLen
	if kind == GSOUDP {
		transport = udpHeaderLen
	}
	headers := ipv4HeaderLen + transport
	data := make([]byte, vnetHeaderLen+headers+segments*size+tail)
	packet := data[vnetHeaderLen:]
	packet[0], packet[ipv4TTL], packet[ipv4Protocol] = 0x45, 1, protocol
	packet[ipv4TotalLen], packet[ipv4TotalLen+1] = byte(len(packet)>>8), byte(len(packet))
	packet[ipv4Checksum] = 0xba
	if kind == GSOUDP {
		n := len(packet) - ipv4HeaderLen
		packet[ipv4HeaderLen+udpLength], packet[ipv4HeaderLen+udpLength+1] = byte(n>>8), byte(n)
	} else {
		packet[ipv4HeaderLen+tcpDataOffset] = 5 << 4
	}
	vnetFor(GSO{
		Kind: kind, SegmentSize: uint16(size), HeaderLen: uint16(headers), PartialChecksum: true,
		ChecksumStart: ipv4HeaderLen, ChecksumOffset: checksumField(protocol),
	}).encode(data)
	return data
}
