// Package scale measures the lease layer with thousands of agents on one machine: how long they take
// to start, how long a change takes to reach all of them, and what etcd and each agent pay for it.
//
//	            ┌ keeper ──▶ store ─┐  requests          ┌───────────────┐
//	agent 1 … n ┤                   ├─ few connections ─▶│ etcd, a child │◀── observer: which revision
//	            └ follower ◀─ store ┘  a stream each     │ of its own    │    a change was
//	                 │                                   └───────────────┘
//	                 ▼ snapshot                                ▲ nothing in common with the others
//	            arrivals: who applied which revision, when     └── probes: agents in processes of their own
//
// What is real: etcd; each agent's lease.Keeper, lease.Follower and lease/etcd store with all their
// requests; a watch stream for each agent, over which etcd sends each its own copy of every change;
// each agent's own map of records. What is not: agents share TCP connections, and what would be
// decoded and assembled on thousands of machines is done once (see etcd.Pool), since one machine has
// neither the memory nor the cores. The probes pay for that themselves, and build a route table.
//
// It is not a test of one agent's forwarding, and has no network in it: everything is on loopback. It
// asserts no speed; it does assert what must hold at any speed: no subnet twice, no agent left behind,
// no list for a change.
//
// Concurrency: [Run] starts everything and has ended it all when it returns. One Run at a time on a
// machine, or they measure each other.
//
// Sources: etcd's metrics (etcd.io/docs, op-guide/monitoring); grpc-ecosystem's server metrics.
package scale
