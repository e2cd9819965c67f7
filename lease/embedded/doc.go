// Package embedded runs an ordinary etcd server inside this process, so that a first host needs no
// server installed; other hosts, flannel's included, use it like any etcd, and so does etcdctl.
//
// It is not a store: lease/etcd is, and connects to it as to any other.
//
//	New ──▶ Run ──▶ check folder and addresses ──▶ etcd ──▶ Ready ──▶ … ctx ends ──▶ clean stop
//
// A [Server] is a task: Run starts everything, waits, and stops it all within a second or so. Ready
// and Endpoints may be used from any goroutine.
//
// Sources: go.etcd.io/etcd/server/v3/embed, and etcd's operations guide for the defaults.
package embedded
