package agent

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"weft/cmd/internal/steer"
	"weft/kernelmode"
)

// A handover moves the packets from one datapath to the other while both are there. Nobody's device can
// have the VXLAN port while the other's socket has, and everything that takes time in letting it go or
// taking it would be time without a packet. So what comes in is steered to sockets of user space
// meanwhile, and what goes out needs no port at all:
//
//	userspace → kernel                          kernel → userspace
//	device, forwarding entries, device down     TUN, its route, sockets without the port
//	forwarder reads spare sockets               forwarder reads spare sockets
//	  steer on                                    steer on
//	  close the port's sockets                    peers' routes off, device down
//	  device up, peers' routes                    bind the port's sockets, forwarder reads them
//	  steer off                                   steer off
//	peers asked; then TUN off                   peers asked; then device off
//
// Routes are never missing: those to single peers lead into the kernel's device, and the one for the whole
// network, which counts where they don't, into the TUN.
//
// Without the right to steer, packets that come in during the middle part are lost.
type handover struct {
	session *session
	user    *userPath
	kernel  *kernelPath
	toUser  bool
	spare   *sockets // nil while there are none
	steer   *steer.Port
	unsteer error // why nothing was steered
}

// drain is how long what was on its way is waited for, in a device or a socket that is no longer used.
const drain = 5 * time.Millisecond

