// Package routes answers, for every packet, which hop carries an inner address, and whether a
// source belongs to the peer that sent it. It knows no lease, no descriptor and no kernel route.
//
//	lease snapshot ──routes──▶ Table ──With──▶ Table' ──Publish──▶ Live ◀──Load── data path
//	                            │                │
//	                            └─ shared pages ─┘   (an update copies one page, not the table)
//
// A Table has these parts, asked in this order, longest prefix first: what is longer than the network's
// subnet length, what has exactly that length, and everything shorter. The middle one is an array indexed by
// subnet number, and the only one that holds anything in the ordinary network; it is for IPv4. The others, and
// all of IPv6, are tries of eight bits a node.
//
// A lookup takes 2.5 ns in the array. In a trie of a million routes it takes 8 to 10 ns while the memory that it
// touches is in the caches, 20 to 35 with 4,096 destinations at random, and a hundred or two with a million:
// then each step waits for memory. gaissmai/bart, which was in their place, took 13 to 21, 42 to 67 and
// 210 to 270 ns in the same run. A million routes take 34 MB to 45 MB.
//
// Concurrency: a Table is immutable and may be read by any number of goroutines without a lock. One
// writer at a time derives the next Table and publishes it through Live; readers load once per
// batch and are never stopped. Only a Hop's path MTU changes in place, atomically.
//
// Sources: design.md "routes/"; for the tries H. Asai, Y. Ohara: Poptrie (SIGCOMM 2015), without its
// leaf pushing, so that an update changes one node; github.com/gaissmai/bart for underlay addresses.
package routes
