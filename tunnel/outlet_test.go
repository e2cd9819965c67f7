package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// A scriptedOutlet answers write after write from a list, the last again and again, and keeps what was written.
type scriptedOutlet struct {
	answers []outletAnswer
	frames  [][]byte
	wire    int
	policy  error
	closed  int
}

type outletAnswer struct {
	route outletRoute
	errno syscall.Errno
}

func (s *scriptedOutlet) write(pieces [][]byte, wire int) (outletRoute, syscall.Errno) {
	s.frames = append(s.frames, bytes.Join(pieces, nil))
	s.wire = wire
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return a.route, a.errno
}

func (s *scriptedOutlet) check() error { return s.policy }

func (s *scriptedOutlet) whole() bool { return true }

func (s *scriptedOutlet) close() error { s.closed++; return nil }

var (
	outletFrom = netip.MustParseAddrPort("192.0.2.1:8472")
	outletTo   = netip.MustParseAddrPort("198.51.100.7:4789")
)

// outletPacket is a superpacket as a TUN device hands it over.
func outletPacket(t *testing.T, kind GSOKind, segments, size, tail int) Packet {
	t.Helper()
	var p Packet
	if !decodePacket(&p, probeSuperpacket(kind, segments, size, tail)) {
		t.Fatal("probe superpacket is malformed")
	}
	return p
}

// Every field that the kernel reads, from the sources in outlet_header.go.
func TestOutletFrame(t *testing.T) {
	device := &scriptedOutlet{answers: []outletAnswer{{}}}
	o := &Outlet{device: device, slot: 3}
	p := outletPacket(t, GSOTCP4, 3, 100, 50)
	before := bytes.Clone(p.Data)
	head := bytes.Repeat([]byte{0xee}, VXLANHeaderLen)
	if err := o.Send(&p, head, outletFrom, outletTo, 0); err != nil {
		t.Fatal(err)
	}
	f := device.frames[0]
	vnet, frame := f[:24], f[24:]
	le := binary.LittleEndian
	const inner = 14 + 20 + 8 + VXLANHeaderLen
	for _, field := range []struct {
		name      string
		got, want int
	}{
		{"flags", int(vnet[0]), 1 | 8},
		{"gso_type", int(vnet[1]), 1 | 0x20},
		{"hdr_len", int(le.Uint16(vnet[2:])), inner + 40},
		{"gso_size", int(le.Uint16(vnet[4:])), 100},
		{"csum_start", int(le.Uint16(vnet[6:])), inner + 20},
		{"csum_offset", int(le.Uint16(vnet[8:])), 16},
		{"outer_th_offset", int(le.Uint16(vnet[20:])), 34},
		{"inner_nh_offset", int(le.Uint16(vnet[22:])), inner},
		{"slot", int(frame[11]), 3},
		{"EtherType", int(binary.BigEndian.Uint16(frame[12:])), EtherTypeIPv4},
		{"outer length", int(binary.BigEndian.Uint16(frame[16:])), len(frame) - 14},
		{"outer flags", int(binary.BigEndian.Uint16(frame[20:])), 0x4000},
		{"outer checksum", int(naiveSum(frame[14:34])), 0},
		{"source port", int(binary.BigEndian.Uint16(frame[34:])), 8472},
		{"destination port", int(binary.BigEndian.Uint16(frame[36:])), 4789},
		{"UDP length", int(binary.BigEndian.Uint16(frame[38:])), len(frame) - 34},
		{"wire", device.wire, 28 + VXLANHeaderLen + 40 + 100},
	} {
		if field.got != field.want {
			t.Errorf("%s: %#x, want %#x", field.name, field.got, field.want)
		}
	}
	pseudo := make([]byte, 12)
	copy(pseudo, frame[26:34])
	pseudo[9] = 17
	copy(pseudo[10:], frame[38:40])
	if got := binary.BigEndian.Uint16(frame[40:]); got != ^naiveSum(pseudo) {
		t.Errorf("UDP checksum %#x, want the pseudo header's sum %#x", got, ^naiveSum(pseudo))
	}
	if !bytes.Equal(frame[42:inner], head) || !bytes.Equal(frame[inner:], before) || !bytes.Equal(p.Data, before) {
		t.Error("encapsulation header or inner packet changed")
	}
}

