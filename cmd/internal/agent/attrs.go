package agent

import (
	"fmt"

	"weft/lease"
	"weft/tunnel"
)

// What this host's lease says beyond flannel, inside BackendData.
const (
	weftVersion = 1

	// capRemoteSums: this host takes GUE variant 0 with remote checksum on its port, and always sends
	// outer checksums. Both ends must say so before either leaves an inner checksum out.
	capRemoteSums = 1 << 0

	// capVXLANSums says the same of VXLAN with the flag RCO.
	capVXLANSums = 1 << 1

	// capMigrates: while the network migrates, this host takes packets in both of its formats. No host
	// may move before all say so.
	capMigrates = lease.CapMigrates

	// capEchoes: this host answers tunnel.Echo, so that peers can try out whether their runs arrive. It comes
	// with whatever else there is to say; alone it is no reason to differ from flannel's record.
	capEchoes = 1 << 3

	// capZeroSums: this host takes UDP over IPv6 without checksum on its port, as the express lanes of peers send it.
	// Whoever leaves inner checksums out sends outer ones in any case. It comes with whatever else there is to say, too.
	capZeroSums = 1 << 4
)

// attrs is what this host tells its peers. It is flannel's record to the byte, unless there is
// something to tell that flannel has no word for. Which datapath moves the packets isn't in it, so
// that peers notice nothing of a switch.
func (f fabric) attrs(o Options) (lease.Attrs, error) {
	var a lease.Attrs
	a.PublicIP, a.PublicIPv6 = f.outer()
	switch kind := f.config.BackendType; kind {
	case typeUDP, typeAlloc: // flannel leaves the type out
	case typeVXLAN:
		a.BackendType = kind
		if f.config.EnableIPv4 {
			a.BackendData = f.vtepData(f.vtep.mac)
		}
		if f.config.EnableIPv6 {
			a.BackendV6Data = f.vtepData(f.vtep.mac6)
		}
	default:
		a.BackendType = kind
	}
	w := lease.Weft{Version: weftVersion, Caps: f.caps(o), Port: f.port(o)}
	if f.config.Migration != nil {
		w.Caps |= capMigrates
	}
	if w.Port == f.config.Options.Port && w.Caps == 0 {
		return a, nil
	}
	w.Caps |= capEchoes
	if a.PublicIPv6.IsValid() && f.config.BackendType == typeUDP {
		w.Caps |= capZeroSums
	}
	return a.WithWeft(w)
}

// vtepData is what flannel's vxlan backend tells of one family, byte for byte.
func (f fabric) vtepData(mac fmt.Stringer) []byte {
	return fmt.Appendf(nil, `{"VNI":%d,"VtepMAC":"%s"}`, f.config.Options.VNI, mac)
}

// caps are the capabilities that peers may count on for as long as the lease says so.
func (f fabric) caps(o Options) int {
	switch {
	case f.config.BackendType == typeUDP && o.remoteSums():
		return capRemoteSums
	case f.config.BackendType == typeVXLAN && o.vxlanSums():
		return capVXLANSums
	}
	return 0
}

// remoteSums reports whether this host leaves inner checksums to peers, and takes it from them. The
// portable queue has no way to hand the kernel a packet whose checksum isn't there.
func (o Options) remoteSums() bool { return o.RemoteSums != tunnel.Off && o.IO != "portable" }

// vxlanSums reports the same for VXLAN, where it must be asked for: flannel's kernel devices drop frames
// with the flag, so a host that has promised to take them can't be switched to the kernel's datapath.
func (o Options) vxlanSums() bool { return o.RemoteSums == tunnel.On && o.IO != "portable" }
