package netlab

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weft/tunnel/ethtool"
)

// segmenting are the device features that let a superpacket cross a veth whole. Names as in
// net/ethtool/common.c, netdev_features_strings.
var segmenting = []string{
	"tx-generic-segmentation",
	"tx-tcp-segmentation",
	"tx-tcp-ecn-segmentation",
	"tx-tcp-mangleid-segmentation",
	"tx-tcp6-segmentation",
	"tx-udp-segmentation",
	"tx-udp_tnl-segmentation",
	"tx-udp_tnl-csum-segmentation",
	"tx-ipxip4-segmentation",
	"tx-ipxip6-segmentation",
	"tx-gre-segmentation",
	"tx-gre-csum-segmentation",
}

// merging is GRO: what puts segments together again at the receiver.
const merging = "rx-gro"

// setOffloads switches a device's segmentation offloads and its GRO. It acts on the namespace of the
// calling thread. Every kernel with ethtool netlink (5.6) has all of the features.
func setOffloads(device string, segment, merge bool) error {
	wanted := make(map[string]bool, len(segmenting)+1)
	for _, feature := range segmenting {
		wanted[feature] = segment
	}
	wanted[merging] = merge
	if err := setFeatures(device, wanted); err != nil {
		return fmt.Errorf("setting offloads of device %s: %w", device, err)
	}
	return nil
}

// setFeatures sends ETHTOOL_MSG_FEATURES_SET (include/uapi/linux/ethtool_netlink.h):
//
//	ETHTOOL_A_FEATURES_HEADER { DEV_NAME }
//	ETHTOOL_A_FEATURES_WANTED { BITSET_BITS { BIT { NAME, VALUE if on } … } }
func setFeatures(device string, wanted map[string]bool) error {
	family, err := ethtool.Family()
	if err != nil {
		return err
	}
	request := ethtool.FeaturesRequest(family, unix.ETHTOOL_MSG_FEATURES_SET, unix.NLM_F_ACK, device)
	set := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_WANTED|unix.NLA_F_NESTED, nil)
	bits := set.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
	// Bits that aren't named stay as they are.
	for name, on := range wanted {
		bit := bits.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(name))
		if on {
			bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_VALUE, nil)
		}
	}
	request.AddData(set)
	_, err = request.Execute(unix.NETLINK_GENERIC, 0)
	return err
}
