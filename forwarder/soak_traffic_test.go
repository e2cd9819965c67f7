package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// drained is how long a receiver waits for what is still on its way once its sender has finished: on a
// path that loses packets TCP's retransmission timer may have to go off several times.
const drained = time.Minute

// tcpWindow bounds what a connection has on its way. Without it a machine with too little time for all of
// its senders fills megabytes of queues, round trips take seconds, and retransmission timeouts a minute.
const tcpWindow = 256 << 10

// A flowTally is what a flow has carried so far. Any goroutine may read it.
type flowTally struct {
	sentBytes, gotBytes atomic.Uint64
	sent, got           atomic.Uint64 // messages
	repeated, late      atomic.Uint64 // messages: a number again, a number lower than the one before
}

// A tcpFlow is one connection that carries a pattern one way.
type tcpFlow struct {
	flowTally
	pattern  pattern
	out, in  *net.TCPConn
	lastRead atomic.Int64 // when bytes came last, in ns since the epoch
	longest  atomic.Int64 // the longest time between two reads that brought bytes, in ns
}

// openTCP connects from one container to an address of another.
func openTCP(ctx context.Context, from, to *netlab.Container, addr netip.Addr, seed byte) (*tcpFlow, error) {
	listener, err := to.Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(ctx, drained)
	defer cancel()
	out, err := from.Dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return nil, err
	}
	in, err := listener.Accept()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	f := &tcpFlow{pattern: newPattern(seed), out: out.(*net.TCPConn), in: in.(*net.TCPConn)}
	if err := f.out.SetWriteBuffer(tcpWindow); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// send writes pieces of mixed sizes, 1 byte to 256 KB, until ctx ends or limit bytes (0: no limit) are
// sent, then closes its direction.
func (f *tcpFlow) send(ctx context.Context, limit uint64) error {
	buffer := make([]byte, 256<<10)
	for n := uint64(0); ctx.Err() == nil && (limit == 0 || f.sentBytes.Load() < limit); n++ {
		piece := buffer[:1+scramble(n)%(1<<(scramble(n^1)%19))]
		f.pattern.fill(piece, f.sentBytes.Load())
		if err := f.out.SetWriteDeadline(time.Now().Add(drained)); err != nil {
			return err
		}
		written, err := f.out.Write(piece)
		f.sentBytes.Add(uint64(written))
		if err != nil {
			return fmt.Errorf("after %d bytes: %w (%v)", f.sentBytes.Load(), err, f.state())
		}
	}
	return f.out.CloseWrite()
}

// state is what the sender's kernel says about the connection: why it stands still, if it does.
func (f *tcpFlow) state() string {
	var info *unix.TCPInfo
	err := controlled(f.out, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("path MTU %d, MSS %d, window %d, %d unacknowledged, %d lost, %d retransmitted; timeout %v after %d in vain",
		info.Pmtu, info.Snd_mss, info.Snd_cwnd, info.Unacked, info.Lost, info.Retrans,
		time.Duration(info.Rto)*time.Microsecond, info.Retransmits)
}

// controlled calls f with the descriptor of a socket.
func controlled(socket syscall.Conn, f func(fd int) error) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// receive compares every byte until the sender has closed.
func (f *tcpFlow) receive() error {
	buffer := make([]byte, 128<<10)
	for n := uint64(0); ; n++ {
		if err := f.in.SetReadDeadline(time.Now().Add(drained)); err != nil {
			return err
		}
		size, err := f.in.Read(buffer[:1+scramble(n)%uint64(len(buffer))])
		f.clock(size)
		at := f.gotBytes.Load()
		if !f.pattern.matches(buffer[:size], at) {
			return fmt.Errorf("TCP %v: damage between bytes %d and %d", f.out.LocalAddr(), at, at+uint64(size))
		}
		f.gotBytes.Add(uint64(size))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", f.gotBytes.Load(), err)
		}
	}
	if sent, got := f.sentBytes.Load(), f.gotBytes.Load(); sent != got {
		return fmt.Errorf("TCP %v: %d bytes sent, %d received", f.out.LocalAddr(), sent, got)
	}
	return nil
}

// clock notes how long the stream stood still.
func (f *tcpFlow) clock(size int) {
	if size == 0 {
		return
	}
	now := time.Now().UnixNano()
	if last := f.lastRead.Swap(now); last != 0 {
		f.longest.Store(max(f.longest.Load(), now-last))
	}
}

func (f *tcpFlow) close() { f.out.Close(); f.in.Close() }

// A udpFlow sends messages one way.
type udpFlow struct {
	flowTally
	pattern pattern
	longest int // of the messages, in bytes: messageMax unless set
	out, in *net.UDPConn
}

