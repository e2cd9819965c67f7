package demo

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// drawTopology shows what stands: a line for each host, from its container to the underlay that all
// of them share.
//
//	c1 10.5.7.2 ── cbr0 10.5.7.1 ── weft0 ═ agent ═ eth0 10.99.0.1 ─┬─ underlay ── etcd …
//	c2 10.5.9.2 ── cbr0 10.5.9.1 ── weft0 ═ agent ═ eth0 10.99.0.2 ─┘
func drawTopology(out io.Writer, site *Site) {
	etcd := strings.TrimPrefix(site.Endpoint, "http://")
	fmt.Fprintf(out, "\n  %-17s    %-16s    %s\n", "container", "bridge", "host")
	for i, h := range site.Hosts {
		joint := "┤"
		switch i {
		case 0:
			joint = "┬─ underlay ── etcd " + etcd
		case len(site.Hosts) - 1:
			joint = "┘"
		}
		bridge := "cbr0 " + gateway(h.Subnet).String()
		fmt.Fprintf(out, "  %-17s ── %-16s ── %-6s weft0 ═ agent ═ eth0 %-11s ─%s\n", h.container(), bridge, h.Name, h.Addr, joint)
	}
	fmt.Fprintln(out)
}

// gateway is the subnet's first host address, which the bridge has.
func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// table prints a row for each direction of a pair, as soon as it is known.
type table struct{ out io.Writer }

// tableRow aligns the headings and the rows. Addresses of 10.5.0.0/16 with two-digit names fit.
const tableRow = "  %-17s   %-17s  %-15s  %9s  %6s  %s\n"

func newTable(out io.Writer) table {
	fmt.Fprintf(out, tableRow, "from", "to", "in subnet", "RTT", "Gb/s", "")
	return table{out}
}

// row leaves a dash for what wasn't reached, and says why.
func (t table) row(from, to Host, r result) {
	trip, rate, verdict := "–", "–", "ok"
	if r.trip > 0 {
		trip = fmt.Sprintf("%.3f ms", float64(r.trip)/float64(time.Millisecond))
	}
	if r.bitsPerSec > 0 {
		rate = fmt.Sprintf("%.2f", r.bitsPerSec/1e9)
	}
	if r.err != nil {
		verdict = "FAILED: " + r.err.Error()
	}
	fmt.Fprintf(t.out, tableRow, from.container(), to.container(), to.Subnet, trip, rate, verdict)
}

// container names the container and its address, such as "c1 10.5.7.2".
func (h Host) container() string { return h.Container + " " + h.ContainerAddr.String() }
