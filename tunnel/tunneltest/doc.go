// Package tunneltest holds what tests of the data path share: conformance suites for tunnel.Queue and
// tunnel.Conn, twins of both in memory, and packets to send through them.
//
//	Device                 a TUN device: the code under test has the Queue, the test is the kernel
//	Wire ── WireConn       an underlay: conns that reach each other by address, with faults on demand
//	TestQueue, TestConn    what every implementation must do, the twins and the real ones alike
//
// The twins are correct before they are fast: every byte is copied where memory changes hands, and
// what was borrowed is overwritten when its time is over, so that a caller who kept it is caught.
//
// Concurrency: all methods may be called from any goroutine, within the contract of the seam.
package tunneltest
