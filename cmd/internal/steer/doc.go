// Package steer gives a UDP port's datagrams to sockets that aren't bound to it, for as long as it
// takes the port to change hands. Then nothing is lost while a kernel tunnel device lets go of its port,
// which waits for readers in the kernel for tens of milliseconds, or takes it.
//
//	datagram ─▶ lookup: connected socket? ─▶ program: this port? ─▶ the sockets given here
//	                                             no │
//	                                                └─▶ whoever is bound to the port
//
// It is a program of a dozen instructions at the kernel's socket lookup (BPF_PROG_TYPE_SK_LOOKUP, Linux
// 5.9), attached to the network namespace of the process and gone with the last descriptor of it: an
// agent that is killed leaves nothing behind. It needs CAP_BPF (or CAP_SYS_ADMIN) beside CAP_NET_ADMIN;
// where it can't be had, the caller goes without and loses what comes in during the change.
//
// Concurrency: a Port belongs to one goroutine.
//
// Sources: Documentation/bpf/prog_sk_lookup.rst, net/ipv4/udp.c (__udp4_lib_lookup), net/core/sock_map.c.
package steer
