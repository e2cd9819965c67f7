package express

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cilium/ebpf/features"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// wholeFeatures are what a device must have switched on to take the lane's TCP superpackets as they are
// (netdev_features_strings, net/ethtool/common.c).
var wholeFeatures = []string{"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp_tnl-segmentation"}

// cuts reports whether the kernel cuts TCP superpackets in software that the lane gives to the device. No where the
// device can't be asked: then the lane carries what it can.
func cuts(device string) bool {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return false
	}
	// Until 6.19 a bridge names the features of its ports, and has none for what is encapsulated.
	if code, err := features.LinuxVersionCode(); link.Type() == "bridge" && err == nil && code < version(6, 19) {
		return true
	}
	active := deviceFeatures(device)
	off := func(feature string) bool { return !slices.Contains(active, feature) }
	return len(active) != 0 && slices.ContainsFunc(wholeFeatures, off)
}

// deviceFeatures lists what is switched on; nothing where the kernel doesn't say.
func deviceFeatures(device string) []string {
	family, err := genlFamily("ethtool")
	if err != nil {
		return nil
	}
	request := nl.NewNetlinkRequest(int(family), 0)
	request.AddData(genlHeader{unix.ETHTOOL_MSG_FEATURES_GET, 1})
	header := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(device))
	request.AddData(header)
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(answers) == 0 || len(answers[0]) < nl.SizeofGenlmsg {
		return nil
	}
	return activeFeatures(answers[0][nl.SizeofGenlmsg:])
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
