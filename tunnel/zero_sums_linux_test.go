package tunnel_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/tunnel"
)

// Over IPv6 a datagram without UDP checksum arrives at conns that take it, of either kind, and at no other.
func TestZeroSumsOverIPv6(t *testing.T) {
	loopback := netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	if probe, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(loopback)); err != nil {
		t.Skip("no IPv6 on loopback: ", err)
	} else {
		_ = probe.Close()
	}
	for name, listen := range map[string]func(tunnel.ConnOptions) (tunnel.Conn, error){
		"fast": func(o tunnel.ConnOptions) (tunnel.Conn, error) {
			return tunnel.ListenFastConn(loopback, o, tunnel.Modes{})
		},
		"portable": func(o tunnel.ConnOptions) (tunnel.Conn, error) { return tunnel.ListenPortableConn(loopback, o) },
	} {
		t.Run(name, func(t *testing.T) {
			takes, err := listen(tunnel.ConnOptions{ZeroSums: true})
			if err != nil {
				t.Fatal(err)
			}
			defer takes.Close()
			refuses, err := listen(tunnel.ConnOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer refuses.Close()
			for _, conn := range []tunnel.Conn{refuses, takes} {
				for _, sums := range []bool{false, true} {
					sendSummed(t, conn.LocalAddr(), sums)
				}
			}
			// What is dropped leaves no other trace than that it isn't in front of what comes after it.
			if got := firstOf(t, takes); got != "without" {
				t.Errorf("a conn that takes such datagrams has first one %s checksum", got)
			}
			if got := firstOf(t, refuses); got != "with" {
				t.Errorf("a conn that doesn't has first one %s checksum", got)
			}
		})
	}
}

// sendSummed sends one datagram that says whether it has a checksum.
func sendSummed(t *testing.T, to netip.AddrPort, sums bool) {
	t.Helper()
	conn, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := "with"
	if !sums {
		text = "without"
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		const noCheck6TX = 101 // UDP_NO_CHECK6_TX, include/uapi/linux/udp.h
		if outer := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, noCheck6TX, 1) }); outer != nil || err != nil {
			t.Fatal(outer, err)
		}
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// firstOf reads the first datagram that is there.
func firstOf(t *testing.T, conn tunnel.Conn) string {
	t.Helper()
	stuck := time.AfterFunc(20*time.Second, func() { _ = conn.Close() })
	defer stuck.Stop()
	batch := make([]tunnel.Datagram, 8)
	n, err := conn.ReadBatch(batch)
	if err != nil || n == 0 {
		t.Fatalf("reading: %d datagrams, %v", n, err)
	}
	return string(batch[0].Payload)
}
