// Package agent composes weft's parts into the program that runs on every host: `weft agent`. It
// decides in which order things begin, what ends what, and what a person is told; how leases, kernel
// state and packets work is the affair of the packages it puts together.
//
//	Agent    claims ─▶ admin socket, health ─▶ store ─▶ network config
//	  member   underlay ─▶ lease (Keeper), peers (Follower)
//	    session  device ─▶ kernel state ─▶ subnet.env ─▶ routes ─▶ forwarding ─▶ READY=1
//
// The three layers differ in what ends them. A session ends when its lease is lost, its device is
// deleted or the underlay changes, and another begins at once; subnet.env and peers' leases stay. A
// member lasts as long as the network config that it began with. The agent lasts until SIGTERM, and
// then ends within a second; the lease stays for the next start.
//
// Concurrency: each layer's Run starts its tasks in one errgroup and returns when all have ended.
// State is read from outside at any time, through atomic pointers and the progress lock. fabric is a
// value, made anew for each session.
//
// Sources: flannel's main.go for the start order and exit behaviour; unix(7) for abstract sockets,
// which are per network namespace; sd_notify(3).
package agent
