package tunnel

import (
	"slices"

	"github.com/vishvananda/netlink/nl"

	"weft/tunnel/ethtool"
)

// tunnelSegmentation is what a device has that takes superpackets inside UDP with a checksum
// (netdev_features_strings, net/ethtool/common.c).
const tunnelSegmentation = "tx-udp_tnl-csum-segmentation"

// segmentsTunnels reports whether a device of a socket's namespace has tunnelSegmentation switched on. No
// where the kernel doesn't say (before 5.6): then the slower way is taken.
func segmentsTunnels(socket *nl.NetlinkSocket, family uint16, device string) bool {
	return slices.Contains(ethtool.Active(socket, family, device), tunnelSegmentation)
}
