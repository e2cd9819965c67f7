package express

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filterPriority is late, so that a shaper's or a firewall's filters see the packets first.
const filterPriority = 0xbf00

// filterName and filterHandle tell the filters of one lane from others' and from other lanes', of which one underlay
// may have several: agents that share it have a TUN device each.
func (h *hook) filterName() string { return "weft-express-" + h.lane }

func (h *hook) filterHandle() uint32 {
	sum := fnv.New32a()
	sum.Write([]byte(h.filterName())) // never fails, see hash.Hash
	return sum.Sum32() | 1            // 0 lets the kernel choose
}

// attachFilter puts the program into the device's clsact, which is made where there is none. One of an earlier
// agent is replaced in one step.
func (h *hook) attachFilter() error {
	if err := addClsact(h.device, h.index); err != nil {
		return err
	}
	if err := netlink.FilterReplace(h.bpfFilter()); err != nil {
		return refused(fmt.Sprintf("adding a filter to %s of %s", h.direction, h.device), err)
	}
	return nil
}

func addClsact(device string, index int) error {
	clsact := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	// Whoever was first, Cilium or a shaper, has made the same one; to replace it would take their filters away.
	if err := netlink.QdiscAdd(clsact); err != nil && !errors.Is(err, unix.EEXIST) {
		return refused(fmt.Sprintf("adding clsact to %s", device), err)
	}
	return nil
}

// Prepare makes what a lane needs on the underlay device, where it isn't there yet. The kernel stops a device for a
// moment while it gets a clsact (qdisc_graft), and whatever it was to send then is lost: the better before there is much.
func Prepare(underlay string) error {
	device, err := netlink.LinkByName(underlay)
	if err != nil {
		return fmt.Errorf("express: underlay %s: %w", underlay, err)
	}
	return addClsact(underlay, device.Attrs().Index)
}

// shared reports whether the device has a clsact already, or the older ingress in its place: somebody's filters may be there.
func (h *hook) shared() bool {
	all, err := netlink.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: h.index}})
	return err != nil || slices.ContainsFunc(all, func(q netlink.Qdisc) bool { return q.Type() == "clsact" || q.Type() == "ingress" })
}

// bpfFilter takes all protocols and lets the program's own answer be the verdict (direct action), without which a filter
// could only classify.
func (h *hook) bpfFilter() *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: h.index, Parent: h.direction.parent(), Handle: h.filterHandle(), Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: h.program.FD(), Name: h.filterName(), DirectAction: true,
	}
}

// filter returns the lane's filter on the hook; nil where there is none. That the device has no clsact, or isn't there
// any more, means the same.
func (h *hook) filter() (*netlink.BpfFilter, error) {
	device := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: h.index}}
	all, err := netlink.FilterList(device, h.direction.parent())
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("express: listing filters of %s: %w", h.device, err)
	}
	for _, f := range all {
		// The kernel allows several filters of one priority, and another agent's has the same.
		b, ok := f.(*netlink.BpfFilter)
		if ok && b.Handle == h.filterHandle() && b.Priority == filterPriority && b.Name == h.filterName() {
			return b, nil
		}
	}
	return nil, nil
}

// detachFilter removes the lane's filter where there is one. The clsact stays: others may use it by now, and an
// empty one costs nothing.
func (h *hook) detachFilter() error {
	filter, err := h.filter()
	if filter == nil || err != nil {
		return err
	}
	if err := netlink.FilterDel(filter); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("express: removing the filter from %s of %s: %w", h.direction, h.device, err)
	}
	return nil
}
