package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// ping sends count echo requests one after the other and returns the median round trip. One lost
// answer is an error: nothing in a lab loses packets.
func ping(ctx context.Context, p pair, count int) (time.Duration, error) {
	socket, err := p.fromSpace.ListenPacket(ctx, "ip4:icmp", p.from.ContainerAddr.String())
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.SetDeadline(time.Now()) })()
	// Any raw socket in the container hears the answers to every other: the ID tells them apart.
	id := rand.N(1 << 16)
	// The first may include neighbour discovery on both bridges; the median doesn't.
	trips := make([]time.Duration, count)
	for seq := range trips {
		if trips[seq], err = pingOnce(socket, p.to.ContainerAddr, &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, 56)}); err != nil {
			return 0, err
		}
	}
	slices.Sort(trips)
	return trips[count/2], nil
}

// pingOnce sends one request and waits for what settles it.
func pingOnce(socket net.PacketConn, to netip.Addr, echo *icmp.Echo) (time.Duration, error) {
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: echo}).Marshal(nil)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	if err := socket.SetReadDeadline(sent.Add(pingPatience)); err != nil {
		return 0, err
	}
	if _, err := socket.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return 0, err
	}
	buffer := make([]byte, 1500)
	// What doesn't settle the request doesn't extend the deadline either.
	for {
		n, _, err := socket.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, fmt.Errorf("no answer within %v", pingPatience)
		}
		if err != nil {
			return 0, err
		}
		if done, err := answers(buffer[:n], echo); done {
			return time.Since(sent), err
		}
	}
}

// answers tells whether the message settles the request: the echo, or word that it can't get there.
func answers(packet []byte, echo *icmp.Echo) (done bool, err error) {
	message, err := icmp.ParseMessage(ipv4.ICMPTypeEcho.Protocol(), packet)
	if err != nil {
		return false, nil // not for us to judge: a raw socket hears everything
	}
	switch body := message.Body.(type) {
	case *icmp.Echo:
		return message.Type == ipv4.ICMPTypeEchoReply && body.ID == echo.ID && body.Seq == echo.Seq, nil
	case *icmp.DstUnreach:
		return true, fmt.Errorf("destination unreachable, code %d", message.Code)
	}
	return false, nil
}
