package express

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// direction is which way packets pass a hook, seen from the device.
type direction uint8

const (
	outward direction = iota // egress
	inward                   // ingress
)

func (d direction) String() string {
	if d == outward {
		return "egress"
	}
	return "ingress"
}

func (d direction) tcx() ebpf.AttachType {
	if d == outward {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

func (d direction) parent() uint32 {
	if d == outward {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// A hook is a place where packets pass, and the program that belongs there. It has one owner at a time.
type hook struct {
	lane      string // the lane's TUN device
	device    string // where packets pass
	index     int
	direction direction
	pin       string // the link's name among the pins
	program   *ebpf.Program
	pins      pins

	link link.Link // where the program is attached by a link; nil: by a filter
}

// attach puts the program in place: by a link where the kernel has them for this (6.6) and a pin keeps them, else
// as a filter, which needs no pin to stay. Other programs there stay where they are, and those before
// this one decide first.
//
// Inward it is a filter wherever somebody may have others, the last one: what the lane takes goes nowhere else, and links
// are asked before filters, so behind a link no policer or mirror of somebody else would see the fabric's packets.
// Where there is no clsact nobody has, and a link spares a running device the pause of getting one.
func (h *hook) attach() error {
	if h.direction == inward && (h.shared() || !h.pins.lasting()) && h.attachFilter() == nil {
		return h.dropLink()
	}
	if h.pins.lasting() {
		err := h.attachLink()
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return err
		}
	}
	return h.attachFilter()
}

func (h *hook) attachLink() error {
	if old := h.pins.link(h.pin); old != nil {
		if h.on(old) && old.Update(h.program) == nil {
			h.link = old
			return nil
		}
		// Its device is gone, or somebody has detached it.
		if err := errors.Join(old.Unpin(), old.Close()); err != nil {
			return fmt.Errorf("express: giving up the old link of %s: %w", h.device, err)
		}
	}
	fresh, err := link.AttachTCX(link.TCXOptions{Interface: h.index, Program: h.program, Attach: h.direction.tcx()})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return err
	}
	if err != nil {
		return refused(fmt.Sprintf("attaching to %s of %s", h.direction, h.device), err)
	}
	if err := h.pins.pinLink(h.pin, fresh); err != nil {
		return errors.Join(err, fresh.Close())
	}
	if h.link != nil {
		h.link.Close()
	}
	h.link = fresh
	return h.detachFilter() // of an earlier agent that had no pins
}

// overtaken reports whether a link stands where filters of somebody's may have come meanwhile: attach makes it one of them.
func (h *hook) overtaken() bool { return h.direction == inward && h.link != nil && h.shared() }

// dropLink gives up the link by which an earlier agent, or this one, was attached here.
func (h *hook) dropLink() error {
	if h.link != nil {
		h.link.Close() // what holds it is the pin
		h.link = nil
	}
	old := h.pins.link(h.pin)
	if old == nil {
		return nil
	}
	if err := errors.Join(old.Detach(), old.Unpin(), old.Close()); err != nil {
		return fmt.Errorf("express: giving up the old link of %s: %w", h.device, err)
	}
	return nil
}

// on reports whether the link still holds a program at this hook.
func (h *hook) on(l link.Link) bool {
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return false
	}
	return int(info.TCX().Ifindex) == h.index && ebpf.AttachType(info.TCX().AttachType) == h.direction.tcx()
}

// ErrDetached is what Check says where a program isn't where packets pass any more, whoever took it away.
var ErrDetached = errors.New("express: somebody has detached the lane's program")

// check says whether the program still is there.
func (h *hook) check() error {
	if h.link != nil {
		if !h.on(h.link) {
			return fmt.Errorf("%w: %s of %s (bpftool link detach?)", ErrDetached, h.direction, h.device)
		}
		return nil
	}
	info, err := h.program.Info()
	if err != nil {
		return fmt.Errorf("express: asking for the program of %s: %w", h.device, err)
	}
	id, _ := info.ID()
	filter, err := h.filter()
	if err != nil {
		return err
	}
	if filter == nil || filter.Id != int(id) {
		return fmt.Errorf("%w: %s of %s (tc filter del, tc qdisc del?)", ErrDetached, h.direction, h.device)
	}
	return nil
}

// close gives the hook up; with detach the program goes.
func (h *hook) close(detach bool) error {
	if h.link == nil {
		if detach {
			return h.detachFilter()
		}
		return nil
	}
	var err error
	if detach {
		err = errors.Join(h.link.Unpin(), h.link.Detach())
		if errors.Is(err, ebpf.ErrNotSupported) {
			err = nil
		}
	}
	return errors.Join(err, h.link.Close())
}
