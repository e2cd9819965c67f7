package forwarder

import (
	"net/netip"

	"weft/tunnel"

	"golang.org/x/time/rate"
)

// ICMP errors per second and worker, and how many may come at once. Linux has 1,000 and 50
// (icmp_msgs_per_sec, icmp_msgs_burst). The two kinds are limited apart: a flood to nowhere must not
// keep a sender from learning its path's MTU.
const (
	answersPerSecond = 1000
	answersBurst     = 50
)

// answers tells inner senders why their packets don't arrive. It belongs to one egress goroutine.
type answers struct {
	device         *sharedQueue
	addr4, addr6   netip.Addr
	noRoute, tooBg *rate.Limiter
	buf            []byte
	packet         [1]tunnel.Packet
}

func newAnswers(c *Config, device *sharedQueue) answers {
	return answers{
		device: device, addr4: c.Addr4, addr6: c.Addr6,
		noRoute: rate.NewLimiter(answersPerSecond, answersBurst),
		tooBg:   rate.NewLimiter(answersPerSecond, answersBurst),
	}
}

// unreachable answers a packet that has no route; sent tells whether an error went out.
func (a *answers) unreachable(packet []byte) (sent bool) {
	from := a.from(packet)
	if !from.IsValid() || !a.noRoute.Allow() {
		return false
	}
	a.buf = tunnel.AppendNoRoute(a.buf[:0], from, packet)
	return a.send()
}

// tooBig answers a packet that is larger than mtu bytes.
func (a *answers) tooBig(packet []byte, mtu int) (sent bool) {
	from := a.from(packet)
	if !from.IsValid() || !a.tooBg.Allow() {
		return false
	}
	a.buf = tunnel.AppendTooBig(a.buf[:0], from, packet, mtu)
	return a.send()
}

func (a *answers) from(packet []byte) netip.Addr {
	if packet[0]>>4 == 6 {
		return a.addr6
	}
	return a.addr4
}

func (a *answers) send() bool {
	if len(a.buf) == 0 {
		return false
	}
	a.packet[0] = tunnel.Packet{Data: a.buf}
	n, err := a.device.WriteBatch(a.packet[:])
	return n == 1 && err == nil // a device that is gone shows itself to the next read
}
