// Package express is the lane: two eBPF programs that carry the common packets between weft's TUN device and the
// underlay inside the kernel. The userspace forwarder stays behind the same TUN and takes whatever the
// programs leave, so the lane is an abbreviation and never a condition.
//
//	container ─▶ TUN ─ egress ──────────────────────▶ underlay ─▶ wire
//	                └─▶ forwarder ─▶ socket ─────────┘
//	container ◀─ TUN ◀──────────────────── ingress ── underlay ◀─ wire
//	                ◀─ forwarder ◀─ socket ◀┘
//
// Routes come as plain values (Route), the same that the forwarder's table is made of, and are compiled into an
// array by subnet number, a trie for what doesn't fit there, and hops that both lead to. A hop is
// never written while a route leads to it, so no packet sees half of a change.
//
// Programs and routes are the kernel's. An agent that dies leaves them forwarding (Close without detach is the
// same on purpose); the next one's Open loads new programs, its first Publish puts them in the old ones' place
// between two packets. For this the TUN device has to outlive the agent too.
//
// It configures no device, knows no lease and answers nobody: errors to senders, neighbours' questions, path MTU
// and everything odd are the forwarder's. What bpf/ holds in C is the whole of what runs per packet.
//
// Concurrency. A Lane may be used from any goroutine, in the network namespace of its devices. It starts none.
//
// Sources: kernel net/core/filter.c (bpf_skb_adjust_room, bpf_redirect, bpf_fib_lookup), Documentation/bpf;
// RFC 7348, RFC 6935 and 6936 (UDP without checksums); forwarder's rules, which these repeat.
package express
