package forwarder

import (
	"net/netip"

	"weft/routes"
	"weft/tunnel"

	"golang.org/x/time/rate"
)

// Answers to echoes per second and conn: a thousand peers may try out their runs in one second.
const (
	echoesPerSecond = 16_000
	echoesBurst     = 1_600
)

// echoes answers peers that try out their runs. It belongs to one ingress goroutine.
type echoes struct {
	limit  *rate.Limiter
	trials *trials
	from   netip.AddrPort // of the datagram or train at hand
	buf    []byte
	out    [1]tunnel.Datagram
}

func newEchoes(ts *trials) echoes {
	return echoes{limit: rate.NewLimiter(echoesPerSecond, echoesBurst), trials: ts}
}

// echo deals with an echo. Only peers get an answer, and of no more bytes than they sent.
func (in *ingress) echo(table *routes.Table, data []byte) {
	s := &in.echoes
	e, ok := tunnel.ParseEcho(data)
	switch {
	case !ok || !table.KnownOuter(s.from.Addr()):
		in.refuse(table, s.from.Addr(), Malformed)
		return
	case e.Answer:
		s.trials.answered(s.from.Addr(), e)
	case !s.limit.Allow():
		in.tally.drop(RateLimited)
		return
	default:
		s.buf = tunnel.AppendEcho(s.buf[:0], tunnel.Echo{Answer: true, Place: e.Place, Token: e.Token}, tunnel.EchoLen)
		s.out[0] = tunnel.Datagram{Addr: s.from, Payload: s.buf}
		// A conn that is gone shows itself to the next read; an answer that is lost counts as one.
		_, _ = in.conn.WriteBatch(s.out[:])
	}
	in.tally.shared.echoes.Add(1)
}
