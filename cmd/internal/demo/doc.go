// Package demo shows weft at work on one machine: it builds a netlab, starts an etcd and one agent per
// host as a user would, with the real binary, puts a container on every host, and tries every pair.
//
//	netlab ─► weft etcd ─► weft config set ─► weft agent × hosts ─► containers ─► pairs
//	 hosts      store           network            subnet.env         Docker's     ping, TCP
//	                                                                   part
//
// What a run has built is a Site, a value that is also written into the lab's directory: a lab that
// was kept can be tried again and ended by a later process.
//
// Run, Try and End are called once each, from one goroutine. Whatever Run builds it removes
// before it returns, unless it is to be kept; signals that come meanwhile don't interrupt the cleaning.
//
// Sources: flannel's documentation of running by hand (subnet.env and the Docker bridge);
// RFC 792 for echo; RFC 3720 appendix B.4 for CRC-32C.
package demo
