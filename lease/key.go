package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxKey bounds the name of a record that is looked at: the longest real one,
// "255.255.255.255-30&" and a whole IPv6 address with its length, has 63 bytes.
const maxKey = 128

// Key writes the name under which a lease is stored: "10.5.52.0-24", "fd00:5::-64", or both joined
// by "&". It is the last part of the key, without the store's prefix.
func Key(s Subnets) string {
	switch {
	case !s.V6.IsValid():
		return keyPart(s.V4)
	case !s.V4.IsValid():
		return keyPart(s.V6)
	}
	return keyPart(s.V4) + "&" + keyPart(s.V6)
}

func keyPart(p netip.Prefix) string {
	return p.Addr().String() + "-" + strconv.Itoa(p.Bits())
}

// ParseKey is Key's inverse, and strict: only a name that Key would write passes, since two
// spellings of one subnet would be two owners of it.
func ParseKey(name string) (Subnets, error) {
	if len(name) > maxKey {
		return Subnets{}, fmt.Errorf("the name has %d bytes, more than any subnet", len(name))
	}
	var s Subnets
	left, right, dual := strings.Cut(name, "&")
	first, err := parseKeyPart(left)
	if err != nil {
		return Subnets{}, err
	}
	if first.Addr().Is4() {
		s.V4 = first
	} else {
		s.V6 = first
	}
	if dual {
		if s.V6, err = parseKeyPart(right); err != nil {
			return Subnets{}, err
		}
		if !s.V4.IsValid() || !s.V6.Addr().Is6() {
			return Subnets{}, errors.New("an IPv4 subnet must come first and an IPv6 one second")
		}
	}
	if canonical := Key(s); canonical != name {
		return Subnets{}, fmt.Errorf("the subnet is written %s", canonical)
	}
	return s, nil
}

// parseKeyPart reads one "address-length". Host bits must be zero.
func parseKeyPart(part string) (netip.Prefix, error) {
	addr, length, ok := strings.Cut(part, "-")
	if !ok {
		return netip.Prefix{}, errors.New("a name is a subnet such as 10.5.52.0-24")
	}
	p, err := netip.ParsePrefix(addr + "/" + length)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("a name is a subnet such as 10.5.52.0-24: %w", err)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("an IPv4 subnet is not written as an IPv6 one")
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("the subnet starts at %s", p.Masked().Addr())
	}
	return p, nil
}
