package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// minPayload holds the sequence number that every packet carries.
const minPayload = 8

// datagrams is how many packets one system call moves.
const datagrams = 64

// udpOverhead is what IPv4 and UDP put in front of a payload.
const udpOverhead = 20 + 8

// IMIX is the simple Internet mix of RFC 6985's IMIX genome, 7:4:1, as UDP payload sizes: packets
// of 64, 576 and at most 1,400 bytes with their IPv4 header. The largest is not 1,500 but what every
// encapsulation takes on a 1,500-byte underlay, so that all subjects carry the same bytes. The
// sizes are spread, as they would be on a link, so equal ones rarely follow each other.
func IMIX() []int {
	const small, middle, large = 64 - udpOverhead, 576 - udpOverhead, 1400 - udpOverhead
	return []int{small, middle, small, small, middle, small, large, small, middle, small, middle, small}
}

// packetConn is what ipv4.PacketConn and ipv6.PacketConn share. Both Message types are one type.
type packetConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// batches puts sendmmsg and recvmmsg around a socket.
func batches(conn *net.UDPConn, addr netip.Addr) packetConn {
	if addr.Is4() {
		return ipv4.NewPacketConn(conn)
	}
	return ipv6.NewPacketConn(conn)
}

// udpSink counts the packets of one flow from the first one on, and those out of order. Its window
// opens by the first packet and not by a message of the source: a fabric under a flood would delay it.
func udpSink(ctx context.Context, j Job, ready func(netip.AddrPort)) (Report, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(j.Addr))
	if err != nil {
		return Report{}, fmt.Errorf("listening on %v: %w", j.Addr, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := growReceiveBuffer(conn); err != nil {
		return Report{}, err
	}
	ready(conn.LocalAddr().(*net.UDPAddr).AddrPort())

	count := arrivals{}
	bound := batches(conn, j.Addr.Addr())
	messages := newMessages([]int{slices.Max(j.Sizes)}) // no larger: 64 buffers should stay in the cache
	conn.SetReadDeadline(time.Now().Add(grace))
	for {
		n, err := bound.ReadBatch(messages, 0)
		now := time.Now()
		if n > 0 && count.meter == nil {
			count.meter = &meter{window: newWindow(now, j)}
			conn.SetReadDeadline(count.meter.window.closes)
		}
		count.take(messages[:max(n, 0)], now)
		if err != nil || (count.meter != nil && !now.Before(count.meter.window.closes)) {
			return count.report(err)
		}
	}
}

// arrivals is what a UDP sink has seen. Packets of one flow must arrive in the order they were sent.
type arrivals struct {
	meter     *meter
	bytes     uint64
	newest    uint64
	reordered uint64
}

// take counts packets that arrived together at now.
func (a *arrivals) take(messages []ipv4.Message, now time.Time) {
	packets := uint64(0)
	for i := range messages {
		m := &messages[i]
		if m.N < minPayload {
			continue // not from our source
		}
		packets++
		a.bytes += uint64(m.N)
		sequence := binary.BigEndian.Uint64(m.Buffers[0])
		if sequence < a.newest {
			a.reordered++
		}
		a.newest = max(a.newest, sequence)
	}
	if packets > 0 {
		a.meter.add(packets, now)
	}
}

// report turns the end of reading into figures: the deadline is the ordinary end.
func (a *arrivals) report(end error) (Report, error) {
	switch {
	case a.meter == nil && errors.Is(end, os.ErrDeadlineExceeded):
		return Report{}, fmt.Errorf("no packet arrived within %v: %w", grace, end)
	case end != nil && !errors.Is(end, os.ErrDeadlineExceeded):
		return Report{}, fmt.Errorf("receiving packets: %w", end)
	}
	return Report{
		Seconds: a.meter.seconds(a.meter.window.closes),
		Packets: a.meter.counted.Load(), Reordered: a.reordered, TotalBytes: a.bytes,
	}, nil
}

// udpSource sends one flow as fast as the kernel takes it. What a full queue refuses is lost, as it
// would be to any program; it goes on. Where the path runs inside the sender's own system call, as it
// does over veth without a tunnel, sending slows down to what the path carries, and little is lost.
func udpSource(ctx context.Context, j Job, _ func(netip.AddrPort)) (Report, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(j.Addr))
	if err != nil {
		return Report{}, fmt.Errorf("dialing %v: %w", j.Addr, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	connected := batches(conn, j.Addr.Addr())
	messages := newMessages(j.Sizes)
	start := time.Now()
	until := start.Add(j.Warmup + j.Duration + runOut)
	var sent, sequence uint64
	for time.Now().Before(until) {
		for i := range messages {
			sequence++
			binary.BigEndian.PutUint64(messages[i].Buffers[0], sequence)
		}
		// A short count is not made up for: its sequence numbers are missing, which is no reordering.
		n, err := connected.WriteBatch(messages, 0)
		sent += uint64(max(n, 0))
		if err != nil && !refused(err) {
			return Report{}, fmt.Errorf("sending packets to %v: %w", j.Addr, err)
		}
	}
	return Report{Seconds: time.Since(start).Seconds(), Packets: sent}, nil
}

// refused reports errors that cost a packet and nothing more: a full queue, a peer not there yet.
func refused(err error) bool {
	for _, passing := range []syscall.Errno{syscall.ENOBUFS, syscall.ECONNREFUSED, syscall.EPERM, syscall.EAGAIN} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// newMessages makes one batch whose sizes follow the given ones round and round. The batch is a
// whole number of rounds, so that a mix keeps its shares.
func newMessages(sizes []int) []ipv4.Message {
	rounds := max(datagrams/len(sizes), 1)
	messages := make([]ipv4.Message, 0, rounds*len(sizes))
	for range rounds {
		for _, size := range sizes {
			messages = append(messages, ipv4.Message{Buffers: [][]byte{make([]byte, size)}})
		}
	}
	return messages
}
