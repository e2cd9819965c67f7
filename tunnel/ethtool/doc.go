// Package ethtool asks the kernel, by ethtool netlink (Linux 5.6), what a device's offloads are. It stands alone so that
// whoever decides by them asks the same way: the outlet, the express lane, the labs.
//
// Requests go to the network namespace of the calling thread, or of the socket that is given. There is no state.
//
// Sources: include/uapi/linux/ethtool_netlink.h, include/uapi/linux/genetlink.h, netdev_features_strings in
// net/ethtool/common.c.
package ethtool
