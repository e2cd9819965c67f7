// Package agent composes weft's parts into the program that runs on every host: `weft agent`. It
// decides in which order things begin, what ends what, and what a person is told; how leases, kernel
// state and packets work is the affair of the packages it puts together.
//
//	Agent    claims ─▶ admin socket, health ─▶ store ─▶ network config, from the store or the copy
//	  member   underlay ─▶ lease (Keeper), peers (Follower), copy on disk (Copier)
//	    session  datapath ─▶ kernel state ─▶ subnet.env ─▶ routes ─▶ forwarding ─▶ READY=1
//
// Who moves the packets is chosen for each session (choose), and may change while it lasts:
//
//	userPath     TUN queues ─ forwarder ─ sockets     a lineage of forwarders, one generation after the other
//	  front        the express lane, where there is one   goes on when the agent ends
//	kernelPath   a plan for the kernel                goes on when the agent ends
//	handover     from one to the other, both there while the VXLAN port changes hands
//	laying       of the lane in front of a userPath, under the running forwarder
//	succeed      from one session's userPath to the next one's, when the network config changes
//
// The three layers differ in what ends them. A session ends when what it stands on changes (its
// lease, its device, the underlay, or that of the network config which [footing] names), and another
// begins at once; subnet.env and peers' leases stay. A member outlives all of that; it only ends early
// where it began with the copy, and the store then has a network that its lease isn't of. The agent
// lasts until SIGTERM, and then ends within a second; the lease stays for the next start.
//
// A network config that this host can't follow changes nothing but what status, log and metrics say:
// the one before stays in force, and snapshots are judged by it (lease.Snapshot.Under). One that can
// be followed, but under which no session opens, is rolled back.
//
// Concurrency: each layer's Run starts its tasks in one errgroup and returns when all have ended.
// State is read from outside at any time, through atomic pointers and the progress lock. fabric is a
// value, made anew for each session. Forwarders are run by the member, since they outlive sessions; the
// datapath itself, its sockets and every change of it belong to the session's follow. What decides about configs belongs to serve and, while that
// waits for a session, to the session's follow: never to both.
//
// Sources: flannel's main.go for the start order and exit behaviour; unix(7) for abstract sockets,
// which are per network namespace; sd_notify(3).
package agent