// prepareHandover makes everything of the next datapath that doesn't disturb the present one.
func (s *session) prepareHandover(next choice) (*handover, error) {
	if !reusable(s.options) {
		return nil, errors.New("--io portable and --split-directions keep the device from being handed over: restart the agent with another --datapath, or without them")
	}
	h := &handover{session: s, toUser: next.kind != inKernel}
	var err error
	if h.toUser {
		h.kernel = s.current().(*kernelPath)
		err = h.prepareUser()
	} else {
		h.user = s.current().(*userPath)
		err = h.prepareKernel()
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// prepareKernel makes the devices, with all that doesn't need them up.
func (h *handover) prepareKernel() (err error) {
	if h.kernel, err = h.session.openKernel(h.session.snapshot); err != nil {
		return err
	}
	down := dormant(h.kernel.plan())
	installed, err := kernelmode.Apply(h.session.kernel, down)
	if err := h.session.serious(down, installed, err); err != nil {
		h.discardKernel()
		return fmt.Errorf("making the kernel's devices: %w", err)
	}
	return nil
}

// prepareUser opens the TUN beside the kernel's devices. Nothing goes there, since peers' routes are more
// specific.
func (h *handover) prepareUser() (err error) {
	if h.user, err = h.session.openDevice(h.session.snapshot); err != nil {
		return err
	}
	if _, err = h.user.follow(h.session.snapshot); err == nil {
		_, err = kernelmode.Apply(h.session.kernel, h.both())
	}
	if err == nil {
		err = h.openSpare()
	}
	if err == nil {
		err = h.user.open(h.user.formats) // but for what the spare ones stand for
	}
	if err == nil {
		err = h.user.begin(h.user.generation)
	}
	if err != nil {
		h.user.close()
		return fmt.Errorf("opening user space's datapath: %w", err)
	}
	h.session.run(h.user.lineage)
	return nil
}

// over hands the packets over. It returns how long the middle part took, in which nothing but steering
// keeps what comes in from being lost. After an error back is to be called.
func (h *handover) over() (took time.Duration, err error) {
	if h.toUser {
		return h.intoUser()
	}
	return h.intoKernel()
}

// back undoes over.
func (h *handover) back() (err error) {
	if h.toUser {
		_, err = h.intoKernel()
		time.Sleep(drain)
		h.user.close()
		return err
	}
	_, err = h.intoUser()
	h.discardKernel()
	return err
}

// finish closes the datapath before.
func (h *handover) finish() {
	if h.toUser {
		h.session.replace(h.user)
		h.discardKernel()
		return
	}
	h.session.replace(h.kernel)
	time.Sleep(drain)
	h.user.close()
}

// intoKernel takes the port from user space, which stays open behind it.
func (h *handover) intoKernel() (took time.Duration, err error) {
	if err := h.lend(); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := h.user.closePort(); err != nil {
		return 0, err
	}
	want := h.kernel.plan()
	for _, link := range want.Links {
		// First of all: without steering this is what packets are waiting for.
		if err := h.session.kernel.Do(kernelmode.Op{Verb: kernelmode.Change, Object: link}); err != nil {
			return 0, &kernelmode.OpError{Op: kernelmode.Op{Verb: kernelmode.Change, Object: link}, Err: err}
		}
	}
	installed, err := kernelmode.Apply(h.session.kernel, h.both())
	h.unsteered()
	return time.Since(began), h.session.serious(want, installed, err)
}

// intoUser takes the port from the kernel's devices, which stay there, down.
func (h *handover) intoUser() (took time.Duration, err error) {
	if err := h.lend(); err != nil {
		return 0, err
	}
	began := time.Now()
	if h.steer != nil {
		// Routes first: a packet that met its device going down would be lost.
		quiet := h.both()
		quiet.Routes = h.user.plan().Routes
		_, _ = kernelmode.Apply(h.session.kernel, quiet) // what it leaves goes with the device
	}
	for _, link := range dormant(h.kernel.plan()).Links {
		err := h.session.kernel.Do(kernelmode.Op{Verb: kernelmode.Change, Object: link})
		if err != nil && !errors.Is(err, syscall.ENODEV) {
			return 0, &kernelmode.OpError{Op: kernelmode.Op{Verb: kernelmode.Change, Object: link}, Err: err}
		}
	}
	if err := h.user.openPort(); err != nil {
		return 0, err
	}
	h.unsteered()
	took = time.Since(began)
	if _, err = kernelmode.Apply(h.session.kernel, h.user.plan()); err != nil {
		return took, fmt.Errorf("setting up device %s: %w", h.user.options.TUNName, err)
	}
	return took, h.returnSpare()
}

// lend has what comes in and goes out use spare sockets, beside the port's own. Other formats have no
// port: a raw socket gets its packets beside the kernel's device, and some of them twice for a moment.
func (h *handover) lend() error {
	if h.user.fabric.config.BackendType != typeVXLAN || h.steer != nil {
		return nil
	}
	if h.spare == nil {
		if err := h.openSpare(); err != nil {
			return err
		}
		if err := h.user.begin(h.user.generation); err != nil {
			return err
		}
	}
	v4, v6 := h.spare.descriptors()
	port, _ := h.user.fabric.receives(typeVXLAN, h.user.options)
	if h.steer, h.unsteer = steer.Open(port, v4, v6); h.unsteer != nil {
		h.session.log.Info("packets that come in while the port changes hands are lost", "why", h.unsteer)
		return nil
	}
	time.Sleep(drain) // what waits in the port's own sockets is read
	return nil
}

// unsteered has packets come to whoever has the port by now.
func (h *handover) unsteered() {
	h.steer.Close()
	h.steer = nil
}

// openSpare opens sockets without the port, for the next generation to use.
func (h *handover) openSpare() error {
	u := h.user
	if u.fabric.config.BackendType != typeVXLAN {
		return nil
	}
	opened, err := bindSockets(typeVXLAN, u.fabric, u.options, len(u.queues), 0)
	if err != nil {
		return err
	}
	h.spare = &opened
	u.sockets = append(u.sockets, opened)
	return nil
}

// returnSpare closes the spare sockets, once what waits in them has been read.
func (h *handover) returnSpare() error {
	if h.spare == nil {
		return nil
	}
	time.Sleep(drain)
	h.spare = nil
	return h.user.closeSockets(func(s sockets) bool { return s.kind == typeVXLAN && s.port == 0 })
}

// both is the kernel state of the two datapaths beside each other.
func (h *handover) both() kernelmode.State {
	state := h.user.plan().And(h.kernel.plan())
	state.Owns.Devices = nil // nobody's devices are leftovers now
	return state
}

// discardKernel removes the devices again that were prepared.
func (h *handover) discardKernel() {
	devices := h.session.fabric.devices()
	if _, err := kernelmode.Apply(h.session.kernel, kernelmode.Removal(nil, devices...)); err != nil {
		h.session.log.Warn("the kernel's devices weren't removed", "devices", devices, "err", err)
		return
	}
	h.session.removed(devices)
}

func (h *handover) steered() bool { return h.unsteer == nil }

// dormant is a plan's devices down, with what they can have then.
func dormant(s kernelmode.State) kernelmode.State {
	d := kernelmode.State{Revision: s.Revision, FDB: s.FDB}
	for _, l := range s.Links {
		l.Up = false
		d.Links = append(d.Links, l)
	}
	return d
}
