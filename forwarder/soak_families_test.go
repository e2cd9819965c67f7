package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
	"weft/perf/vm/vmtest"
)

// TestEveryFamilyCarriesEverything: three hosts, every pair both ways at once, inner IPv4 and IPv6 over
// an underlay of either: TCP, UDP and ICMP of 1 to 65,507 bytes, compared byte for byte.
func TestEveryFamilyCarriesEverything(t *testing.T) {
	everyFamilyCarriesEverything(t, fast, gue, slow)
}

func everyFamilyCarriesEverything(t *testing.T, variants ...variant) {
	labtest.NeedTUN(t)
	for _, v := range variants {
		for _, outer6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s over %s", v.name, family(outer6)), func(t *testing.T) {
				testEverythingCrosses(t, fabricSpec{variants: []variant{v}, hosts: 3, outer6: outer6, inner4: true, inner6: true})
			})
		}
	}
}

// testEverythingCrosses builds a fabric and has every pair of its hosts carry everything.
func testEverythingCrosses(t *testing.T, spec fabricSpec) *fabric {
	f := build(t, spec)
	all, ctx := errgroup.WithContext(t.Context())
	for i, pair := range f.pairs() {
		from, to := pair[0].container, pair[1].container
		for _, addr := range []netip.Addr{to.Addr, to.Addr6} {
			if !addr.IsValid() {
				continue
			}
			all.Go(func() error {
				if err := carriesEverything(ctx, from, to, addr, byte(i)); err != nil {
					return fmt.Errorf("%s to %v: %w", from.Name(), addr, err)
				}
				return nil
			})
		}
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	// What TCP alone amounts to, for each peer and family: it wasn't some other way.
	least := uint64(len(f.subnets(1))*(spec.hosts-1)) * streamed()
	for _, n := range f.forwarding() {
		if c := n.forwarder.Counters(); c.Egress.Bytes < least || c.Ingress.Bytes < least {
			t.Errorf("host %d forwarded %d bytes out and %d in, want %d", n.host.Number, c.Egress.Bytes, c.Ingress.Bytes, least)
		}
	}
	f.checkRefusals(t)
	f.checkChecksums(t)
	return f
}

// streamed is the length of each pair's stream, in bytes.
func streamed() uint64 {
	if vmtest.Inside() {
		return 512 << 10
	}
	return 4 << 20
}

func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// sizes are payloads around everything that changes how a packet travels: the smallest, the fabric's
// MTU over either underlay, less the headers of either inner family, and the largest.
var sizes = []int{1, 2, 3, 63, 64, 65, 548, 1231, 1232, 1233, 1403, 1404, 1405, 1423, 1424, 1425, 1443, 1444, 1445, 1472, 2048, 9000, 32767, 65506, 65507}

func carriesEverything(ctx context.Context, from, to *netlab.Container, addr netip.Addr, seed byte) error {
	stream, err := openTCP(ctx, from, to, addr, seed)
	if err != nil {
		return err
	}
	defer stream.close()
	var all errgroup.Group
	all.Go(func() error { return stream.send(ctx, streamed()) })
	all.Go(stream.receive)
	all.Go(func() error { return echoesUDP(ctx, from, to, addr, seed) })
	all.Go(func() error { return echoesICMP(ctx, from, addr, seed) })
	return all.Wait()
}

// tries of one message on a machine that is busy with other things: a receive buffer may overflow.
const tries = 5

func echoesUDP(ctx context.Context, from, to *netlab.Container, addr netip.Addr, seed byte) error {
	server, err := to.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return err
	}
	defer server.Close()
	go reflect(server)
	client, err := from.Dial(ctx, "udp", server.LocalAddr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	p := newPattern(seed)
	for _, size := range sizes {
		if err := retried(func() error { return echoUDP(client, p, size) }); err != nil {
			return fmt.Errorf("UDP of %d bytes: %w", size, err)
		}
	}
	return nil
}

// transfer carries so many bytes from the container of one host to another's, and compares them on arrival.
func (f *fabric) transfer(t *testing.T, from, to int, six bool, bytes uint64) {
	t.Helper()
	target := f.nodes[to].container
	addr := target.Addr
	if six {
		addr = target.Addr6
	}
	flow, err := openTCP(t.Context(), f.nodes[from].container, target, addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.close()
	var both errgroup.Group
	both.Go(func() error { return flow.send(t.Context(), bytes) })
	both.Go(flow.receive)
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A message that learns the path's MTU is none of those tries: weft has told it, which is less than the device's over IPv6, and
// mostly TCP has learned it first. Linux forgets what it has learned whenever a route of that family changes
// (rt6_flush_exceptions), as several do while a lab is young.
const (
	lessons    = 50
	lessonWait = 20 * time.Millisecond
)

func retried(f func() error) (err error) {
	for failed, learned := 0, 0; failed < tries && learned < lessons; {
		switch err = f(); {
		case errors.Is(err, syscall.EMSGSIZE):
			learned++
			time.Sleep(lessonWait)
		case errors.Is(err, os.ErrDeadlineExceeded):
			failed++
		default:
			return err
		}
	}
	return err
}

// reflect sends every datagram back until the socket is closed.
func reflect(socket net.PacketConn) {
	buffer := make([]byte, 65536)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		socket.WriteTo(buffer[:n], from) // a lost one is asked for again
	}
}

// echoUDP sends size bytes and compares what comes back. What arrives late from an earlier try has
// another size or the same content.
func echoUDP(client net.Conn, p pattern, size int) error {
	message := make([]byte, size)
	p.fill(message, uint64(size))
	if _, err := client.Write(message); err != nil {
		return err
	}
	if err := client.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	answer := make([]byte, 65536)
	for {
		n, err := client.Read(answer)
		if err != nil {
			return err
		}
		if !p.matches(answer[:n], uint64(n)) {
			return fmt.Errorf("%d bytes came back damaged", n)
		}
		if n == size {
			return nil
		}
	}
}

func echoesICMP(ctx context.Context, from *netlab.Container, addr netip.Addr, seed byte) error {
	p, err := openPinger(ctx, from, addr, seed)
	if err != nil {
		return err
	}
	defer p.close()
	for i, size := range sizes {
		payload := make([]byte, size)
		p.pattern.fill(payload, 0)
		if err := retried(func() error { return p.echo(payload, i, time.Second) }); err != nil {
			return fmt.Errorf("ICMP echo of %d bytes: %w", size, err)
		}
	}
	return nil
}

// TestOneByteOverTheMTUIsAnswered: a packet of the fabric's MTU with DF passes, and one more byte teaches
// the sender that MTU. Over IPv4 the host's own stack says so, since the TUN has that MTU; over IPv6 the
// hop's is smaller, and weft says so.
func TestOneByteOverTheMTUIsAnswered(t *testing.T) {
	labtest.NeedTUN(t)
	for _, v := range []variant{fast, gue, slow} {
		for _, outer6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s over %s", v.name, family(outer6)), func(t *testing.T) {
				f := build(t, fabricSpec{variants: []variant{v}, hosts: 2, outer6: outer6, inner4: true, inner6: true, spare: 28})
				from, to := f.nodes[0].container, f.nodes[1].container
				for _, addr := range []netip.Addr{to.Addr, to.Addr6} {
					s := openDF(t, from, to, addr)
					if !s.passes(f.mtu()) {
						t.Errorf("to %v: a packet of %d bytes with DF doesn't arrive; its host let in %+v", addr, f.mtu(), f.nodes[1].forwarder.Counters().Ingress)
					}
					if err := s.taught(f.mtu()+1, f.mtu()); err != nil {
						t.Errorf("to %v: %v", addr, err)
					}
				}
				if sent := f.nodes[0].forwarder.Counters().ICMPSent; (sent != 0) != outer6 {
					t.Errorf("weft sent %d ICMP errors over %s", sent, family(outer6))
				}
				f.checkRefusals(t)
			})
		}
	}
}

