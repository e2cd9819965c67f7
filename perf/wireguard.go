package perf

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"weft/perf/netlab"
)

// What wireguard-go's hosts get.
const (
	wireguardPort     = 51820
	wireguardOverhead = 80                    // outer IPv6 40, UDP 8, header 16, tag 16: what everyone's MTU of 1,420 leaves
	wireguardSockets  = "/var/run/wireguard/" // compiled into wireguard-go, shared by all namespaces
)

// buildWireGuard runs wireguard-go on both hosts and configures it through its sockets. Their names
// are the devices', which therefore carry the lab's ID.
func buildWireGuard(ctx context.Context, f *fabric, o *Options, _ subject) error {
	f.mtu = o.UnderlayMTU - wireguardOverhead
	f.detail += " " + versionOf(ctx, "wireguard-go", "--version")
	var keys [3]*ecdh.PrivateKey // by host number
	for _, host := range f.lab.Hosts() {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("making a WireGuard key: %w", err)
		}
		keys[host.Number] = key
		device := wireguardDevice(f.lab, host.Number)
		forwarder, err := start(ctx, f.lab, host.Namespace, fmt.Sprintf("wireguard%d", host.Number), "wireguard-go", "-f", device)
		if err != nil {
			return err
		}
		f.forwarders = append(f.forwarders, forwarder)
	}
	for _, host := range f.lab.Hosts() {
		device, peer := wireguardDevice(f.lab, host.Number), otherHost(host.Number)
		settings := wireguardSettings(keys[host.Number], keys[peer].PublicKey(), f.lab.Host(peer).Addr, overlayOf(peer), subnetOf(peer))
		err := await(ctx, fabricPatience, "wireguard-go's socket", f.forwarders, func() error {
			return setWireGuard(wireguardSockets+device+".sock", settings)
		})
		if err != nil {
			return err
		}
		address := netip.PrefixFrom(overlayOf(host.Number), 24)
		if err := host.Do(func() error { return raiseDevice(device, f.mtu, address, subnetOf(peer)) }); err != nil {
			return err
		}
	}
	return f.connect(o.Ends, [2]netip.Prefix{subnetOf(1), subnetOf(2)})
}

// wireguardDevice is "wg", the lab's six hex digits and the host's number: unique on the machine and
// shorter than IFNAMSIZ.
func wireguardDevice(lab *netlab.Lab, host int) string {
	id := lab.ID()
	return fmt.Sprintf("wg%s%d", id[strings.LastIndexByte(id, '-')+1:], host)
}

// wireguardSettings is one set operation of WireGuard's userspace interface: keys in hex, an empty
// line at the end. The peer's overlay address is allowed beside its subnet, since that is
// the source of what the host itself sends.
func wireguardSettings(own *ecdh.PrivateKey, peer *ecdh.PublicKey, addr, overlay netip.Addr, subnet netip.Prefix) string {
	return "set=1\n" +
		"private_key=" + hex.EncodeToString(own.Bytes()) + "\n" +
		fmt.Sprintf("listen_port=%d\n", wireguardPort) +
		"public_key=" + hex.EncodeToString(peer.Bytes()) + "\n" +
		"endpoint=" + netip.AddrPortFrom(addr, wireguardPort).String() + "\n" +
		"allowed_ip=" + netip.PrefixFrom(overlay, 32).String() + "\n" +
		"allowed_ip=" + subnet.String() + "\n\n"
}

// setWireGuard sends settings and reads the answer, errno=N. A socket of a dead wireguard-go with the
// same device name refuses the connection; await then tries again until the new one listens.
func setWireGuard(socket, settings string) error {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(settings)); err != nil {
		return fmt.Errorf("configuring through %s: %w", socket, err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "errno=0" {
		err = errors.New(strings.TrimSpace(answer))
	}
	if err != nil {
		return fmt.Errorf("configuring through %s: %w", socket, err)
	}
	return nil
}