// The outer headers of the other family.
func TestOutletFrameOverIPv6(t *testing.T) {
	device := &scriptedOutlet{answers: []outletAnswer{{}}}
	o := &Outlet{device: device, six: true}
	p := outletPacket(t, GSOTCP4, 3, 100, 50)
	from, to := netip.MustParseAddrPort("[2001:db8::1]:8472"), netip.MustParseAddrPort("[2001:db8:1::7]:4789")
	if err := o.Send(&p, make([]byte, VXLANHeaderLen), outletFrom, to, 0); err == nil {
		t.Error("sent from IPv4 to IPv6")
	}
	if err := o.Send(&p, make([]byte, VXLANHeaderLen), from, to, 0); err != nil {
		t.Fatal(err)
	}
	vnet, frame := device.frames[0][:24], device.frames[0][24:]
	const inner = 14 + 40 + 8 + VXLANHeaderLen
	src, dst := from.Addr().As16(), to.Addr().As16()
	pseudo := append(append(bytes.Clone(src[:]), dst[:]...), 0, 0, frame[58], frame[59], 0, 0, 0, 17)
	for _, field := range []struct {
		name      string
		got, want int
	}{
		{"gso_type", int(vnet[1]), 1 | 0x40},
		{"outer_th_offset", int(binary.LittleEndian.Uint16(vnet[20:])), 54},
		{"inner_nh_offset", int(binary.LittleEndian.Uint16(vnet[22:])), inner},
		{"EtherType", int(binary.BigEndian.Uint16(frame[12:])), EtherTypeIPv6},
		{"version", int(frame[14] >> 4), 6},
		{"payload length", int(binary.BigEndian.Uint16(frame[18:])), len(frame) - 54},
		{"next header", int(frame[20]), 17},
		{"UDP length", int(binary.BigEndian.Uint16(frame[58:])), len(frame) - 54},
		{"UDP checksum", int(binary.BigEndian.Uint16(frame[60:])), int(^naiveSum(pseudo))},
		{"wire", device.wire, 48 + VXLANHeaderLen + 40 + 100},
	} {
		if field.got != field.want {
			t.Errorf("%s: %#x, want %#x", field.name, field.got, field.want)
		}
	}
	if !bytes.Equal(frame[22:38], src[:]) || !bytes.Equal(frame[38:54], dst[:]) || !bytes.Equal(frame[inner:], p.Data) {
		t.Error("addresses or inner packet are others")
	}
}

// A path that takes less gets finer segments, and the program is asked about those.
func TestOutletCutsToTheLimit(t *testing.T) {
	device := &scriptedOutlet{answers: []outletAnswer{{}}}
	o := &Outlet{device: device}
	p := outletPacket(t, GSOTCP4, 3, 100, 0)
	if err := o.Send(&p, nil, outletFrom, outletTo, 120); err != nil {
		t.Fatal(err)
	}
	if size := binary.LittleEndian.Uint16(device.frames[0][4:]); size != 80 || device.wire != 28+120 {
		t.Errorf("segments of %d bytes and packets of %d, want 80 and %d", size, device.wire, 28+120)
	}
	if err := o.Send(&p, nil, outletFrom, outletTo, 40); err == nil {
		t.Error("a limit without room for a byte was taken")
	}
}

