package tunnel

import "encoding/binary"

// openFlows is how many superpackets may be growing at once: as many as kernel GRO keeps buckets
// (GRO_HASH_BUCKETS). Underlay trains hold one flow each, so more are rarely met in one batch.
const openFlows = 8

// maxSuperHeader is a virtio header, an IPv6 header and the longest TCP header.
const maxSuperHeader = vnetHeaderLen + ipv6HeaderLen + 60

// coalesceLimits says what the device takes.
type coalesceLimits struct {
	tcp         bool // VIRTIO_NET_HDR_GSO_TCPV4 and TCPV6
	udp         bool // VIRTIO_NET_HDR_GSO_UDP_L4
	udpSegments int  // segments of one UDP superpacket: 64 before Linux 6.9, 128 since
	longTail    bool // the kernel refuses a last segment shorter than its headers (6.6.44 and others)
}

// tcpSegments bounds a TCP superpacket so that its iovecs stay below UIO_MAXIOV (1,024).
const tcpSegments = 512

// A coalescer plans how a batch of packets is handed to the kernel: which go alone and which become
// one superpacket, after kernel GRO's rules (net/core/gro.c, net/ipv4/tcp_offload.c). It copies
// headers only; payload is borrowed from the packets of the batch.
//
// Order within a flow holds by construction: writes stand in the order in which their first packet
// came, a flow has at most one open write, and that is its newest.
type coalescer struct {
	limits  coalesceLimits
	packets []Packet // the batch being planned, borrowed
	writes  []write
	next    []int32 // by packet: the packet that follows it in the same write, or -1
	open    [openFlows]flow
	opened  int    // open[:opened] are in use
	heads   []byte // maxSuperHeader bytes for each write
}

// A write is one writev: a virtio header, maybe rewritten packet headers, and borrowed bytes.
type write struct {
	head        []byte // virtio header and, for a superpacket, the IP and transport header
	first, last int32  // first and last packet; in between follow coalescer.next
	count       int    // packets in it
	skip        int    // bytes at the front of each packet that head stands for; 0 when count is 1
}

// plan returns the writes for packets, valid until the next plan, as long as packets are.
func (c *coalescer) plan(packets []Packet) []write {
	c.reset(packets)
	for i := range packets {
		c.add(int32(i), &packets[i])
	}
	for c.opened > 0 {
		c.close(0)
	}
	return c.writes
}

// reset makes room for one write per packet, so that nothing grows while planning.
func (c *coalescer) reset(packets []Packet) {
	if n := len(packets); n > len(c.next) {
		c.next = make([]int32, n)
		c.writes = make([]write, 0, n)
		c.heads = make([]byte, n*maxSuperHeader)
	}
	c.packets, c.writes, c.opened = packets, c.writes[:0], 0
}

// add puts packet i into an open superpacket or gives it a write of its own.
func (c *coalescer) add(i int32, p *Packet) {
	h, ok := parseHeaders(p.Data)
	if !ok {
		// A fragment may belong to any flow between its hosts: nothing that follows may overtake it.
		for c.opened > 0 {
			c.close(0)
		}
		c.alone(i, p)
		return
	}
	key := flowKeyOf(p.Data, h)
	at := c.find(&key)
	if at >= 0 && c.open[at].takes(c, p, h) {
		if full := c.open[at].append(c, i, p); full {
			c.close(at)
		}
		return
	}
	if at >= 0 {
		c.close(at)
	}
	w := c.alone(i, p)
	if c.mayOpen(p, h) {
		if c.opened == openFlows {
			c.close(0)
		}
		c.open[c.opened].start(key, w, p, h)
		c.opened++
	}
}

// alone gives packet i its own write and returns that write's index.
func (c *coalescer) alone(i int32, p *Packet) int {
	n := len(c.writes)
	head := c.heads[n*maxSuperHeader:][:vnetHeaderLen]
	vnetFor(p.GSO).encode(head)
	c.next[i] = -1
	c.writes = append(c.writes, write{head: head, first: i, last: i, count: 1})
	return n
}

// find returns the index of the open flow with that key, or -1. The newest is the likeliest.
func (c *coalescer) find(key *flowKey) int {
	for at := c.opened - 1; at >= 0; at-- {
		if c.open[at].key == *key {
			return at
		}
	}
	return -1
}

// close finishes the superpacket of an open flow and removes the flow, keeping the others' order.
func (c *coalescer) close(at int) {
	f := &c.open[at]
	if w := &c.writes[f.write]; w.count > 1 {
		f.finish(c, w)
	}
	copy(c.open[at:c.opened], c.open[at+1:c.opened])
	c.opened--
}

// A flowKey is what two packets of one flow have in common: family, protocol, addresses, ports.
type flowKey struct {
	addresses [4]uint64
	ports     uint32
	kind      uint32 // protocol, with the family above it
}

// flowKeyOf returns the key of a TCP or UDP packet.
func flowKeyOf(data []byte, h headers) (k flowKey) {
	k.ports = binary.NativeEndian.Uint32(data[h.ip:])
	k.kind = uint32(h.protocol)
	if !h.v6 {
		k.addresses[0] = binary.NativeEndian.Uint64(data[12:])
		return k
	}
	k.kind |= 1 << 8
	for i := range k.addresses {
		k.addresses[i] = binary.NativeEndian.Uint64(data[8+8*i:])
	}
	return k
}
