// Package netlab builds small networks on one Linux machine: hosts as network namespaces joined by an
// underlay, containers as namespaces behind a bridge on each host, and links that can be cut, shrunk,
// delayed and made lossy. The demo, the tests and the benchmarks use it alike.
//
//	 ID-c1                     ID-underlay                     ID-c2
//	┌──────┐   ID-host1       ┌────────────┐   ID-host2       ┌──────┐
//	│ eth0─┼─┐┌────────────┐  │  ┌bridge┐  │  ┌────────────┐┌─┼─eth0 │
//	└──────┘ └┼─cbr0  eth0─┼──┼h1┤      ├h2┼──┼─eth0  cbr0─┼┘ └──────┘
//	          └────────────┘  │  └──────┘  │  └────────────┘
//	                          └────────────┘
//
// It is pure netlink: no ip, ethtool or sysctl program has to be installed. It knows nothing of weft's
// agents or leases; whoever has leased a subnet tells the host with AddContainer.
//
// # Leftovers
//
// Everything a lab makes carries its ID: namespaces are mounted at /run/netns/ID-* (so `ip netns exec`
// works on them), processes carry WEFT_NETLAB=ID in their environment, and a record at
// /run/weft-netlab/ID.json is locked (flock) for as long as the owner lives. A record that nobody
// locks belongs to a lab whose owner was killed: the next New, or Sweep, removes it with all it made,
// unless it was kept on purpose. No process without the mark is ever signalled.
//
// # Concurrency
//
// Namespace methods may be called from any goroutine. Lab, Host and Link methods that change the
// network take the lab's lock, one at a time. Goroutines run only while a link is impaired.
//
// # Sources
//
// namespaces(7), setns(2), packet(7); Documentation/networking/{tuntap,ethtool-netlink,ip-sysctl}.rst;
// iproute2 ip/ipnetns.c for the layout of /run/netns.
package netlab
