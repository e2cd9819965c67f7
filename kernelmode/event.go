package kernelmode

import (
	"encoding/binary"
	"net/netip"
)

// Types, sizes and attributes of rtnetlink messages (include/uapi/linux/rtnetlink.h, if_link.h,
// if_addr.h, neighbour.h). Only what an Event needs is looked at.
const (
	rtmNewLink, rtmDelLink         = 16, 17
	rtmNewAddress, rtmDelAddress   = 20, 21
	rtmNewRoute, rtmDelRoute       = 24, 25
	rtmNewNeighbour, rtmDelNeighbr = 28, 29

	sizeofLinkMessage  = 16 // struct ifinfomsg; the index is its second word
	sizeofAddrMessage  = 8  // struct ifaddrmsg; the index is its second word
	sizeofRouteMessage = 12 // struct rtmsg: family, dst_len, src_len, tos, table, protocol, …
	sizeofNeighMessage = 12 // struct ndmsg; the index is its second word

	attrName      = 3 // IFLA_IFNAME
	attrDst       = 1 // RTA_DST
	attrTypeMask  = 1<<14 - 1
	familyIPv4    = 2
	familyIPv6    = 10
	tableMain     = 254
	sizeofAttrHdr = 4
)

// parseEvent reads one rtnetlink notification without its header. names maps indexes to names and is
// kept up to date from the link messages themselves: when the message of a deletion has come, the
// kernel can't be asked any more. ok is false for what is no event: other types, other tables, and
// messages too short for their type.
func parseEvent(kind uint16, body []byte, names map[int]string) (e Event, ok bool) {
	switch kind {
	case rtmNewLink, rtmDelLink:
		return parseLink(kind == rtmDelLink, body, names)
	case rtmNewAddress, rtmDelAddress:
		if len(body) < sizeofAddrMessage {
			return Event{}, false
		}
		return Event{Kind: EventAddress, Device: names[index32(body)]}, true
	case rtmNewNeighbour, rtmDelNeighbr:
		if len(body) < sizeofNeighMessage {
			return Event{}, false
		}
		return Event{Kind: EventNeighbour, Device: names[index32(body)]}, true
	case rtmNewRoute, rtmDelRoute:
		return parseRoute(body)
	}
	return Event{}, false
}

// index32 reads the device index, which three of the four headers have in the same place.
func index32(body []byte) int { return int(int32(binary.NativeEndian.Uint32(body[4:]))) }

func parseLink(deleted bool, body []byte, names map[int]string) (Event, bool) {
	if len(body) < sizeofLinkMessage {
		return Event{}, false
	}
	index := index32(body)
	name := string(attribute(body[sizeofLinkMessage:], attrName))
	if n := len(name); n > 0 && name[n-1] == 0 {
		name = name[:n-1]
	}
	if name == "" {
		name = names[index]
	}
	if deleted {
		delete(names, index)
	} else if name != "" {
		names[index] = name
	}
	return Event{Kind: EventLink, Device: name}, true
}

func parseRoute(body []byte) (Event, bool) {
	if len(body) < sizeofRouteMessage || body[4] != tableMain {
		return Event{}, false
	}
	e := Event{Kind: EventRoute, Protocol: body[5]}
	var zero netip.Addr
	switch body[0] {
	case familyIPv4:
		zero = netip.IPv4Unspecified()
	case familyIPv6:
		zero = netip.IPv6Unspecified()
	default:
		return Event{}, false
	}
	dst, there := netip.AddrFromSlice(attribute(body[sizeofRouteMessage:], attrDst))
	if !there { // a default route has no destination attribute
		dst = zero
	}
	if dst.Is4() != zero.Is4() {
		return Event{}, false
	}
	prefix, err := dst.Prefix(int(body[1]))
	e.Dst = prefix
	return e, err == nil
}

// attribute returns the value of the first attribute of the given type, nil if there is none or the
// list is malformed before it.
func attribute(attrs []byte, kind uint16) []byte {
	for len(attrs) >= sizeofAttrHdr {
		size := int(binary.NativeEndian.Uint16(attrs))
		if size < sizeofAttrHdr || size > len(attrs) {
			return nil
		}
		if binary.NativeEndian.Uint16(attrs[2:])&attrTypeMask == kind {
			return attrs[sizeofAttrHdr:size]
		}
		attrs = attrs[min((size+3)&^3, len(attrs)):]
	}
	return nil
}
