package forwarder_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/routes"
)

// A load is all the traffic of a soak: for every ordered pair of hosts a TCP stream, a stream of UDP
// messages and a pinger, TCP and ping in one inner family and UDP in the other, by turns.
type load struct {
	tcp  []*tcpFlow
	udp  []*udpFlow
	ping []*pinger

	udpRate int // messages a second of each UDP flow
}

func openLoad(ctx context.Context, f *fabric) (*load, error) {
	l := &load{udpRate: 500} // of 5.9 KB on average
	for i, pair := range f.pairs() {
		from, to := pair[0].container, pair[1].container
		one, other := to.Addr, to.Addr6
		if i%2 == 1 {
			one, other = other, one
		}
		tcp, err := openTCP(ctx, from, to, one, byte(i))
		if err != nil {
			return l, err
		}
		l.tcp = append(l.tcp, tcp)
		udp, err := openUDP(ctx, from.Namespace, to.Namespace, other, byte(i))
		if err != nil {
			return l, err
		}
		l.udp = append(l.udp, udp)
		ping, err := openPinger(ctx, from, one, byte(i))
		if err != nil {
			return l, err
		}
		l.ping = append(l.ping, ping)
	}
	return l, nil
}

// run sends until ctx ends, and returns when everything that TCP has sent has arrived. The error is the
// first damage.
func (l *load) run(ctx context.Context) error {
	senders, ctx := errgroup.WithContext(ctx)
	all := new(errgroup.Group)
	for _, f := range l.tcp {
		senders.Go(func() error { return f.send(ctx, 0) })
		senders.Go(f.receive)
	}
	for _, f := range l.udp {
		senders.Go(func() error { return f.send(ctx, l.udpRate) })
		all.Go(f.receive)
	}
	for _, p := range l.ping {
		senders.Go(func() error { return p.run(ctx, time.Second) })
	}
	err := senders.Wait()
	time.Sleep(100 * time.Millisecond) // UDP's last messages: nothing tells when they are all there
	l.close()
	if damage := all.Wait(); err == nil {
		err = damage
	}
	return err
}

// close ends the receivers. Closing twice is harmless.
func (l *load) close() {
	for _, f := range l.tcp {
		f.close()
	}
	for _, f := range l.udp {
		f.close()
	}
	for _, p := range l.ping {
		p.close()
	}
}

// late counts UDP messages that came behind a later one.
func (l *load) late() (n uint64) {
	for _, f := range l.udp {
		n += f.late.Load()
	}
	return n
}

// idle names a flow that nothing came through.
func (l *load) idle() error {
	for _, f := range l.tcp {
		if f.gotBytes.Load() == 0 {
			return fmt.Errorf("TCP from %v: nothing arrived", f.out.LocalAddr())
		}
	}
	for _, f := range l.udp {
		if f.got.Load() == 0 {
			return fmt.Errorf("UDP to %v: nothing arrived", f.in.LocalAddr())
		}
	}
	for _, p := range l.ping {
		if p.got.Load() == 0 {
			return fmt.Errorf("ICMP echo to %v: no answer came", p.to)
		}
	}
	return nil
}

// String sums the load up.
func (l *load) String() string {
	var tcp, udp, sent, got, repeated, asked, answered uint64
	for _, f := range l.tcp {
		tcp += f.gotBytes.Load()
	}
	for _, f := range l.udp {
		udp, sent, got, repeated = udp+f.gotBytes.Load(), sent+f.sent.Load(), got+f.got.Load(), repeated+f.repeated.Load()
	}
	for _, p := range l.ping {
		asked, answered = asked+p.sent.Load(), answered+p.got.Load()
	}
	return fmt.Sprintf("TCP %d MB, UDP %d MB (%d of %d messages, %d twice, %d late), ICMP %d of %d echoes",
		tcp>>20, udp>>20, got, sent, repeated, l.late(), answered, asked)
}

// A churn changes one host's route table updateRate times a second, without changing where any packet of
// the load goes: it adds and removes other peers' subnets, of every kind that a table keeps apart,
// and publishes the peers' own routes anew.
type churn struct {
	updates atomic.Uint64
}

const updateRate = 10_000

func (c *churn) run(ctx context.Context, f *fabric, n *node) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; {
		for due := uint64(time.Since(start).Seconds() * updateRate); c.updates.Load() < due; {
			if err := n.live.Update(c.change(f, n, c.updates.Load())); err != nil {
				return err
			}
			c.updates.Add(1)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// change is update number i: in each row of eight three subnets come, three go, and two hops are
// published anew.
func (c *churn) change(f *fabric, n *node, i uint64) routes.Route {
	row := byte(i / 8 % 64)
	stranger := func() *routes.Hop {
		return &routes.Hop{Outer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, row}), fabricPort)}
	}
	subnets := []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, 128 + row, 0}), 24),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, 200, row}), 32),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 5, 6: 1, 7: row}), 64),
	}
	switch k := i % 8; {
	case k < 3:
		return routes.Route{Subnet: subnets[k], Hop: stranger()}
	case k < 6:
		return routes.Route{Subnet: subnets[k-3]}
	default:
		peer := f.lab.Host(n.host.Number%len(f.nodes) + 1)
		return routes.Route{Subnet: f.subnets(peer.Number)[k-6], Hop: f.hop(peer, n.encap)}
	}
}
