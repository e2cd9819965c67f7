// Package admin shows an agent from outside: a unix socket that serves the state as JSON and takes the
// wish for another datapath, the clients that `weft status` and `weft switch` use, and the health
// endpoints for service supervisors.
//
//	agent ──State()──▶ Server on /run/weft/weft.sock ──JSON──▶ Ask ──▶ State.Table ──▶ a person
//	agent ──State()──▶ Health on --healthz-ip:port ──▶ /healthz /readyz /metrics
//
// Only a switch changes anything, and nothing that outlives the agent. The socket is for root alone; the
// health port shows no key, address or peer beyond counters.
//
// Concurrency: a Source is asked from several goroutines at once and returns a value of its own.
// Servers listen when made, so that a taken address is an error at the start, and serve in Run.
//
// Sources: flannel's /healthz and /readyz; sun_path's 108 bytes in unix(7).
package admin
