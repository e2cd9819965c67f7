package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A probeDevice is a TUN device that exists for the duration of Probe.
type probeDevice struct {
	fd      int
	name    string
	support error // why IFF_MULTI_QUEUE could not be had
}

// openProbeDevice creates the device and brings it up: one that is down refuses every write.
func openProbeDevice() (*probeDevice, error) {
	fd, err := openTUN("weftprobe%d", unix.IFF_VNET_HDR|unix.IFF_MULTI_QUEUE)
	d := &probeDevice{fd: fd}
	if errors.Is(err, unix.EINVAL) {
		d.support = err
		d.fd, err = openTUN("weftprobe%d", unix.IFF_VNET_HDR)
	}
	if err != nil {
		return nil, err
	}
	if err := d.up(); err != nil {
		unix.Close(d.fd)
		return nil, fmt.Errorf("bringing probe device up: %w", err)
	}
	return d, nil
}

func (d *probeDevice) up() error {
	request, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(d.fd, unix.TUNGETIFF, request); err != nil {
		return err
	}
	d.name = request.Name()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if request, err = unix.NewIfreq(d.name); err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

func (d *probeDevice) close() { unix.Close(d.fd) }

// write returns what the kernel says to one packet with its virtio header.
func (d *probeDevice) write(packet []byte) syscall.Errno {
	for {
		_, err := unix.Write(d.fd, packet)
		var errno syscall.Errno
		if errors.As(err, &errno); errno != unix.EINTR {
			return errno
		}
	}
}

func (d *probeDevice) tso() error {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if err := unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, tcp); err != nil {
		return refusedBecause("switching TCP segmentation offload of a TUN device on", err, "it needs Linux 2.6.27")
	}
	return judgeTSO(d.write(probeSuperpacket(GSOTCP4, 3, 100, 50)), d.write(probeSuperpacket(GSOTCP4, 3, 100, 1)))
}

func (d *probeDevice) uso() error {
	const udp = unix.TUN_F_CSUM | unix.TUN_F_USO4 | unix.TUN_F_USO6
	if err := unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, udp); err != nil {
		return refusedBecause("switching UDP segmentation offload of a TUN device on", err, "it needs Linux 6.2")
	}
	return judgeUSO(d.write(probeSuperpacket(GSOUDP, 3, 100, 0)), d.write(probeSuperpacket(GSOUDP, udpSegmentsOld+1, 20, 0)))
}

// multiQueue attaches a second descriptor to the device.
func (d *probeDevice) multiQueue() error {
	if d.support != nil {
		return refusedBecause("opening a TUN device with IFF_MULTI_QUEUE", d.support, "it needs Linux 3.8")
	}
	second, err := openTUN(d.name, unix.IFF_VNET_HDR|unix.IFF_MULTI_QUEUE)
	if err != nil {
		return err
	}
	return unix.Close(second)
}

// A probePair is two sockets on loopback that exist for the duration of Probe.
type probePair struct {
	from, to *udpDescriptor
	toAddr   netip.AddrPort
}

func openProbePair() (p *probePair, err error) {
	p = &probePair{}
	if p.from, _, err = probeSocket(); err != nil {
		return nil, err
	}
	if p.to, p.toAddr, err = probeSocket(); err != nil {
		p.from.close()
		return nil, err
	}
	return p, nil
}

func probeSocket() (*udpDescriptor, netip.AddrPort, error) {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("opening probe socket: %w", err)
	}
	if err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(loopback, 0))); err == nil {
		var port uint16
		if port, err = boundPort(fd); err == nil {
			var d *udpDescriptor
			if d, err = newUDPDescriptor(fd, true); err == nil {
				return d, netip.AddrPortFrom(loopback, port), nil
			}
		}
	}
	unix.Close(fd)
	return nil, netip.AddrPort{}, fmt.Errorf("binding probe socket to %v: %w", loopback, err)
}

