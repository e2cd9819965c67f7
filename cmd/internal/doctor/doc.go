// Package doctor finds out what this machine lets weft do, by trying it, and says what would have to
// change to get more. It changes nothing: devices and sockets are tried in a network namespace that
// ends with the trial.
//
//	machine ──▶ Checks   root, /dev/net/tun, namespaces, kernel, forwarding
//	rungs   ──▶ Rungs    each offload forced on by itself; the error is the reason
//	agent   ──▶ in use   what the running agent has, asked over its admin socket
package doctor
