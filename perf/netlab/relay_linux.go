package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// relay carries an impaired link's packets: a packet socket on the port that used to be plugged into
// the bridge, and a TAP that is plugged in instead.
//
//	host eth0 ── port ⇄ packet socket ⇄ [lanes] ⇄ TAP ── bridge
//
// Both sides speak the virtio_net_hdr in front of each frame, so that unfinished checksums travel as
// such. (This kernel family may lack netem, and netem can't be told to reproduce its decisions.)
type relay struct {
	name    string // of the TAP
	port    *os.File
	tap     *os.File
	inward  *lane // port to TAP
	outward *lane // TAP to port

	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // why Run ended; read after done
}

// openRelay opens both sides in the namespace; packets flow after start.
func openRelay(space *Namespace, port string, mtu int) (*relay, error) {
	r := &relay{name: port + "-relay"}
	err := space.Do(func() (err error) {
		if r.port, err = openPacket(port); err != nil {
			return fmt.Errorf("opening packet socket on %s: %w", port, err)
		}
		if r.tap, err = openTAP(r.name); err != nil {
			return fmt.Errorf("opening TAP %s: %w", r.name, err)
		}
		return errors.Join(setMTU(r.name, mtu), silence(r.name), linkUp(r.name))
	})
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.inward = newLane(r.port, r.tap, 1)
	r.outward = newLane(r.tap, r.port, 2)
	return r, nil
}

// setImpairment changes what happens to the packets that arrive from now on; those in flight keep their
// fate.
func (r *relay) setImpairment(i Impairment) {
	r.inward.impairment.Store(&i)
	r.outward.impairment.Store(&i)
}

// counts adds up both directions.
func (r *relay) counts() Counts {
	a, b := r.inward.counts.load(), r.outward.counts.load()
	return Counts{
		Delivered:  a.Delivered + b.Delivered,
		Lost:       a.Lost + b.Lost,
		Duplicated: a.Duplicated + b.Duplicated,
		Reordered:  a.Reordered + b.Reordered,
		Overflowed: a.Overflowed + b.Overflowed,
	}
}

// start runs the relay beside its caller, until stop.
func (r *relay) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.done.Go(func() { r.err = r.Run(ctx) })
}

// stop ends the relay and takes the TAP away with it.
func (r *relay) stop() error {
	if r.cancel == nil {
		return r.close()
	}
	r.cancel()
	r.done.Wait()
	return r.err
}

// Run carries packets until ctx ends; packets in flight are then lost. It closes both sides.
func (r *relay) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range []*lane{r.inward, r.outward} {
		group.Go(func() error { return l.read(ctx) })
		group.Go(func() error { return l.deliver(ctx) })
	}
	<-ctx.Done()
	closed := r.close() // unblocks the readers
	err := group.Wait()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, closed)
}

// close unblocks both readers, and removes the TAP.
func (r *relay) close() (err error) {
	for _, f := range []*os.File{r.port, r.tap} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// openPacket opens a packet socket that sees what arrives on the device, but not what is sent.
func openPacket(device string) (*os.File, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, err
	}
	// No protocol yet: the socket must not fill with the packets of other devices before bind.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	// Both have to be set before bind, or the first packets come without the header.
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Attrs().Index}),
	)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packet:"+device), nil
}

// socketBuffer takes a few thousand packets: bursts that a real link's queue would take too.
const socketBuffer = 8 << 20

// networkOrder is htons.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// openTAP makes a TAP that lives as long as the file. It takes and gives unfinished checksums, and
// nothing larger than its MTU.
func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tap:"+name), nil
}

// counters is Counts that two goroutines write.
type counters struct {
	delivered, lost, duplicated, reordered, overflowed atomic.Uint64
}

func (c *counters) load() Counts {
	return Counts{
		Delivered:  c.delivered.Load(),
		Lost:       c.lost.Load(),
		Duplicated: c.duplicated.Load(),
		Reordered:  c.reordered.Load(),
		Overflowed: c.overflowed.Load(),
	}
}
