// Package kerneltest is a kernel in memory: a kernelmode.Kernel for tests, with the side effects that
// make the real one surprising, and faults on demand.
//
//	test ──AddTUN, ByHand, DeleteLink──▶ Kernel ◀──Read, Do, Watch── kernelmode
//	     ──FailDo, FailRead────────────▶
//
// What it does as Linux does: a device that goes takes everything on it with it, and a VXLAN device
// goes with the one under it; no two VXLAN devices have one VNI and port; one that is set down loses
// its routes, neighbours and IPv6 addresses, one whose MAC changes its neighbours; the last IPv4
// address takes the IPv4 routes with it; a device with an MTU under 1,280 has no IPv6; a route needs a
// device that is up and a gateway that is on the link. What it doesn't do: forward packets, make
// connected routes but for AddDevice, or let a change of MTU propagate between devices.
//
// Concurrency: all methods may be called by any goroutine. Events are handed out by the goroutine
// that made the change.
//
// Sources: net/core/dev.c, net/ipv4/fib_frontend.c (fib_inetaddr_event, fib_disable_ip),
// net/ipv6/addrconf.c (addrconf_ifdown), net/core/neighbour.c (neigh_ifdown).
package kerneltest
