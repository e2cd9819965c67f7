package forwarder_test

import (
	"context"
	"testing"
	"time"

	"weft/perf/netlab/labtest"
)

// TestWorkersKeepEveryFlowInOrder has UDP flows of mixed sizes, none so large that it is fragmented, beside TCP
// both ways: whatever queue, worker and source port a flow takes, it takes always, so that nothing comes
// late. (A datagram in fragments may take another one than the whole ones of its flow, since only the
// first fragment has ports; kernel tunnels do the same.)
func TestWorkersKeepEveryFlowInOrder(t *testing.T) {
	labtest.NeedTUN(t)
	for _, v := range []variant{fast, many, slow} {
		t.Run(v.name, func(t *testing.T) {
			f := build(t, fabricSpec{variants: []variant{v}, hosts: 2, inner4: true, inner6: true})
			l, err := openLoad(t.Context(), f)
			defer l.close()
			if err != nil {
				t.Fatal(err)
			}
			if err := moreUDP(t.Context(), f, l, 4); err != nil {
				t.Fatal(err)
			}
			l.udpRate = 4000
			if v.name == slow.name {
				l.udpRate = 1000 // more than it carries under the race detector crowds the few echoes out
			}
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			if err := l.run(ctx); err != nil {
				t.Error(err)
			}
			if late := l.late(); late != 0 {
				t.Errorf("%d UDP messages came behind later ones", late)
			}
			if err := l.idle(); err != nil {
				t.Error(err)
			}
			t.Log(l)
			f.checkRefusals(t)
		})
	}
}

// moreUDP adds flows between all containers and in both families, and has none send more than fits one
// packet.
func moreUDP(ctx context.Context, f *fabric, l *load, count int) error {
	for _, pair := range f.pairs() {
		from, to := pair[0].container, pair[1].container
		for i := range count {
			addr := to.Addr
			if i%2 == 1 {
				addr = to.Addr6
			}
			u, err := openUDP(ctx, from.Namespace, to.Namespace, addr, byte(i))
			if err != nil {
				return err
			}
			l.udp = append(l.udp, u)
		}
	}
	for _, u := range l.udp {
		u.longest = f.mtu() - headers6
	}
	return nil
}