func (p *probePair) close() {
	p.from.close()
	p.to.close()
}

// exchange sends one message of count datagrams, all of one size, and returns how many messages came,
// the bytes of all of them, and the segment size of the first.
func (p *probePair) exchange(count, size int) (messages int, got []byte, segment int, errno syscall.Errno) {
	out := make([]Datagram, count)
	for i := range out {
		out[i] = Datagram{Addr: p.toAddr, Payload: bytes.Repeat([]byte{byte(i)}, size)}
	}
	if _, errno = p.from.send(out, []Run{{Count: count, SegmentSize: size}}); errno != 0 {
		return 0, nil, 0, errno
	}
	in := make([]Datagram, receiveMessages)
	for len(got) < count*size && p.to.waiter.wait(unix.POLLIN, probePatienceMs) == 0 {
		n, errno := p.to.receive(in)
		if errno != 0 {
			break // nothing came
		}
		if messages == 0 {
			segment = in[0].SegmentSize
		}
		for _, d := range in[:n] {
			got = append(got, d.Payload...)
		}
		messages += n
	}
	return messages, got, segment, 0
}

// probePatienceMs is how long a datagram on loopback may take before it counts as lost.
const probePatienceMs = 100

// gso sends a run and checks every datagram of it: kernels 7.0 to 7.1.4 mangle runs of equal segments.
func (p *probePair) gso() error {
	const count, size = 8, 100
	messages, got, _, errno := p.exchange(count, size)
	if errno != 0 {
		return refusedBecause("sending with UDP_SEGMENT", errno, "it needs Linux 4.18, and loopback must be up")
	}
	for i := range count {
		if messages != count || len(got) != count*size || got[i*size] != byte(i) || got[(i+1)*size-1] != byte(i) {
			return fmt.Errorf("a run of %d datagrams arrived as %d with other contents: this kernel mangles UDP_SEGMENT "+
				"(7.0 to 7.1.4 do): use --offload-gso=off or another kernel", count, messages)
		}
	}
	if _, _, _, errno := p.exchange(runSegments, 1); errno != 0 {
		return limitation("at most 64 datagrams a run; 128 from Linux 6.9")
	}
	return nil
}

// gro switches trains on and receives one.
func (p *probePair) gro() error {
	if err := unix.SetsockoptInt(p.to.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
		return refusedBecause("switching UDP_GRO on", err, "it needs Linux 5.0")
	}
	messages, _, segment, errno := p.exchange(4, 100)
	if errno == 0 && (messages != 1 || segment != 100) {
		return limitation("switched on, but a train on loopback arrived in pieces")
	}
	return nil
}

// batch makes one call of each kind.
func (p *probePair) batch() error {
	out := []Datagram{{Addr: p.toAddr, Payload: []byte{1}}, {Addr: p.toAddr, Payload: []byte{2, 2}}}
	sent, errno := p.from.send(out, PlanRuns(nil, out, RunLimits{Segments: 1, Bytes: maxRunBytes}))
	if errno != 0 || sent != len(out) {
		return refusedBecause("sending two datagrams with sendmmsg", errno, "seccomp may forbid it: they go one by one")
	}
	return nil
}

// probeOutlet opens an outlet and sends a superpacket to loopback through it, which no route leads to from there: the
// program must have seen it.
func probeOutlet() error {
	outlets, err := OpenOutlets("weftprobe%d", "", 1)
	if err != nil {
		return err
	}
	o := outlets[0]
	defer o.Close()
	var p Packet
	if !decodePacket(&p, probeSuperpacket(GSOTCP4, 3, 100, 0)) {
		return errNotForOutlet
	}
	self := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9)
	o.refusals = outletPatience - 1 // this one decides
	if err := o.Send(&p, make([]byte, VXLANHeaderLen), self, self, 0); o.LoweredBy() != "" {
		return fmt.Errorf("sending a superpacket whole: %w: %s", err, o.LoweredBy())
	}
	return nil
}
