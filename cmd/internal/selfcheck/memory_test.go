package selfcheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A fabric in memory: what becomes of each request is a function's affair.
type memory struct {
	// reply returns what comes back after how long; nil: nothing. n counts the requests to that address.
	reply func(to netip.Addr, n int, request []byte) (packet []byte, after time.Duration)
	send  func(to netip.Addr) error // nil: all goes out

	mu    sync.Mutex
	asked map[netip.Addr]int
}

func (m *memory) listen(context.Context, bool) (net.PacketConn, error) {
	return &memoryConn{m: m, in: make(chan []byte, 1000), closed: make(chan struct{})}, nil
}

type memoryConn struct {
	net.PacketConn // nil: no other method is called
	m              *memory
	in             chan []byte
	closed         chan struct{}
}

func (c *memoryConn) WriteTo(packet []byte, to net.Addr) (int, error) {
	addr, _ := netip.AddrFromSlice(to.(*net.IPAddr).IP)
	if c.m.send != nil {
		if err := c.m.send(addr); err != nil {
			return 0, err
		}
	}
	c.m.mu.Lock()
	if c.m.asked == nil {
		c.m.asked = map[netip.Addr]int{}
	}
	c.m.asked[addr]++
	n := c.m.asked[addr]
	c.m.mu.Unlock()
	if reply, after := c.m.reply(addr, n, packet); reply != nil {
		time.AfterFunc(after, func() { c.in <- reply })
	}
	return len(packet), nil
}

func (c *memoryConn) ReadFrom(buffer []byte) (int, net.Addr, error) {
	select {
	case packet := <-c.in:
		if packet[0] == brokenRead {
			return 0, nil, &net.OpError{Op: "read", Err: os.NewSyscallError("recvfrom", errors.New("no route to host"))}
		}
		return copy(buffer, packet), &net.IPAddr{}, nil
	case <-c.closed:
		return 0, nil, &net.OpError{Op: "read", Err: net.ErrClosed}
	}
}

func (c *memoryConn) Close() error {
	close(c.closed)
	return nil
}

// brokenRead, as first byte, has the socket report an error that it can go on after.
const brokenRead = 0xee

// echo is the proper answer to a request, changed by alter.
func echo(request []byte, alter func(*icmp.Message, *icmp.Echo)) []byte {
	protocol, kind := ipv4.ICMPTypeEcho.Protocol(), icmp.Type(ipv4.ICMPTypeEchoReply)
	if request[0] == byte(ipv6.ICMPTypeEchoRequest) {
		protocol, kind = ipv6.ICMPTypeEchoRequest.Protocol(), ipv6.ICMPTypeEchoReply
	}
	message, err := icmp.ParseMessage(protocol, request)
	if err != nil {
		panic(err)
	}
	message.Type = kind
	if alter != nil {
		alter(message, message.Body.(*icmp.Echo))
	}
	packet, err := message.Marshal(nil)
	if err != nil {
		panic(err)
	}
	return packet
}
