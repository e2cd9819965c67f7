// Package perf measures fabrics beside each other: weft, what the kernel has, and every peer that is
// installed. A scenario is code; a subject is code; what comes out is a [report.Run].
//
//	row 1, row 2
//	 └ round 1 … n
//	    └ scenario: TCP 1, 4, 16; UDP 64 B, IMIX, MTU; latency; connections
//	       └ subject: veth, vxlan, weft, …        every one by turns, the first one another each round
//	          └ sink in the far container, source in the near one, forwarders' CPU before and after
//
// Every subject has a lab of its own: two hosts joined by one veth pair, a container behind a bridge
// on each, and its forwarders running the whole time. Traffic runs between the containers, since that
// is what users see; Options.Ends moves it to the hosts themselves, which is two veths and two bridges
// less. All subjects stand side by side and take turns within seconds, so that what the machine does
// meanwhile hits all alike, and what is compared is the ratio within one round.
//
// A kernel datapath does its work inside the system calls of the load generators and in softirqs that
// are billed to whoever runs; there is no process to ask. So three costs are reported: the forwarder
// processes alone, the whole machine but the generators, and the whole machine. Only the last one
// compares user space with the kernel. Whatever else the machine does is in the last two.
//
// The eBPF lane works in the kernel too, in front of a forwarder process that takes what the lane leaves. Its samples
// count only where its own counters say that it carried them.
//
// It is not a test: nothing here asserts a speed. It sends nothing outside of its labs, and takes its
// labs down on every way out.
//
// Concurrency: [Run] uses one goroutine of its own; a process that it starts is waited for by one
// more. One Run at a time on a machine, or they measure each other.
//
// Sources: proc_pid_stat(5), proc_stat(5); flannel's backend/vxlan for the layout of the vxlan
// subject; WireGuard's cross-platform userspace interface (wireguard.com/xplatform); nebula's
// examples/config.yml.
package perf
