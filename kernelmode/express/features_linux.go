package express

import (
	"slices"

	"github.com/cilium/ebpf/features"
	"github.com/vishvananda/netlink"
)

// wholeFeatures are what a device must have switched on to take the lane's TCP superpackets as they are
// (netdev_features_strings, net/ethtool/common.c).
var wholeFeatures = []string{"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp_tnl-segmentation"}

// cuts reports whether the kernel cuts TCP superpackets in software that the lane gives to the underlay. No where the
// device can't be asked: then the lane carries what it can.
func (c *Config) cuts() bool {
	link, err := netlink.LinkByName(c.Underlay)
	if err != nil {
		return false
	}
	// Until 6.19 a bridge names the features of its ports, and has none for what is encapsulated.
	if code, err := features.LinuxVersionCode(); link.Type() == "bridge" && err == nil && code < version(6, 19) {
		return true
	}
	if c.Features == nil {
		return false
	}
	active := c.Features(c.Underlay)
	off := func(feature string) bool { return !slices.Contains(active, feature) }
	return len(active) != 0 && slices.ContainsFunc(wholeFeatures, off)
}
