// Package kernelmode keeps the kernel the way a datapath needs it: links, addresses, routes,
// neighbours, forwarding entries and sysctls. What is wanted is a plain value, a State; a pure plan
// function makes it, a pure Diff turns it into operations, Apply carries them out, and a Reconciler
// does so again whenever the wish or the kernel changes.
//
//	network config, lease, snapshot ──plan──▶ State ──Want──▶ Reconciler
//	                                                             │ Diff(want, have) → []Op
//	      netlink events ◀──Watch── Kernel ◀──Read, Do── Apply ◀─┘
//
// A datapath is one plan function and nothing else: UserspacePlan for the TUN, and VXLANPlan,
// HostGWPlan and IPIPPlan, which lay out what flannel does, from a Host. A switch of datapath is
// another State given to the same Reconciler; two datapaths side by side are one State (State.And).
// Which of them this kernel and container can have, Probe finds out by trying.
//
// It opens no TUN device: the agent does, through package tunnel, and holds its descriptors. Here
// the device is configured once it exists, and its absence is reported (MissingLinkError), never
// papered over. Tunnel devices are made here. One that flannel or an earlier run left is gone on with
// if it was made alike (DeviceMAC finds its address), and made again with all that is on it if not.
// It moves no packet and knows no store.
//
// Ownership. Routes carry weft's own protocol number (RouteProtocol); addresses, neighbours and
// forwarding entries belong to weft by being on a device of weft's, and so do routes where the
// device is a tunnel made here. Only what is owned, and inside one of the State's networks, is ever
// deleted. A route that some other program installed exactly as wanted is adopted as it is, but for
// those without a label, as flannel's, which get weft's; one in the wanted one's place is replaced.
//
// Concurrency. States and all that is in them are immutable once handed over. A Kernel serves any
// number of goroutines. Only Reconciler.Run and WatchUnderlay start goroutines, and both wait for
// theirs before they return.
//
// Sources: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour}.h,
// net/ipv4/fib_{frontend,trie}.c, net/ipv6/{addrconf,ip6_fib}.c, drivers/net/{tun.c,vxlan};
// flannel v0.28.9
// for what a host looks like when flannel has configured it.
package kernelmode
