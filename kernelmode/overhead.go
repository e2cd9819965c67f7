package kernelmode

// What each encapsulation puts in front of an inner packet, in bytes, by the family of the outer one:
// an IP header without options (20 or 40), UDP (8), VXLAN (8) and the inner Ethernet header (14).
// flannel subtracts the same.
const (
	OverheadUDP4 = 20 + 8
	OverheadUDP6 = 40 + 8

	OverheadVXLAN4 = 20 + 8 + 8 + 14
	OverheadVXLAN6 = 40 + 8 + 8 + 14

	OverheadIPIP4 = 20 // the outer header is all there is

	minMTU4 = 68   // RFC 791
	minMTU6 = 1280 // RFC 8200 section 5; below it Linux switches IPv6 off on the device
	maxMTU  = 65535
)