func openUDP(ctx context.Context, from, to *netlab.Namespace, addr netip.Addr, seed byte) (*udpFlow, error) {
	in, err := to.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return nil, err
	}
	out, err := from.Dial(ctx, "udp", in.LocalAddr().String())
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	f := &udpFlow{pattern: newPattern(seed), longest: messageMax, out: out.(*net.UDPConn), in: in.(*net.UDPConn)}
	return f, f.in.SetReadBuffer(4 << 20)
}

// send sends about rate messages a second until ctx ends. A message that the kernel refuses (a full
// queue, a path MTU it has just learned) is lost, as UDP's are.
func (f *udpFlow) send(ctx context.Context, rate int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	buffer := make([]byte, messageMax)
	for n := uint64(0); ; {
		for range rate / 100 {
			message := f.pattern.putMessage(buffer, n, f.longest)
			n++
			if _, err := f.out.Write(message); err != nil {
				if errors.Is(err, net.ErrClosed) {
					return err
				}
				continue
			}
			f.sent.Add(1)
			f.sentBytes.Add(uint64(len(message)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// receive checks messages until its socket is closed.
func (f *udpFlow) receive() error {
	buffer := make([]byte, 65536)
	var highest uint64
	for {
		size, err := f.in.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		n, numbered, ok := f.pattern.readMessage(buffer[:size], f.longest)
		if !ok {
			return fmt.Errorf("UDP %v: message %d of %d bytes is damaged", f.in.LocalAddr(), n, size)
		}
		f.got.Add(1)
		f.gotBytes.Add(uint64(size))
		switch {
		case !numbered:
		case n < highest:
			f.late.Add(1)
		case n == highest:
			f.repeated.Add(1)
		default:
			highest = n
		}
	}
}

func (f *udpFlow) close() { f.out.Close(); f.in.Close() }

// A pinger sends ICMP echo requests with messages in them.
type pinger struct {
	flowTally
	pattern pattern
	socket  net.PacketConn
	to      netip.Addr
	id      int
}

func openPinger(ctx context.Context, from *netlab.Container, to netip.Addr, seed byte) (*pinger, error) {
	network, any := "ip4:icmp", "0.0.0.0"
	if to.Is6() {
		network, any = "ip6:ipv6-icmp", "::"
	}
	socket, err := from.ListenPacket(ctx, network, any)
	if err != nil {
		return nil, err
	}
	return &pinger{pattern: newPattern(seed), socket: socket, to: to, id: int(seed) + 1}, nil
}

// run sends echo after echo until ctx ends. One that isn't answered in patience is lost.
func (p *pinger) run(ctx context.Context, patience time.Duration) error {
	buffer := make([]byte, messageMax)
	for n := uint64(0); ctx.Err() == nil; n++ {
		err := p.echo(p.pattern.putMessage(buffer, n, messageMax), int(n&0xffff), patience)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errRefused) {
			return err
		}
	}
	return nil
}

// errRefused: the kernel didn't take a request, for the path's MTU at the moment or a full queue.
var errRefused = errors.New("echo request refused")

// echo sends one payload and waits for the same to come back.
func (p *pinger) echo(payload []byte, number int, patience time.Duration) error {
	var kind icmp.Type = ipv4.ICMPTypeEcho
	protocol := 1
	if p.to.Is6() {
		kind, protocol = ipv6.ICMPTypeEchoRequest, 58
	}
	request := icmp.Message{Type: kind, Body: &icmp.Echo{ID: p.id, Seq: number, Data: payload}}
	packet, err := request.Marshal(nil) // the kernel fills in ICMPv6's checksum
	if err != nil {
		return err
	}
	if err := p.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := p.socket.WriteTo(packet, &net.IPAddr{IP: p.to.AsSlice()}); err != nil {
		return errors.Join(errRefused, err)
	}
	p.sent.Add(1)
	p.sentBytes.Add(uint64(len(payload)))
	buffer := make([]byte, 65536)
	for {
		size, _, err := p.socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		answer, err := icmp.ParseMessage(protocol, buffer[:size])
		if err != nil {
			return fmt.Errorf("echo from %v: %w", p.to, err)
		}
		echo, ok := answer.Body.(*icmp.Echo)
		if !ok || answer.Type == kind || echo.ID != p.id || echo.Seq != number {
			continue // somebody else's, an error, or late
		}
		if string(echo.Data) != string(payload) {
			return fmt.Errorf("echo %d from %v: %d bytes came back damaged", number, p.to, len(echo.Data))
		}
		p.got.Add(1)
		p.gotBytes.Add(uint64(len(payload)))
		return nil
	}
}

func (p *pinger) close() { p.socket.Close() }