func TestOutletTakes(t *testing.T) {
	tcp := outletPacket(t, GSOTCP4, 3, 100, 0)
	complete := tcp
	complete.GSO.PartialChecksum = false
	large := tcp
	large.Data = make([]byte, 65535-28-VXLANHeaderLen+1)
	for _, c := range []struct {
		what string
		p    Packet
		to   string
		head int
		want bool
	}{
		{"TCP", tcp, "192.0.2.1", VXLANHeaderLen, true},
		{"UDP", outletPacket(t, GSOUDP, 3, 100, 0), "192.0.2.1", 0, false},
		{"ordinary", Packet{Data: tcp.Data}, "192.0.2.1", 0, false},
		{"complete checksum", complete, "192.0.2.1", 0, false},
		{"IPv6 underlay", tcp, "2001:db8::1", VXLANHeaderLen, true},
		{"link-local underlay", tcp, "fe80::1%eth0", 0, false},
		{"long header", tcp, "192.0.2.1", 65, false},
		{"beyond 64 KB", large, "192.0.2.1", VXLANHeaderLen, false},
	} {
		o := &Outlet{device: &scriptedOutlet{answers: []outletAnswer{{}}}, six: true}
		if got := o.Takes(&c.p, netip.MustParseAddr(c.to), c.head); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	if (&Outlet{}).Takes(&tcp, netip.MustParseAddr("2001:db8::1"), 0) {
		t.Error("taken over IPv6 where the kernel has none")
	}
	unbound := netip.MustParseAddrPort("0.0.0.0:8472")
	o := &Outlet{device: &scriptedOutlet{answers: []outletAnswer{{}}}}
	if err := o.Send(&tcp, nil, unbound, outletTo, 0); err == nil {
		t.Error("a packet without a source was sent")
	}
}

// The error table: what is sent, what only this packet pays for, and what takes the rung off.
func TestOutletFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []outletAnswer
		err     error
		writes  int  // of the first Send
		off     bool // after many of them
	}{
		{"taken", []outletAnswer{{}}, nil, 1, false},
		{"interrupted", []outletAnswer{{0, syscall.EINTR}, {0, syscall.EINTR}, {}}, nil, 3, false},
		{"no memory", []outletAnswer{{0, syscall.ENOMEM}}, syscall.ENOBUFS, 1, false},
		{"full", []outletAnswer{{0, syscall.EAGAIN}}, syscall.ENOBUFS, 1, false},
		{"over the path MTU", []outletAnswer{{routeTooBig, 0}}, syscall.EMSGSIZE, 1, false},
		{"no route", []outletAnswer{{2, 0}}, syscall.EHOSTUNREACH, 1, false},
		{"refused", []outletAnswer{{0, syscall.EINVAL}}, syscall.EINVAL, 1, true},
		{"device down", []outletAnswer{{0, syscall.EIO}}, syscall.EIO, 1, true},
		{"device gone", []outletAnswer{{0, errDetached}}, errDetached, 1, true},
		{"program gone", []outletAnswer{{routeNotLooked, 0}}, syscall.EHOSTUNREACH, 1, true},
		{"no forwarding", []outletAnswer{{routeNoForward, 0}}, syscall.EHOSTUNREACH, 1, true},
		{"one strange packet", []outletAnswer{{0, syscall.EINVAL}, {}}, syscall.EINVAL, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			device := &scriptedOutlet{answers: c.answers}
			o := &Outlet{device: device}
			p := outletPacket(t, GSOTCP4, 3, 100, 0)
			if err := o.Send(&p, nil, outletFrom, outletTo, 0); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if len(device.frames) != c.writes {
				t.Errorf("%d writes, want %d", len(device.frames), c.writes)
			}
			for range outletPatience {
				o.Send(&p, nil, outletFrom, outletTo, 0)
			}
			if off := !o.Takes(&p, outletTo.Addr(), 0); off != c.off || (o.LoweredBy() != "") != c.off {
				t.Errorf("off %v because of %q, want %v", off, o.LoweredBy(), c.off)
			}
		})
	}
}

func TestOutletGoesOffForIPsec(t *testing.T) {
	device := &scriptedOutlet{answers: []outletAnswer{{}}}
	o := &Outlet{device: device}
	o.Recheck()
	if o.LoweredBy() != "" {
		t.Fatalf("off without a reason: %s", o.LoweredBy())
	}
	device.policy = errors.New("2 IPsec policies")
	o.Recheck()
	o.TurnOff("something later")
	if !strings.Contains(o.LoweredBy(), "2 IPsec policies") {
		t.Errorf("lowered by %q, want the first reason", o.LoweredBy())
	}
	if err := o.Close(); err != nil || device.closed != 1 {
		t.Errorf("closed %d times, %v", device.closed, err)
	}
}

func TestOutletAllocatesNothing(t *testing.T) {
	device := &scriptedOutlet{answers: []outletAnswer{{}}}
	o := &Outlet{device: silentOutlet{device}}
	p := outletPacket(t, GSOTCP4, 3, 100, 0)
	head := make([]byte, VXLANHeaderLen)
	if n := testing.AllocsPerRun(100, func() { o.Send(&p, head, outletFrom, outletTo, 0) }); n != 0 {
		t.Errorf("%v allocations a superpacket", n)
	}
}

// A silentOutlet keeps nothing.
type silentOutlet struct{ *scriptedOutlet }

func (silentOutlet) write([][]byte, int) (outletRoute, syscall.Errno) { return routeFound, 0 }
