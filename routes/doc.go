// Package routes answers, for every packet, which hop carries an inner address, and whether a
// source belongs to the peer that sent it. It knows no lease, no descriptor and no kernel route.
//
//	lease snapshot ──routes──▶ Table ──With──▶ Table' ──Publish──▶ Live ◀──Load── data path
//	                            │                │
//	                            └─ shared pages ─┘   (an update copies one page, not the table)
//
// A Table has three parts, asked in this order, longest prefix first: what is longer than the
// network's subnet length (bart), what has exactly that length (an array indexed by subnet number,
// IPv4 only), and everything shorter (bart). In the ordinary network only the array holds anything.
//
// Concurrency: a Table is immutable and may be read by any number of goroutines without a lock. One
// writer at a time derives the next Table and publishes it through Live; readers load once per
// batch and are never stopped. Only a Hop's path MTU changes in place, atomically.
//
// Sources: design.md "routes/"; github.com/gaissmai/bart for longest-prefix match (an
// implementation of Knuth's ART with popcount compression).
package routes