// A dfSocket sends UDP that must not be fragmented, and never is by its own host.
type dfSocket struct {
	out, in *net.UDPConn
	headers int // inner IP and UDP
}

func openDF(t testing.TB, from, to *netlab.Container, addr netip.Addr) *dfSocket {
	t.Helper()
	flow, err := openUDP(t.Context(), from.Namespace, to.Namespace, addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(flow.close)
	s := &dfSocket{out: flow.out, in: flow.in, headers: headers4}
	level, option := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if addr.Is6() {
		s.headers, level, option = headers6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	if err := controlled(s.out, func(fd int) error { // IP_PMTUDISC_DO has the same number in both families
		return unix.SetsockoptInt(fd, level, option, unix.IP_PMTUDISC_DO)
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// pathMTU is what the sender's kernel believes.
func (s *dfSocket) pathMTU() (mtu int, err error) {
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if s.headers == headers6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	err = controlled(s.out, func(fd int) error {
		mtu, err = unix.GetsockoptInt(fd, level, option)
		return err
	})
	return mtu, err
}

// send sends one packet of size bytes, IP header included.
func (s *dfSocket) send(size int) error {
	_, err := s.out.Write(make([]byte, size-s.headers))
	return err
}

// passes tells whether a packet of size bytes arrives whole. One refusal proves nothing: it may be about
// an earlier packet, whose ICMP error the kernel tells with the next send. And a container's first packet
// may wait a second for neighbour discovery, whose first question is lost now and then.
func (s *dfSocket) passes(size int) bool {
	buffer := make([]byte, 65536)
	for i := range tries {
		if s.send(size) != nil {
			continue
		}
		if s.in.SetReadDeadline(time.Now().Add(time.Duration(i+1)*200*time.Millisecond)) != nil {
			return false
		}
		if n, err := s.in.Read(buffer); err == nil && n == size-s.headers {
			return true
		}
	}
	return false
}

// taught sends packets of size bytes until the kernel refuses one with EMSGSIZE, and checks that it
// has learnt the MTU. Each answer needs a round trip to the forwarder (two of them, where a router
// further away teaches the forwarder first), so it takes few.
func (s *dfSocket) taught(size, mtu int) error {
	const most = 20
	for i := range most {
		err := s.send(size)
		if errors.Is(err, syscall.EMSGSIZE) {
			got, err := s.pathMTU()
			if err == nil && got != mtu {
				err = fmt.Errorf("the sender was told an MTU of %d, want %d", got, mtu)
			}
			return err
		}
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(i) * time.Millisecond) // a round trip on a busy machine
	}
	return fmt.Errorf("%d packets of %d bytes with DF went out, and no ICMP came", most, size)
}
