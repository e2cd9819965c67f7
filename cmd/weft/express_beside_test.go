package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// The lane is in front of the TUN's queue and behind the underlay's driver; everything between, that is the packet
// filter, sees what it sees with userspace. So what Docker and Kubernetes write there holds.
func TestLaneBesidePacketFilters(t *testing.T) {
	labtest.NeedProgram(t, "iptables-restore", "iptables")
	w, containers := newLanes(t, 2, testConfig)
	for _, c := range containers {
		startEcho(t, c)
	}
	startServer(t, containers[1].Namespace, netip.AddrPortFrom(containers[1].Addr, servicePort))

	t.Run("Docker's rules", func(t *testing.T) { w.with(t).besideDocker(containers) })
	t.Run("kube-proxy's rules", func(t *testing.T) { w.with(t).besideKubeProxy(containers) })
	t.Run("a firewall against IPv6", func(t *testing.T) { w.with(t).besideNoIPv6(containers) })
}

// servicePort is where a container offers what a service address stands for.
const servicePort = 8080

// startServer sends back what comes over TCP.
func startServer(t *testing.T, where *netlab.Namespace, addr netip.AddrPort) {
	t.Helper()
	listener, err := where.Listen(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // the client sees what is missing
			}()
		}
	}()
}

// roundTrip sends bytes to a server that sends them back, and compares.
func roundTrip(from *netlab.Namespace, to string, size int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return echoed(conn.(*net.TCPConn), size)
}

// restore has host n's packet filter be what the text says, as iptables-restore takes it.
func (w *world) restore(n int, text string) {
	w.Helper()
	w.restoreBy(n, "iptables-restore", text)
}

func (w *world) restoreBy(n int, program, text string) {
	w.Helper()
	cmd := w.lab.Host(n).Command(w.Context(), program)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("%s: %v: %s", program, err, out)
	}
}

// noRules is a packet filter that lets everything pass.
const noRules = `*filter
:FORWARD ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
COMMIT
`

// dockerRules are those of a Docker engine whose bridge is cbr0, and what flannel's --iptables-forward-rules adds.
// Whoever isn't let through by name is dropped.
func dockerRules(network, subnet netip.Prefix) string {
	return fmt.Sprintf(`*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o cbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o cbr0 -j DOCKER
-A FORWARD -i cbr0 ! -o cbr0 -j ACCEPT
-A FORWARD -i cbr0 -o cbr0 -j ACCEPT
-A FORWARD -s %[1]s -j ACCEPT
-A FORWARD -d %[1]s -j ACCEPT
-A DOCKER-USER -p udp --dport %[3]d -j DROP
-A DOCKER-USER -j RETURN
-A DOCKER-ISOLATION-STAGE-1 -i cbr0 ! -o cbr0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker9 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s %[2]s ! -o cbr0 -j MASQUERADE
COMMIT
`, network, subnet, forbiddenPort)
}

// forbiddenPort is one that the operator has DOCKER-USER drop.
const forbiddenPort = 9999

// besideDocker: containers reach each other and the world outside, and what the operator forbids stays forbidden.
func (w *world) besideDocker(containers []*netlab.Container) {
	network := netip.MustParsePrefix("10.5.0.0/16")
	for n := 1; n <= 2; n++ {
		w.restore(n, dockerRules(network, w.subnets(n)[0]))
		defer w.restore(n, noRules)
	}
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	for _, l := range []letter{{"udp", 100, true}, {"udp", w.env(1).MTU, true}, {"icmp", 100, true}, {"udp", 4000, false}} {
		if err := deliver(containers[0], containers[1].Addr, l); err != nil {
			w.Error(err)
		}
	}

	outside, addr, _ := w.lab.Underlay()
	startServer(w.T, outside, netip.AddrPortFrom(addr, servicePort))
	if err := roundTrip(containers[0].Namespace, netip.AddrPortFrom(addr, servicePort).String(), 100_000); err != nil {
		w.Errorf("a container to the world outside: %v", err)
	}
	w.forbidden(containers)
}

