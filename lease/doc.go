// Package lease is about who owns which subnet: the network config, flannel's keys and values,
// picking a subnet, keeping the lease, and following everyone else's.
package lease
