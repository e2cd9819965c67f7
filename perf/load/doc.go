// Package load makes and sinks traffic: bulk TCP, packets of chosen sizes over UDP, ping-pong, and
// one connection after the other. It knows no fabric and no namespace; it is told an address.
//
//	weft bench ──starts in a container──▶ bench-load (a sink role) ──line: ready ADDR──▶ weft bench
//	           ──starts in another──────▶ bench-load (a source role) ═══traffic═══▶ the sink
//	           ◀──line: report────────── each of the two, at its end
//
// A pair of roles shares one [Job]: the same timing, read from different ends. What arrives is what
// counts, so the sink measures throughput and packet rate, and the source measures what only it can
// see: latency and connections. Every job ends by itself at its deadline, whatever the other end does.
//
// Generators must cost less than what they measure. So TCP runs on blocking descriptors, outside Go's
// poller: one system call moves 128 KB, and a ping-pong pays no wake-up of a second thread. UDP moves
// 64 datagrams a system call (golang.org/x/net's batches over sendmmsg and recvmmsg).
//
// Concurrency: [Run] owns every goroutine that it starts and returns after the last has ended.
//
// Sources: socket(7), tcp(7), sendmmsg(2); RFC 2544 and RFC 6985 (IMIX); netperf's TCP_CRR for the
// connection rate.
package load
