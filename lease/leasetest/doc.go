// Package leasetest is the conformance suite of [lease.Store]: what every store must do, asserted
// over the real thing. It also starts the etcd servers that tests run against.
//
// [Run] takes a function that makes a [Network], an empty one for each case. Every case opens
// stores of its own, so that hosts in a case are as apart as real ones.
package leasetest
