package steer

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A Port is steered while it is open.
type Port struct {
	sockets *ebpf.Map
	program *ebpf.Program
	link    *link.NetNsLink
}

// Open has datagrams for a local UDP port, at whatever address of the namespace, come to the sockets given:
// descriptors of bound UDP sockets that aren't connected, one for each outer family; -1 for a family that
// is left alone. Datagrams that other sockets hold already stay there. Close ends it.
func Open(port uint16, v4, v6 int) (*Port, error) {
	p := &Port{}
	if err := p.open(port, v4, v6); err != nil {
		p.Close()
		return nil, fmt.Errorf("steering UDP port %d: %w", port, err)
	}
	return p, nil
}

func (p *Port) open(port uint16, v4, v6 int) (err error) {
	p.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "weft_steer", Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: families})
	if err != nil {
		return fmt.Errorf("making a map of sockets: %w", err)
	}
	for key, fd := range map[uint32]int{key4: v4, key6: v6} {
		if fd < 0 {
			continue
		}
		if err := p.sockets.Put(key, uint32(fd)); err != nil {
			return fmt.Errorf("putting a socket into the map: %w", err)
		}
	}
	p.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "weft_steer", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup,
		Instructions: instructions(port, p.sockets.FD()), License: "Dual MIT/GPL",
	})
	if err != nil {
		return fmt.Errorf("loading the program: %w", err)
	}
	// The thread's own namespace: an agent has one, and tests run in several.
	namespace, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return fmt.Errorf("opening the network namespace: %w", err)
	}
	defer namespace.Close()
	p.link, err = link.AttachNetNs(int(namespace.Fd()), p.program)
	if err != nil {
		return fmt.Errorf("attaching the program to the network namespace: %w", err)
	}
	return nil
}

// Close has datagrams come to whoever is bound to the port again. It may be called more than once, and on
// nil.
func (p *Port) Close() {
	if p == nil {
		return
	}
	if p.link != nil {
		_ = p.link.Close()
	}
	if p.program != nil {
		_ = p.program.Close()
	}
	if p.sockets != nil {
		_ = p.sockets.Close()
	}
	*p = Port{}
}
