package kernelmode

import (
	"encoding/binary"
	"net/netip"
)

// Attributes of RTM_NEWLINK that say what a tunnel device was made with (include/uapi/linux/if_link.h,
// if_tunnel.h).
const (
	attrLinkInfo = 18 // IFLA_LINKINFO
	attrInfoData = 2  // IFLA_INFO_DATA

	vxlanID, vxlanGroup, vxlanLink, vxlanLocal = 1, 2, 3, 4
	vxlanLearning, vxlanPort                   = 7, 15
	vxlanGroup6, vxlanLocal6                   = 16, 17
	vxlanChecksum, vxlanZeroChecksum6          = 18, 19
	vxlanRemcsumTx, vxlanRemcsumRx             = 21, 22
	vxlanGBP, vxlanMetadata                    = 23, 25

	ipipLocal, ipipRemote = 2, 3
)

// infoData returns the part of a link message, without its netlink header, that belongs to the device's
// kind; nil if there is none.
func infoData(body []byte) []byte {
	if len(body) < sizeofLinkMessage {
		return nil
	}
	return attribute(attribute(body[sizeofLinkMessage:], attrLinkInfo), attrInfoData)
}

// parseVXLAN reads what a VXLAN device was made with. parent is the index of the underlying device, 0
// if none: who asks has to name it. What is missing or too short is left at its zero value.
func parseVXLAN(data []byte) (v VXLAN, parent int) {
	set := func(kind uint16) bool {
		value := attribute(data, kind)
		return len(value) > 0 && value[0] != 0
	}
	if id := attribute(data, vxlanID); len(id) == 4 {
		v.VNI = binary.NativeEndian.Uint32(id)
	}
	if index := attribute(data, vxlanLink); len(index) == 4 {
		parent = int(int32(binary.NativeEndian.Uint32(index)))
	}
	if port := attribute(data, vxlanPort); len(port) == 2 {
		v.Port = binary.BigEndian.Uint16(port)
	}
	v.Local = firstAddr(attribute(data, vxlanLocal), attribute(data, vxlanLocal6))
	v.Remote = firstAddr(attribute(data, vxlanGroup), attribute(data, vxlanGroup6))
	v.Learning = set(vxlanLearning)
	v.GBP = attribute(data, vxlanGBP) != nil // a flag: there without a value
	v.RemoteChecksum = set(vxlanRemcsumTx) || set(vxlanRemcsumRx)
	sum := attribute(data, vxlanChecksum)
	v.ZeroChecksum = len(sum) > 0 && sum[0] == 0 || set(vxlanZeroChecksum6)
	v.External = set(vxlanMetadata)
	return v, parent
}

// parseIPIP reads what an IPIP device was made with.
func parseIPIP(data []byte) IPIP {
	return IPIP{Local: firstAddr(attribute(data, ipipLocal)), Remote: firstAddr(attribute(data, ipipRemote))}
}

// firstAddr returns the first value that is an address and not the unspecified one.
func firstAddr(values ...[]byte) netip.Addr {
	for _, value := range values {
		if a, ok := netip.AddrFromSlice(value); ok && !a.IsUnspecified() {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}
