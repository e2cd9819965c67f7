package forwarder

// A Reason says why a packet was dropped. Its String is the name in status, metrics and documentation.
type Reason uint8

// The reasons. Those marked (in) are about packets from the wire, (out) about packets from the TUN.
const (
	NoRoute         Reason = iota // (out) no lease has the destination; answered with ICMP
	TooBig                        // (out) over the path MTU; answered with ICMP. (in) larger than the MTU and can't be cut
	Malformed                     // bad version, header length or length, or bytes behind the packet
	Martian                       // a source or destination that no host has, or (in) a source of our own
	Recursion                     // for the underlay address of a peer: it would go round in circles
	UnknownPeer                   // (in) no lease names the outer source address; comes before all others
	BadVNI                        // (in) a VXLAN frame of another network
	BadMAC                        // (in) a VXLAN frame to a single MAC that isn't ours
	Broadcast                     // (in) a VXLAN frame to many that asks for nothing we have
	RouterSolicit                 // (in) a VXLAN frame that asks for IPv6 routers: the fabric has none
	RateLimited                   // (in) a neighbour question among too many
	UnknownProtocol               // (in) a VXLAN frame with neither IP nor a neighbour question
	SpoofedSource                 // (in) the inner source isn't in a subnet of the sender's
	NotLocal                      // (in) the inner destination isn't in our subnet
	QueueFull                     // (in) the TUN device didn't take it: down, or out of memory
	SocketError                   // (out) the kernel refused the datagram; see Counters.Peers
	NoConn                        // (out) this host has no socket of the hop's format and address family
	UnknownEncap                  // (out) the packet can't travel in the encapsulation that the hop asks for
	reasonCount
)

var reasonNames = [reasonCount]string{
	NoRoute: "no_route", TooBig: "too_big", Malformed: "malformed", Martian: "martian",
	Recursion: "recursion", UnknownPeer: "unknown_peer", SpoofedSource: "spoofed_source",
	NotLocal: "not_local", QueueFull: "queue_full", SocketError: "socket_error",
	NoConn: "no_conn", UnknownEncap: "unknown_encapsulation",
	BadVNI: "bad_vni", BadMAC: "bad_mac", Broadcast: "broadcast",
	RouterSolicit: "router_solicitation", RateLimited: "rate_limited", UnknownProtocol: "unknown_protocol",
}

// String returns the name of the reason: lower case, words joined by underscores.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}
