package ethtool

import (
	"encoding/binary"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Features is Active in the calling thread's network namespace, for those who ask seldom.
func Features(device string) []string {
	family, _ := Family()
	return Active(nil, family, device)
}

// Active lists the features that a device has switched on, by ethtool's names; none where the kernel doesn't say, as where
// its family is 0. A socket is asked in its own network namespace; nil opens one in the calling thread's.
func Active(socket *nl.NetlinkSocket, family uint16, device string) []string {
	if family == 0 {
		return nil
	}
	request := FeaturesRequest(family, unix.ETHTOOL_MSG_FEATURES_GET, 0, device)
	if socket != nil {
		request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: {Socket: socket}}
	}
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(answers) == 0 || len(answers[0]) < len(header{}) {
		return nil
	}
	return activeFeatures(answers[0][len(header{}):])
}

// activeFeatures lists the names in an ETHTOOL_MSG_FEATURES_GET_REPLY (include/uapi/linux/ethtool_netlink.h). Bits
// that aren't listed are off.
func activeFeatures(reply []byte) (names []string) {
	for _, name := range descend(reply, unix.ETHTOOL_A_FEATURES_ACTIVE, unix.ETHTOOL_A_BITSET_BITS,
		unix.ETHTOOL_A_BITSET_BITS_BIT, unix.ETHTOOL_A_BITSET_BIT_NAME) {
		names = append(names, strings.TrimRight(string(name), "\x00"))
	}
	return names
}

// descend returns the values of all attributes that lie at a path of types. Where a message is damaged, what came before
// counts.
func descend(message []byte, path ...uint16) [][]byte {
	rows := [][]byte{message}
	for _, kind := range path {
		var values [][]byte
		for _, row := range rows {
			for len(row) >= unix.SizeofNlAttr {
				size, got := int(binary.NativeEndian.Uint16(row)), binary.NativeEndian.Uint16(row[2:])
				if size < unix.SizeofNlAttr || size > len(row) {
					break
				}
				if got&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
					values = append(values, row[unix.SizeofNlAttr:size])
				}
				// Padded to four bytes, but for the last one of a message that was cut off.
				row = row[min((size+3)&^3, len(row)):]
			}
		}
		rows = values
	}
	return rows
}
