package demo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// plainSite is two hosts and their containers, with static routes instead of agents where routed is
// set, and none otherwise.
func plainSite(t *testing.T, routed bool) *Site {
	t.Helper()
	requireDemo(t)
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "pairtest", Hosts: 2, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	site := &Site{Lab: lab.ID(), Dir: lab.Dir()}
	for i, h := range lab.Hosts() {
		host := Host{Name: fmt.Sprintf("host%d", i+1), Addr: h.Addr, Container: fmt.Sprintf("c%d", i+1),
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(i + 1), 0}), 24)}
		c, err := h.AddContainer(host.Container, 1500, host.Subnet)
		if err != nil {
			t.Fatal(err)
		}
		host.ContainerAddr = c.Addr
		site.Hosts = append(site.Hosts, host)
	}
	for i, h := range lab.Hosts() {
		other := site.Hosts[1-i]
		_, subnet, _ := net.ParseCIDR(other.Subnet.String())
		route := &netlink.Route{Dst: subnet, Gw: other.Addr.AsSlice()}
		if !routed {
			route = &netlink.Route{Dst: subnet, Type: unix.RTN_UNREACHABLE}
		}
		if err := h.Do(func() error { return netlink.RouteAdd(route) }); err != nil {
			t.Fatal(err)
		}
	}
	return site
}

func TestTryPairsOverStaticRoutes(t *testing.T) {
	var out bytes.Buffer
	if err := tryPairs(t.Context(), &out, plainSite(t, true)); err != nil {
		t.Error(err)
	}
	if rows := strings.Count(out.String(), "  ok\n"); rows != 2 {
		t.Errorf("%d rows are ok:\n%s", rows, &out)
	}
}

func TestTryPairsWithoutRoutesFails(t *testing.T) {
	var out bytes.Buffer
	err := tryPairs(t.Context(), &out, plainSite(t, false))
	if err == nil || !strings.Contains(err.Error(), "2 of 2 directions") {
		t.Errorf("error is %v", err)
	}
	// The ICMP error may be missing: the kernel limits their rate.
	if rows := strings.Count(out.String(), "FAILED: ping: "); rows != 2 {
		t.Errorf("%d rows say why:\n%s", rows, &out)
	}
}

// lyingReceiver takes a transfer and sends a receipt that change has spoilt.
func lyingReceiver(t *testing.T, change func(*receipt)) *net.TCPConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sum := crc32.New(castagnoli)
		n, err := io.Copy(sum, conn)
		if err != nil {
			return
		}
		r := receipt{Bytes: uint64(n), Checksum: sum.Sum32()}
		change(&r)
		binary.Write(conn, binary.BigEndian, r)
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func TestDeliverNoticesDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*receipt)
		fails  bool
	}{
		{"sound", func(*receipt) {}, false},
		{"another checksum", func(r *receipt) { r.Checksum ^= 1 }, true},
		{"a byte less", func(r *receipt) { r.Bytes-- }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			rate, err := deliver(t.Context(), lyingReceiver(t, c.change), 10*time.Millisecond)
			if (err != nil) != c.fails || (rate > 0) == c.fails {
				t.Errorf("rate %v, error %v", rate, err)
			}
		})
	}
}

func TestDeliverStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn := lyingReceiver(t, func(*receipt) {})
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := deliver(ctx, conn, time.Hour); err == nil {
		t.Error("an hour's transfer ended well after a moment")
	}
}

func TestAnswers(t *testing.T) {
	request := &icmp.Echo{ID: 7, Seq: 3}
	for _, c := range []struct {
		name    string
		message icmp.Message
		done    bool
		fails   bool
	}{
		{"its reply", icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 7, Seq: 3}}, true, false},
		{"an earlier reply", icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 7, Seq: 2}}, false, false},
		{"another program's", icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 8, Seq: 3}}, false, false},
		{"its own request", icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: 3}}, false, false},
		{"unreachable", icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 1, Body: &icmp.DstUnreach{Data: make([]byte, 28)}}, true, true},
	} {
		packet, err := c.message.Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := answers(packet, request); done != c.done || (err != nil) != c.fails {
			t.Errorf("%s: %v, %v", c.name, done, err)
		}
	}
	if done, err := answers([]byte{0}, request); done || err != nil {
		t.Errorf("a torn message: %v, %v", done, err)
	}
}

// FuzzAnswers: whatever arrives at the raw socket, it is judged and never taken for a reply that
// isn't one.
func FuzzAnswers(f *testing.F) {
	reply, err := (&icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 7, Seq: 3}}).Marshal(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply)
	f.Add([]byte{3, 1, 0, 0})
	f.Fuzz(func(t *testing.T, packet []byte) {
		done, err := answers(packet, &icmp.Echo{ID: 7, Seq: 3})
		if done && err == nil && !bytes.Equal(packet[4:8], []byte{0, 7, 0, 3}) {
			t.Errorf("% x settles echo 7/3", packet)
		}
	})
}
