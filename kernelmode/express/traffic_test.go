package express_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"weft/perf/netlab"
)

// patience bounds everything that waits for a packet on a machine that is busy with other things.
const patience = 30 * time.Second

// streamBytes is what one TCP transfer carries each way.
const streamBytes = 4 << 20

// content is pseudo-random bytes, the same for one seed.
func content(seed uint64, size int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b)
	return b
}

// transfers sends content both ways over one connection and compares checksums.
func transfers(ctx context.Context, from, to *netlab.Container, addr netip.Addr, bytes int) error {
	listener, err := to.Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return err
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = exchange(conn, content(1, bytes), content(2, bytes))
		}
		served <- err
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		listener.Close()
		return errors.Join(err, <-served)
	}
	return errors.Join(exchange(conn, content(2, bytes), content(1, bytes)), <-served)
}

// exchange sends one content, expects the other, and closes the connection.
func exchange(conn net.Conn, send, want []byte) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(send)
		sent <- err
	}()
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	if err == nil && sha256.Sum256(got) != sha256.Sum256(want) {
		err = errors.New("TCP: content came in damaged")
	}
	return errors.Join(err, <-sent)
}

// echoes sends UDP of every size there and back.
func echoes(ctx context.Context, from, to *netlab.Container, addr netip.Addr, sizes ...int) error {
	server, err := to.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return err
	}
	defer server.Close()
	go func() { // ends with the socket
		buffer := make([]byte, 1<<16)
		for {
			n, peer, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			server.WriteTo(buffer[:n], peer)
		}
	}()
	client, err := from.Dial(ctx, "udp", server.LocalAddr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	for _, size := range sizes {
		if err := echo(client, content(uint64(size), size)); err != nil {
			return fmt.Errorf("UDP of %d bytes: %w", size, err)
		}
	}
	return nil
}

// echo sends a message until its echo is there, and compares it.
func echo(socket net.Conn, message []byte) error {
	answer := make([]byte, 1<<16)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := socket.Write(message); err != nil {
			return err
		}
		socket.SetReadDeadline(time.Now().Add(time.Second))
		n, err := socket.Read(answer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		if n == len(message) {
			if !bytes.Equal(answer[:n], message) {
				return errors.New("came back damaged")
			}
			return nil
		}
	}
	return errors.New("no echo")
}

// pings has an ICMP echo of every size answered.
func pings(ctx context.Context, from *netlab.Container, addr netip.Addr, sizes ...int) error {
	network, protocol := "ip4:icmp", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if addr.Is6() {
		network, protocol, request, reply = "ip6:ipv6-icmp", 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var conn net.Conn
	err := from.Do(func() (err error) {
		conn, err = net.Dial(network, addr.String())
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	for i, size := range sizes {
		message := icmp.Message{Type: request, Body: &icmp.Echo{ID: 4711, Seq: i, Data: content(uint64(size), size)}}
		if err := ping(ctx, conn, message, reply, protocol); err != nil {
			return fmt.Errorf("ICMP echo of %d bytes: %w", size, err)
		}
	}
	return nil
}

func ping(ctx context.Context, conn net.Conn, message icmp.Message, want icmp.Type, protocol int) error {
	raw, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	answer := make([]byte, 1<<16)
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; {
		if _, err := conn.Write(raw); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := conn.Read(answer)
			if err != nil {
				break
			}
			packet := answer[:n]
			if protocol == 1 && n > 20 { // an IPv4 raw socket hands over the IP header
				packet = packet[int(packet[0]&15)*4:]
			}
			got, err := icmp.ParseMessage(protocol, packet)
			if err != nil || got.Type != want {
				continue
			}
			echo, ok := got.Body.(*icmp.Echo)
			sent := message.Body.(*icmp.Echo)
			if ok && echo.Seq == sent.Seq && bytes.Equal(echo.Data, sent.Data) {
				return nil
			}
		}
	}
	return errors.New("no answer")
}

// sizes are payloads around everything that changes how a packet travels: small ones, those around the MTUs of
// all encapsulations and both inner families, and some that are fragments.
var sizes = []int{0, 1, 3, 64, 548, 1000, 1392, 1402, 1403, 1422, 1424, 1425, 1432, 1444, 1445, 1452, 1472, 2048, 9000, 65000}

// everything crosses between every pair of hosts, both ways.
func everythingCrosses(t *testing.T, w *world) {
	t.Helper()
	for _, from := range w.nodes {
		for _, to := range w.nodes {
			if from == to {
				continue
			}
			for _, addr := range []netip.Addr{to.container.Addr, to.container.Addr6} {
				if !addr.IsValid() {
					continue
				}
				err := errors.Join(
					pings(t.Context(), from.container, addr, 0, 1, 56, 1300, 1400, 9000),
					echoes(t.Context(), from.container, to.container, addr, sizes...),
					transfers(t.Context(), from.container, to.container, addr, streamBytes),
				)
				if err != nil {
					t.Errorf("%v host %d to %v of %v host: %v", from.kind, from.host.Number, addr, to.kind, err)
				}
			}
		}
	}
}
