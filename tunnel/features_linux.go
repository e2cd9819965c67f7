package tunnel

import (
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// tunnelSegmentation is what a device has that takes superpackets inside UDP with a checksum
// (netdev_features_strings, net/ethtool/common.c).
const tunnelSegmentation = "tx-udp_tnl-csum-segmentation"

// ethtoolFamily asks for the number that the kernel gave ethtool netlink when it booted; 0 where there is none.
func ethtoolFamily() uint16 {
	family, err := genlFamily("ethtool")
	if err != nil {
		return 0
	}
	return family
}

// segmentsTunnels reports whether a device of a socket's namespace has tunnelSegmentation switched on. No
// where the kernel doesn't say (before 5.6): then the slower way is taken.
func segmentsTunnels(socket *nl.NetlinkSocket, family uint16, device string) bool {
	if family == 0 {
		return false
	}
	request := nl.NewNetlinkRequest(int(family), 0)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: {Socket: socket}}
	request.AddData(genlHeader{unix.ETHTOOL_MSG_FEATURES_GET, 1})
	header := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(device))
	request.AddData(header)
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(answers) == 0 || len(answers[0]) < nl.SizeofGenlmsg {
		return false
	}
	return slices.Contains(activeFeatures(answers[0][nl.SizeofGenlmsg:]), tunnelSegmentation)
}

// activeFeatures lists the names in an ETHTOOL_MSG_FEATURES_GET_REPLY (include/uapi/linux/ethtool_netlink.h):
//
//	ETHTOOL_A_FEATURES_ACTIVE { BITSET_NOMASK, BITSET_BITS { BIT { INDEX, NAME } … } }
//
// Bits that aren't listed are off.
func activeFeatures(reply []byte) (names []string) {
	for _, bits := range nested(nested([][]byte{reply}, unix.ETHTOOL_A_FEATURES_ACTIVE), unix.ETHTOOL_A_BITSET_BITS) {
		for _, name := range nested(nested([][]byte{bits}, unix.ETHTOOL_A_BITSET_BITS_BIT), unix.ETHTOOL_A_BITSET_BIT_NAME) {
			names = append(names, strings.TrimRight(string(name), "\x00"))
		}
	}
	return names
}

// nested returns the values of all attributes of one type in some rows of attributes.
func nested(rows [][]byte, kind uint16) (values [][]byte) {
	for _, row := range rows {
		attributes, err := nl.ParseRouteAttr(row)
		if err != nil {
			continue
		}
		for _, a := range attributes {
			if a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
				values = append(values, a.Value)
			}
		}
	}
	return values
}
