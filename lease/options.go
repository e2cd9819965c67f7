package lease

import (
	"strings"
	"time"
)

// Default ports, from flannel's backend/udp and backend/wireguard, and the kernel's vxlan_port.
const (
	udpPort         = 8285
	vxlanPort       = 8472
	wireguardPort   = 51820
	wireguardPortV6 = 51821
)

// Options is what a Backend object says beside its type. Keys that the type doesn't have are zero.
type Options struct {
	Port          int  // UDP port of udp, vxlan and wireguard
	PortV6        int  // wireguard only: port of the IPv6 device
	VNI           int  // vxlan only, 24 bits
	MTU           int  // of the underlay, before the encapsulation is subtracted; 0: the interface's
	GBP           bool // vxlan only
	Learning      bool // vxlan only
	DirectRouting bool // vxlan and ipip: no encapsulation to peers on the same link

	// WireGuard only.
	PSK       string
	Mode      string // separate, auto, ipv4 or ipv6
	Keepalive time.Duration
}

// options reads Type and what belongs to it.
func (r *fieldReader) options() (string, Options) {
	kind, ok := r.text("Type", "")
	kind = strings.ToLower(kind)
	if !ok {
		return "", Options{}
	}
	switch kind {
	case "":
		r.fail(`has no Type: add one, such as "Type":"udp"`)
	case "udp":
		return kind, Options{Port: r.between("Port", udpPort, 1, 65535), MTU: r.mtu()}
	case "vxlan":
		return kind, r.vxlan()
	case "ipip":
		return kind, Options{DirectRouting: r.boolean("DirectRouting", false), MTU: r.mtu()}
	case "wireguard":
		return kind, r.wireguard()
	case "host-gw", "alloc":
		return kind, Options{}
	case "ipsec", "extension":
		r.fail("Type %s is flannel's alone: use wireguard, vxlan or udp", kind)
	default:
		r.fail("Type %q is unknown: use udp, vxlan, host-gw, ipip, wireguard or alloc", clip(kind))
	}
	return kind, Options{}
}

// mtu reads MTU. 576 is the least that every IPv4 host takes (RFC 791), 65535 a packet's most.
func (r *fieldReader) mtu() int { return r.between("MTU", 0, 576, 65535) }

func (r *fieldReader) vxlan() Options {
	o := Options{
		VNI:           r.between("VNI", 1, 0, 1<<24-1), // RFC 7348 section 5
		Port:          r.between("Port", 0, 1, 65535),
		MTU:           r.mtu(),
		GBP:           r.boolean("GBP", false),
		Learning:      r.boolean("Learning", false),
		DirectRouting: r.boolean("DirectRouting", false),
	}
	if o.Port == 0 {
		o.Port = vxlanPort
	}
	return o
}

func (r *fieldReader) wireguard() Options {
	psk, _ := r.text("PSK", "")
	mode, _ := r.text("Mode", "separate")
	switch mode = strings.ToLower(mode); mode {
	case "separate", "auto", "ipv4", "ipv6":
	default:
		r.fail("Mode %q is unknown: use separate, auto, ipv4 or ipv6", clip(mode))
	}
	return Options{
		Port:      r.between("ListenPort", wireguardPort, 1, 65535),
		PortV6:    r.between("ListenPortV6", wireguardPortV6, 1, 65535),
		MTU:       r.mtu(),
		PSK:       psk,
		Mode:      mode,
		Keepalive: time.Duration(r.between("PersistentKeepaliveInterval", 0, 0, 65535)) * time.Second,
	}
}
