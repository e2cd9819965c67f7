package tunnel

import (
	"slices"

	"github.com/vishvananda/netlink/nl"

	"weft/tunnel/ethtool"
)

// tunnelSegmentation is what a device has that takes superpackets inside UDP with a checksum
// (netdev_features_strings, net/ethtool/common.c).
const tunnelSegmentation = "tx-udp_tnl-csum-segmentation"

// ethtoolFamily is ethtool.Family; 0 where there is none.
func ethtoolFamily() uint16 {
	family, err := ethtool.Family()
	if err != nil {
		return 0
	}
	return family
}

// segmentsTunnels reports whether a device of a socket's namespace has tunnelSegmentation switched on. No
// where the kernel doesn't say (before 5.6): then the slower way is taken.
func segmentsTunnels(socket *nl.NetlinkSocket, family uint16, device string) bool {
	return family != 0 && slices.Contains(ethtool.Active(socket, family, device), tunnelSegmentation)
}
