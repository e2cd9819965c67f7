package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// A letter is one inner packet of an exact size that a container sends, and another one sends back as
// it came.
type letter struct {
	protocol string // udp or icmp
	size     int    // bytes, with the IP header
	whole    bool   // it may not be fragmented: DF in IPv4
}

func (l letter) String() string {
	if l.whole {
		return fmt.Sprintf("%s packet of %d bytes", l.protocol, l.size)
	}
	return fmt.Sprintf("%s packet of %d bytes, in fragments if need be", l.protocol, l.size)
}

// Headers in front of what a letter carries. UDP's is as long as that of an echo request.
const (
	headers4 = 20 + 8
	headers6 = 40 + 8
)

// echoPort is where startEcho answers.
const echoPort = 7

// startEcho has a container send back every datagram, over each family that it has.
func startEcho(t *testing.T, c *netlab.Container) {
	t.Helper()
	for _, addr := range families(c) {
		conn, err := c.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(addr, echoPort).String())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			buffer := make([]byte, 1<<16)
			for {
				n, peer, err := conn.ReadFrom(buffer)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = conn.WriteTo(buffer[:n], peer) // who misses it asks again
				}
			}
		}()
		t.Cleanup(func() { _ = conn.Close(); <-done })
	}
}

// families are the addresses that a container has.
func families(c *netlab.Container) (all []netip.Addr) {
	for _, addr := range []netip.Addr{c.Addr, c.Addr6} {
		if addr.IsValid() {
			all = append(all, addr)
		}
	}
	return all
}

// deliver sends letters, all alike but for their random contents, until one has come back whole.
func deliver(from *netlab.Container, to netip.Addr, l letter) error {
	network, own, headers := "udp", from.Addr, headers4
	if !to.Is4() {
		own, headers = from.Addr6, headers6
	}
	if l.protocol == "icmp" {
		network = map[bool]string{true: "ip4:icmp", false: "ip6:ipv6-icmp"}[to.Is4()]
	}
	local := own.String()
	if network == "udp" {
		local = netip.AddrPortFrom(own, 0).String()
	}
	conn, err := from.ListenPacket(context.Background(), network, local)
	if err != nil {
		return err
	}
	defer conn.Close()
	mode := unix.IP_PMTUDISC_DONT
	if l.whole {
		mode = unix.IP_PMTUDISC_PROBE // DF, whatever the host has learned of the path
	}
	if err := discover(conn.(syscall.Conn), to.Is4(), mode); err != nil {
		return err
	}
	payload := make([]byte, l.size-headers)
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		_, _ = rand.Read(payload)
		if last = once(conn, to, payload); last == nil || errors.Is(last, errCorrupt) {
			break
		}
	}
	if last != nil {
		return fmt.Errorf("%v from %v to %v: %w", l, own, to, last)
	}
	return nil
}

// discover says what the kernel does with packets that are too big (ip(7), IP_MTU_DISCOVER; IPv6's
// values are the same).
func discover(conn syscall.Conn, v4 bool, mode int) error {
	level, option := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if !v4 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	return onSocket(conn, func(fd int) error { return unix.SetsockoptInt(fd, level, option, mode) })
}

func onSocket(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// once sends one packet and waits for it to come back. A loaded machine may take its time, a packet that
// was lost to neighbour discovery never comes.
func once(conn net.PacketConn, to netip.Addr, payload []byte) error {
	packet, target := payload, net.Addr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, echoPort)))
	_, raw := conn.(*net.IPConn)
	id := int(binary.BigEndian.Uint16(payload)) // as random as the rest
	if raw {
		message := icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: id, Data: payload}}
		if to.Is4() {
			message.Type = ipv4.ICMPTypeEcho
		}
		var err error
		if packet, err = message.Marshal(nil); err != nil {
			return err
		}
		target = &net.IPAddr{IP: to.AsSlice()}
	}
	if _, err := conn.WriteTo(packet, target); err != nil {
		time.Sleep(time.Millisecond) // and the caller tries again, as with any packet that is lost
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		switch got := buffer[:n]; {
		case raw && n > 8:
			kind, echoed := got[0], got[8:]
			if (kind == byte(ipv4.ICMPTypeEchoReply) || kind == byte(ipv6.ICMPTypeEchoReply)) && int(binary.BigEndian.Uint16(got[4:])) == id {
				return same(echoed, payload)
			}
		case !raw && n >= 8 && bytes.Equal(got[:8], payload[:8]):
			return same(got, payload)
		}
	}
}

// errCorrupt: what came back isn't what was sent. It is never tried again.
var errCorrupt = errors.New("the packet came back altered")

func same(got, sent []byte) error {
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%w: %d bytes of %d sent", errCorrupt, len(got), len(sent))
	}
	return nil
}

// tooBig sends packets of that size with DF until the sender is told that it is too big, and returns
// the MTU that it is told, by an ICMP message from the network.
func tooBig(from *netlab.Container, to netip.Addr, size int) (mtu int, err error) {
	conn, err := from.Dial(context.Background(), "udp", netip.AddrPortFrom(to, echoPort).String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	socket := conn.(syscall.Conn)
	level, option, headers := unix.IPPROTO_IP, unix.IP_RECVERR, headers4
	if !to.Is4() {
		level, option, headers = unix.IPPROTO_IPV6, unix.IPV6_RECVERR, headers6
	}
	err = onSocket(socket, func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) })
	if err == nil {
		err = discover(socket, to.Is4(), unix.IP_PMTUDISC_PROBE)
	}
	if err != nil {
		return 0, err
	}
	payload := make([]byte, size-headers)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		_, _ = conn.Write(payload) // an error is that of an earlier packet, which the error queue has whole
		if err := onSocket(socket, func(fd int) error { mtu, err = queuedMTU(fd); return err }); err != nil {
			return 0, err
		}
		if mtu != 0 {
			return mtu, nil
		}
	}
	return 0, fmt.Errorf("nobody says that a packet of %d bytes from %v to %v is too big", size, from.Name(), to)
}

// queuedMTU takes one message from the socket's error queue (ip(7), IP_RECVERR): the MTU of an ICMP
// fragmentation needed or packet too big; 0 if there is none.
func queuedMTU(fd int) (int, error) {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return 0, nil // nothing there yet
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		// struct sock_extended_err: errno, origin, type, code, pad, info.
		if len(m.Data) < 12 || binary.NativeEndian.Uint32(m.Data) != uint32(unix.EMSGSIZE) {
			continue
		}
		if origin := m.Data[4]; origin == unix.SO_EE_ORIGIN_ICMP || origin == unix.SO_EE_ORIGIN_ICMP6 {
			return int(binary.NativeEndian.Uint32(m.Data[8:])), nil
		}
	}
	return 0, nil
}
