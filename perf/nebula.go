package perf

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// What nebula's hosts get. An overlay address per host, and the container subnets as unsafe routes,
// which is how nebula carries networks that it doesn't own.
const (
	nebulaDevice   = "nebula1"
	nebulaPort     = 4242
	nebulaOverhead = 60 // outer IPv4 20, UDP 8, nebula header 16, AES-GCM tag 16
)

// overlayOf is the tunnel's own address of host n, for subjects that want one besides the subnet.
func overlayOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 31, 0, byte(n)}) }

// nebulaConfig is one host's file. The peer is in static_host_map, so no lighthouse is needed; the
// firewall lets everything through.
var nebulaConfig = template.Must(template.New("nebula").Parse(`pki:
  ca: {{.Dir}}/ca.crt
  cert: {{.Dir}}/host{{.Host}}.crt
  key: {{.Dir}}/host{{.Host}}.key
static_host_map:
  "{{.PeerOverlay}}": ["{{.PeerAddr}}:{{.Port}}"]
lighthouse:
  am_lighthouse: false
  hosts: []
listen:
  host: {{.Addr}}
  port: {{.Port}}
tun:
  dev: {{.Device}}
  mtu: {{.MTU}}
  unsafe_routes:
    - route: {{.PeerSubnet}}
      via: {{.PeerOverlay}}
      mtu: {{.MTU}}
firewall:
  default_local_cidr_any: true
  outbound:
    - {port: any, proto: any, host: any}
  inbound:
    - {port: any, proto: any, host: any}
logging:
  level: warning
`))

// nebulaHost is what nebulaConfig is filled with.
type nebulaHost struct {
	Dir, Device             string
	Host, Port, MTU         int
	Addr, PeerAddr          netip.Addr
	PeerOverlay, PeerSubnet any
}

// buildNebula makes a certificate authority and a certificate per host, and runs nebula on both. Its
// MTU is raised from the default of 1,300 to what the underlay takes, so that it isn't measured with
// a seventh more packets than the others.
func buildNebula(ctx context.Context, f *fabric, o *Options, _ subject) error {
	f.mtu = o.UnderlayMTU - nebulaOverhead
	f.detail += " " + versionOf(ctx, "nebula", "-version")
	if err := signNebula(ctx, f.lab.Dir()); err != nil {
		return err
	}
	for _, host := range f.lab.Hosts() {
		peer := otherHost(host.Number)
		config := filepath.Join(f.lab.Dir(), fmt.Sprintf("nebula%d.yml", host.Number))
		var text bytes.Buffer
		err := nebulaConfig.Execute(&text, nebulaHost{
			Dir: f.lab.Dir(), Device: nebulaDevice, Host: host.Number, Port: nebulaPort, MTU: f.mtu,
			Addr: host.Addr, PeerAddr: f.lab.Host(peer).Addr, PeerOverlay: overlayOf(peer), PeerSubnet: subnetOf(peer),
		})
		if err != nil {
			return fmt.Errorf("writing nebula's config: %w", err)
		}
		if err := os.WriteFile(config, text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("writing nebula's config: %w", err)
		}
		forwarder, err := start(ctx, f.lab, host.Namespace, fmt.Sprintf("nebula%d", host.Number), "nebula", "-config", config)
		if err != nil {
			return err
		}
		f.forwarders = append(f.forwarders, forwarder)
	}
	return f.connect(o.Ends, [2]netip.Prefix{subnetOf(1), subnetOf(2)})
}

// signNebula makes the certificates of both hosts, each for its overlay address and its subnet. A
// packet from a subnet that the certificate doesn't name is dropped by the peer.
func signNebula(ctx context.Context, dir string) error {
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "nebula-cert", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running nebula-cert %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	if err := run("ca", "-name", "weft bench"); err != nil {
		return err
	}
	for n := 1; n <= 2; n++ {
		name := fmt.Sprintf("host%d", n)
		err := run("sign", "-name", name, "-networks", netip.PrefixFrom(overlayOf(n), 24).String(),
			"-unsafe-networks", subnetOf(n).String())
		if err != nil {
			return err
		}
	}
	return nil
}

// versionOf is what a program says of its version, on one line; empty if it says nothing.
func versionOf(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
