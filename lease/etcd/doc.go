// Package etcd is the [lease.Store] over etcd v3, with flannel's keys and values, so that weft and
// flannel hosts share one network. It only keeps records; what they mean is decided in package
// lease, which knows no etcd.
//
//	<prefix>/config                               the network config
//	<prefix>/subnets/10.5.52.0-24                 a lease; its value names the host
//	<prefix>/subnets/10.5.52.0-24&fd00:5::-64     dual stack
//	<prefix>/v6subnets/fd00:5::-64                v6-only, weft's own
//
// v6-only leases have a folder of their own: flannel lists and watches all that begins with
// <prefix>/subnets, and one key there which it can't parse empties its whole view.
//
// A key that hangs on an etcd lease lives for 24 hours unless it is renewed. A key without one is a
// reservation, written by an operator, and stays one. Ownership is decided by transactions alone:
// a subnet is taken only where nothing has it, and renewed or given back only while the record is
// the holder's own. Because every transaction sees the records of all earlier ones, two hosts that
// race can never both win, without any lock.
//
// A [Store] connects at its first use and reconnects by itself; all its methods may be called
// concurrently. It starts no goroutines that outlive the call; etcd's client has its own ones until
// Close.
//
// Sources: flannel v0.28.9 pkg/subnet/etcd/registry.go for the layout; etcd's api/v3rpc and
// server/etcdserver/txn for what a comparison over a range means.
package etcd
