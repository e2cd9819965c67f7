// Package doctor finds out what this machine lets weft do, by trying it, and says what would have to
// change to get more. It changes nothing that stays: offloads are tried in a network namespace that ends
// with the trial; whether a tunnel device can be had depends on the namespace, so it is made right here,
// down and with a name of its own, and deleted at once.
//
//	machine ──▶ Checks   root, /dev/net/tun, namespaces, kernel, forwarding
//	ways    ──▶ Ways     each datapath: a device of the kind is made and deleted
//	rungs   ──▶ Rungs    each offload forced on by itself; the error is the reason
//	agent   ──▶ in use   what the running agent has, asked over its admin socket
package doctor
