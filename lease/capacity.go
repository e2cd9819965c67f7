package lease

import (
	"math"
	"math/big"
	"net/netip"
)

// Capacity returns how many hosts the configured range has subnets for, from the first to the last
// subnet, both inclusive; with both families the smaller of the two numbers. An IPv6 range can hold
// more than fits: math.MaxUint64 then.
func (c Config) Capacity() uint64 {
	least := uint64(math.MaxUint64)
	if c.EnableIPv4 {
		least = min(least, c.span4().count())
	}
	if c.EnableIPv6 {
		least = min(least, c.span6().count())
	}
	return least
}

// count is last - first + 1, in subnets.
func (s span) count() uint64 {
	if !s.first.IsValid() || !s.last.IsValid() {
		return 0
	}
	n := number(s.last)
	n.Sub(n, number(s.first))
	n.Rsh(n, uint(s.first.BitLen()-s.bits))
	n.Add(n, big.NewInt(1))
	if !n.IsUint64() {
		return math.MaxUint64
	}
	return n.Uint64()
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
