// Package lease is about who owns which subnet: the network config, flannel's keys and values,
// picking a subnet, keeping the lease, and following everyone else's.
//
// It is not a datapath: it knows no route, no socket and no device. It is not a client of any
// server either: the stores are lease/etcd and its kin, behind the [Store] interface.
//
//	Store.Watch ──snapshots──▶ Follower ──▶ Mailbox ──▶ whoever applies them
//	     ▲                                     │
//	     │ Acquire, Renew, Release             ▼ (is my lease still there?)
//	     └──────────────────────────────── Keeper ──▶ Mailbox ──▶ subnet.env, datapath
//
// Everything that is read is taken as hostile. One record that can't be understood is skipped and
// becomes a [Problem]; the others are unharmed. A snapshot is immutable once it is yielded, so any
// number of goroutines may read it. [Follower] and [Keeper] are tasks: only their Run starts work,
// and it ends with its context. All other functions are pure, but for the file functions of
// [SubnetEnv].
//
// Sources: flannel v0.28.9, pkg/subnet (config.go, subnet.go, etcd/registry.go, etcd/local_manager.go)
// for the formats, and what a real flannel left in etcd (testdata/flannel).
package lease
