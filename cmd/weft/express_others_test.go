package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// others are programs of somebody else on the underlay device of a host: one in clsact each way, as Cilium's before
// kernel 6.6, and one on a tcx link each way, as Cilium's since. Each counts bytes and lets the packet go on.
type others struct {
	counters map[string]*ebpf.Map
	links    map[string]link.Link
}

// Places of others' programs, and the priority of filters: before the lane's own.
const otherPriority = 3

func newOthers(t *testing.T, host *netlab.Host) *others {
	t.Helper()
	o := &others{counters: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	t.Cleanup(func() {
		for _, l := range o.links {
			_ = l.Close()
		}
		for _, m := range o.counters {
			_ = m.Close()
		}
	})
	err := host.Do(func() error {
		device, err := netlink.LinkByName(host.Device())
		if err != nil {
			return err
		}
		index := device.Attrs().Index
		if err := netlink.QdiscAdd(&netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
			QdiscType:  "clsact",
		}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding clsact: %w", err)
		}
		for name, parent := range map[string]uint32{"filter in": netlink.HANDLE_MIN_INGRESS, "filter out": netlink.HANDLE_MIN_EGRESS} {
			program, err := o.program(name, goOn)
			if err != nil {
				return err
			}
			if err := netlink.FilterAdd(otherFilter(index, parent, program)); err != nil {
				return fmt.Errorf("adding %s: %w", name, err)
			}
		}
		for name, attach := range map[string]ebpf.AttachType{"link in": ebpf.AttachTCXIngress, "link out": ebpf.AttachTCXEgress} {
			program, err := o.program(name, goOn)
			if err != nil {
				return err
			}
			options := link.TCXOptions{Interface: index, Program: program, Attach: attach, Anchor: link.Head()}
			if o.links[name], err = link.AttachTCX(options); err != nil {
				return fmt.Errorf("attaching %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func otherFilter(index int, parent uint32, program *ebpf.Program) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Priority: otherPriority, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "others", DirectAction: true,
	}
}

// endWalk puts a program in front of all others on a host's ingress that lets packets pass and asks nobody else.
func (o *others) endWalk(host *netlab.Host) (undo func() error, err error) {
	err = host.Do(func() error {
		device, err := netlink.LinkByName(host.Device())
		if err != nil {
			return err
		}
		const name = "end of the walk"
		program, err := o.program(name, pass)
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: device.Attrs().Index, Program: program, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err == nil {
			undo = func() error {
				counter := o.counters[name]
				delete(o.counters, name)
				return errors.Join(l.Detach(), l.Close(), counter.Close())
			}
		}
		return err
	})
	return undo, err
}

// Verdicts (include/uapi/linux/bpf.h, enum tcx_action_base; those of filters are the same).
const (
	goOn = -1 // TCX_NEXT: the next program decides
	pass = 0  // TCX_PASS: up the stack, whatever others would say
)

// program makes one that adds each packet's length to a counter of its own.
func (o *others) program(name string, verdict int32) (*ebpf.Program, error) {
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("making the counter of %s: %w", name, err)
	}
	o.counters[name] = counter
	const skbLen = 0 // struct __sk_buff, len
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "others", Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, skbLen, asm.Word),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreXAdd(asm.R0, asm.R6, asm.DWord),
		asm.Mov.Imm(asm.R0, verdict).WithSymbol("out"),
		asm.Return(),
	}})
}

// counts are the bytes that each program has seen.
func (o *others) counts(t *testing.T) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	for name, counter := range o.counters {
		var n uint64
		if err := counter.Lookup(uint32(0), &n); err != nil {
			t.Fatal(err)
		}
		all[name] = n
	}
	return all
}

// there says which of the programs isn't where it was put.
func (o *others) there(host *netlab.Host) error {
	return host.Do(func() error {
		device, err := netlink.LinkByName(host.Device())
		if err != nil {
			return err
		}
		for name, parent := range map[string]uint32{"filter in": netlink.HANDLE_MIN_INGRESS, "filter out": netlink.HANDLE_MIN_EGRESS} {
			filters, err := netlink.FilterList(device, parent)
			if err != nil {
				return err
			}
			found := false
			for _, f := range filters {
				found = found || f.Attrs().Priority == otherPriority
			}
			if !found {
				return fmt.Errorf("%s %w", name, errGone)
			}
		}
		for name, l := range o.links {
			if info, err := l.Info(); err != nil || info.TCX() == nil || int(info.TCX().Ifindex) != device.Attrs().Index {
				return fmt.Errorf("%s %w: %v", name, errGone, err)
			}
		}
		return nil
	})
}
