package lease

import (
	"encoding/json"
	"net/netip"
)

// Config is the network config: the address range and the backend type, one JSON document.
type Config struct {
	EnableIPv4     bool
	EnableIPv6     bool
	EnableNFTables bool

	Network              netip.Prefix // IPv4 range
	SubnetMin, SubnetMax netip.Addr   // first and last subnet handed out, both inclusive
	SubnetLen            int          // prefix length of each host's subnet

	IPv6Network                  netip.Prefix
	IPv6SubnetMin, IPv6SubnetMax netip.Addr
	IPv6SubnetLen                int

	BackendType string          // lower case: udp, vxlan, host-gw, ipip, wireguard, alloc, …
	Backend     json.RawMessage // the whole Backend object, for the backend's own options
	Raw         []byte          // the document as stored
}
