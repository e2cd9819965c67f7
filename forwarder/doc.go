// Package forwarder is a packet's walk through weft: out of the TUN device to the peer that has its
// destination, and from the wire back into the TUN device. It knows tunnel and routes, and neither
// leases nor how the device and the routes to it came about.
//
//	egress    Queue.ReadBatch ─▶ whose is the destination? ─▶ Segmenter ─▶ Conn.WriteBatch
//	ingress   Conn.ReadBatch ─▶ split, validate, is the sender's the source? ─▶ Queue.WriteBatch
//
// Egress looks the destination up once per superpacket; the headers of the segments are written to
// an arena and the payload is borrowed from the queue's memory until the conn has taken the batch.
//
// A conn carries one format: bare packets and GUE, VXLAN, or IPv4 in IPv4. A host has conns of every format
// that its network can contain, takes each from every peer, and sends to each peer in the one that the
// peer's hop names.
//
// Concurrency: worker i owns queue i, its conns, its scratch memory and its counters. One thread serves
// both directions where every descriptor can be polled, else egress and the ingress of each conn
// have one each. All run to completion: no channel, allocation, log or lock per packet. The route
// table is loaded once per batch. One lock per batch keeps the queue to one writer, because the ICMP
// errors that egress sends go into the same queue as the packets of ingress; and one keeps a conn to
// one writer, because ingress answers VXLAN peers that ask for this host's MAC.
//
// Beside the workers Run has goroutines that mostly sleep: one raises path MTUs again, one tries out
// whether runs arrive at the peers that they are sent to (trial.go), one looks after outlets, one waits for the end.
//
// What is refused is counted by Reason and leaves no log line.
//
// TTL and hop limit stay as they are: the fabric is one hop, and kernel routing has counted it.
//
// Sources: design.md "Data path contract"; RFC 1812 5.3.7 (martians), RFC 1191 and 8201 (path MTU);
// RFC 7348 (VXLAN) and what Linux's vxlan device makes of it.
package forwarder
