// Package selfcheck finds out whether peers answer through the fabric: the agent asks before and
// after it changes its datapath, and goes back if somebody who answered before doesn't any more.
//
//	snapshot ──Peers──▶ []Peer ──Probe──▶ Result (before) ─┐
//	                    switch                              ├─Compare──▶ Verdict ──▶ stay, or roll back
//	            before.Answering() ──Probe──▶ Result (after)┘
//
// A peer is asked by ICMP echo at the two addresses of its subnet that its host itself may have: the
// first, which every tunnel device has (weft0, flannel.1, flannel.ipip), and the one after it, which
// the containers' bridge has, and is all that a host-gw peer has. Either one will do. A peer that
// has neither, or whose firewall drops echo, never answers, and so decides nothing. It may be asked with
// packets of several sizes, since a way may carry small ones alone.
//
// It decides nothing about datapaths and changes nothing. It doesn't measure: the round trip is the
// first answer's, neighbour discovery and all.
//
// Concurrency: Probe starts one goroutine for each socket and waits for them before it returns;
// everything else is a value.
//
// Sources: RFC 792 and RFC 4443 section 4 (echo); raw(7), icmp(7).
package selfcheck
