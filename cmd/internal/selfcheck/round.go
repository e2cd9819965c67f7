package selfcheck

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// An Answer is what became of one peer.
type Answer struct {
	Peer     Peer
	Answered bool
	RTT      time.Duration // to the first answer; 0 without one
	Err      error         // why the last request couldn't be sent; nil if it could
}

// A round is one Probe: who was asked when, and who has answered. It knows no socket. Its methods may
// be called from several goroutines.
type round struct {
	id     uint16
	secret [8]byte // in every request: a raw socket hears the answers to every other program's too

	mu      sync.Mutex
	answers []Answer
	sent    [tries][]time.Time // by try and peer
	left    int                // peers that haven't answered
	done    chan struct{}      // closed when left is 0
}

// tries is how often a silent peer is asked again.
const tries = 5

// pauses is how long before each try after the first, which is sent at once: close together at
// first, since what is lost is mostly lost to neighbour discovery, and then patient enough for a
// machine that is busy with something else.
var pauses = [tries - 1]time.Duration{
	100 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond, 400 * time.Millisecond,
}

// echoHeaderLen is what an echo request has before its data (RFC 792, RFC 4443).
const echoHeaderLen = 8

// lastWait is how long the last try waits. With all pauses it makes 1.5 s, the most that a Probe takes.
const lastWait = 600 * time.Millisecond

func newRound(peers []Peer) *round {
	r := &round{answers: make([]Answer, len(peers)), left: len(peers), done: make(chan struct{})}
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	_, _ = rand.Read(r.secret[:])
	r.id = binary.BigEndian.Uint16(id[:])
	for i, p := range peers {
		r.answers[i].Peer = p
	}
	for i := range r.sent {
		r.sent[i] = make([]time.Time, len(peers))
	}
	if r.left == 0 {
		close(r.done)
	}
	return r
}

// A request is one packet to send.
type request struct {
	peer   int
	to     netip.Addr
	packet []byte // ICMP without IP header
}

// ask returns the requests of one try, for those that haven't answered by now.
func (r *round) ask(try int, now time.Time) []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []request
	for i, a := range r.answers {
		if a.Answered {
			continue
		}
		r.sent[try][i] = now
		for _, to := range a.Peer.addrs() {
			all = append(all, request{i, to, r.packet(i*tries+try, to.Is4(), a.Peer.Size)})
		}
	}
	return all
}

// packet is an echo request that makes an IP packet of the size, or one as small as can be. The sequence
// number names peer and try.
func (r *round) packet(seq int, v4 bool, size int) []byte {
	kind, headers := icmp.Type(ipv6.ICMPTypeEchoRequest), ipv6.HeaderLen+echoHeaderLen
	if v4 {
		kind, headers = ipv4.ICMPTypeEcho, ipv4.HeaderLen+echoHeaderLen
	}
	data := make([]byte, max(size-headers, len(r.secret)))
	copy(data, r.secret[:])
	message := icmp.Message{Type: kind, Body: &icmp.Echo{ID: int(r.id), Seq: seq, Data: data}}
	packet, _ := message.Marshal(nil) // fails for bodies of other types alone; the kernel sums ICMPv6
	return packet
}

// failed notes why a request couldn't be sent.
func (r *round) failed(peer int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[peer].Err = err
}

// hear takes what a socket of the family received. What is no answer to this round is nothing to it.
func (r *round) hear(packet []byte, v4 bool, now time.Time) {
	reply, protocol := icmp.Type(ipv6.ICMPTypeEchoReply), ipv6.ICMPTypeEchoReply.Protocol()
	if v4 {
		reply, protocol = ipv4.ICMPTypeEchoReply, ipv4.ICMPTypeEchoReply.Protocol()
	}
	message, err := icmp.ParseMessage(protocol, packet)
	if err != nil || message.Type != reply {
		return
	}
	echo, ok := message.Body.(*icmp.Echo)
	if !ok || echo.ID != int(r.id) || !bytes.HasPrefix(echo.Data, r.secret[:]) {
		return
	}
	peer, try := echo.Seq/tries, echo.Seq%tries
	r.mu.Lock()
	defer r.mu.Unlock()
	if peer >= len(r.answers) || r.answers[peer].Answered || r.sent[try][peer].IsZero() || r.answers[peer].Peer.Subnet.Addr().Is4() != v4 ||
		len(echo.Data) != len(r.packet(echo.Seq, v4, r.answers[peer].Peer.Size))-echoHeaderLen {
		return
	}
	a := &r.answers[peer]
	a.Answered, a.RTT, a.Err = true, now.Sub(r.sent[try][peer]), nil
	if r.left--; r.left == 0 {
		close(r.done)
	}
}

// result is what is known at the end.
func (r *round) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Result{Answers: append([]Answer(nil), r.answers...)}
}