// forbidden asserts that datagrams to the forbidden port don't arrive while others, sent after them, do.
func (w *world) forbidden(containers []*netlab.Container) {
	w.Helper()
	from, to := containers[0], containers[1]
	arrived := map[int]net.PacketConn{}
	for _, port := range []int{forbiddenPort, forbiddenPort - 1} {
		conn, err := to.ListenPacket(w.Context(), "udp", netip.AddrPortFrom(to.Addr, uint16(port)).String())
		if err != nil {
			w.Fatal(err)
		}
		defer conn.Close()
		arrived[port] = conn
	}
	w.until("a datagram to the port beside the forbidden one", func() error {
		for _, port := range []int{forbiddenPort, forbiddenPort - 1} {
			conn, err := from.Dial(w.Context(), "udp", netip.AddrPortFrom(to.Addr, uint16(port)).String())
			if err != nil {
				return err
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
		return reads(arrived[forbiddenPort-1], 100*time.Millisecond)
	})
	if reads(arrived[forbiddenPort], 100*time.Millisecond) == nil {
		w.Error("what DOCKER-USER drops arrived through the lane")
	}
}

func reads(conn net.PacketConn, within time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, _, err := conn.ReadFrom(make([]byte, 100))
	return err
}

// The addresses of a service: one of its own, and a port of every node.
const (
	serviceAddr = "10.96.0.10:80"
	nodePort    = 30080
)

// kubeRules are kube-proxy's for one service with two backends: one on another host, half of the connections, and one
// that is reached as its node port is, from outside, so that answers come back this way.
func kubeRules(backends [2]netip.AddrPort, pods netip.Prefix) string {
	return fmt.Sprintf(`*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SVC-WEFT - [0:0]
:KUBE-EXT-WEFT - [0:0]
:KUBE-SEP-ONE - [0:0]
:KUBE-SEP-TWO - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-WEFT
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport %[4]d -j KUBE-EXT-WEFT
-A KUBE-EXT-WEFT -j KUBE-MARK-MASQ
-A KUBE-EXT-WEFT -j KUBE-SVC-WEFT
-A KUBE-SVC-WEFT ! -s %[3]s -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEFT -m statistic --mode nth --every 2 --packet 0 -j KUBE-SEP-ONE
-A KUBE-SVC-WEFT -j KUBE-SEP-TWO
-A KUBE-SEP-ONE -p tcp -m tcp -j DNAT --to-destination %[1]s
-A KUBE-SEP-TWO -p tcp -m tcp -j DNAT --to-destination %[2]s
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -s %[3]s -j ACCEPT
-A FORWARD -d %[3]s -j ACCEPT
COMMIT
`, backends[0], backends[1], pods, nodePort)
}

// besideKubeProxy: a service address leads through the lane to a container on the other host, from a container, from
// the host itself, and from outside by the node port; its answers find back.
func (w *world) besideKubeProxy(containers []*netlab.Container) {
	other := netip.AddrPortFrom(containers[1].Addr, servicePort)
	more := netip.AddrPortFrom(containers[1].Addr, servicePort+1)
	startServer(w.T, containers[1].Namespace, more)
	w.restore(1, kubeRules([2]netip.AddrPort{other, more}, netip.MustParsePrefix("10.5.0.0/16")))
	defer w.restore(1, noRules)
	outside, router, _ := w.lab.Underlay()
	w.ip(1, "route", "add", "10.96.0.0/16", "via", router.String()) // what a default route is for elsewhere
	defer w.ip(1, "route", "del", "10.96.0.0/16")
	const size = 200_000
	for _, from := range []struct {
		who string
		*netlab.Namespace
		to string
	}{
		{"a container", containers[0].Namespace, serviceAddr},
		{"the host", w.lab.Host(1).Namespace, serviceAddr},
		{"the world outside", outside, netip.AddrPortFrom(w.lab.Host(1).Addr, nodePort).String()},
	} {
		w.throughLane(1, 2*size, 2*size, func() {
			for range 2 { // each backend once
				if err := roundTrip(from.Namespace, from.to, size); err != nil {
					w.Errorf("%s to %s: %v", from.who, from.to, err)
				}
			}
		})
	}
}

// besideNoIPv6: the lane has superpackets go round by a device of its own, as IPv6. Where a firewall drops those they
// go straight.
func (w *world) besideNoIPv6(containers []*netlab.Container) {
	const rules = "*raw\n:PREROUTING %s [0:0]\nCOMMIT\n*filter\n:FORWARD %[1]s [0:0]\n:INPUT %[1]s [0:0]\nCOMMIT\n"
	for n := 1; n <= 2; n++ {
		w.restoreBy(n, "ip6tables-restore", fmt.Sprintf(rules, "DROP"))
		defer w.restoreBy(n, "ip6tables-restore", fmt.Sprintf(rules, "ACCEPT"))
	}
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
}

// Programs of others on the same devices go on with their work, and the lane with its own, whoever came first.
func TestLaneBesideOtherPrograms(t *testing.T) {
	w, containers := newLanes(t, 2, testConfig)
	host := w.lab.Host(1)
	others := newOthers(t, host)
	t.Run("a filter and links that came later", func(t *testing.T) { w.with(t).beside(others, containers) })
	t.Run("the agent starts again among them", func(t *testing.T) {
		w := w.with(t)
		if result := w.switches(1, "userspace"); result.Error != "" {
			t.Fatal(result.Error)
		}
		w.allPairs(containers)
		if result := w.switches(1, "express"); result.Error != "" {
			t.Fatal(result.Error)
		}
		w.inLane(1, 1)
		w.beside(others, containers)
	})
	t.Run("a shaper on the underlay", func(t *testing.T) {
		w := w.with(t)
		w.tc("qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "2gbit", "burst", "256kb", "limit", "8mb")
		w.beside(others, containers)
		if sent := w.shaped(); sent < transferBytes {
			t.Errorf("the shaper saw %d bytes of %d: the lane goes around it", sent, transferBytes)
		}
		w.tc("qdisc", "del", "dev", "eth0", "root")
	})
	t.Run("one that asks nobody else", func(t *testing.T) {
		w := w.with(t)
		undo, err := others.endWalk(host)
		if err != nil {
			t.Fatal(err)
		}
		w.allPairs(containers) // what comes in goes by userspace
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		w.beside(others, containers)
	})
}

// ip runs ip on host n.
func (w *world) ip(n int, args ...string) {
	w.Helper()
	if out, err := w.lab.Host(n).Command(w.Context(), "ip", args...).CombinedOutput(); err != nil {
		w.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// tc runs tc on host 1.
func (w *world) tc(args ...string) string {
	w.Helper()
	out, err := w.lab.Host(1).Command(w.Context(), "tc", args...).CombinedOutput()
	if err != nil {
		w.Fatalf("tc %v: %v: %s", args, err, out)
	}
	return string(out)
}

// shaped is how many bytes went through the shaper.
func (w *world) shaped() (bytes int) {
	w.Helper()
	out := w.tc("-s", "qdisc", "show", "dev", "eth0", "root")
	_, rest, _ := strings.Cut(out, "Sent ")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		w.Fatalf("reading %q: %v", out, err)
	}
	return bytes
}

// beside asserts that every program of others sees what passes, and that the lane carries it.
func (w *world) beside(others *others, containers []*netlab.Container) {
	w.Helper()
	before := others.counts(w.T)
	w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	for name, now := range others.counts(w.T) {
		if saw := now - before[name]; saw < transferBytes {
			w.Errorf("%s saw %d bytes of %d", name, saw, transferBytes)
		}
	}
	if err := others.there(w.lab.Host(1)); err != nil {
		w.Error(err)
	}
}

var errGone = errors.New("is gone")
