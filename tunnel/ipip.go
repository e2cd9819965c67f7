package tunnel

// IPv4 in IPv4 (RFC 2003) has no port and no header of its own: a raw socket of protocol 4 sends the bare
// inner packet, and the kernel writes the outer header as it does in front of a UDP datagram. What it
// receives begins with the outer header. A Linux ipip device puts the same on the wire.

// protocolIPIP is IPPROTO_IPIP.
const protocolIPIP = 4

// A Part says which of the inner flows that come to a host one of its raw sockets takes: the kernel gives a
// copy of each packet to every raw socket, so that several have to divide them. The zero value takes all.
type Part struct {
	Index int // 0 to Of-1
	Of    int // sockets that share; 0 means 1
}

// takeOuter takes the outer IPv4 header off what a raw socket received. ok is false for what is no IPv4
// packet, which no kernel hands over.
func takeOuter(d *Datagram) (ok bool) {
	if len(d.Payload) < ipv4HeaderLen || d.Payload[0]>>4 != 4 {
		return false
	}
	header := int(d.Payload[0]&15) * 4
	if header < ipv4HeaderLen || header > len(d.Payload) {
		return false
	}
	d.Payload = d.Payload[header:]
	return true
}
