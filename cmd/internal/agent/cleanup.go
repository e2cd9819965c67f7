package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"weft/kernelmode"
)

// everywhere is every address of both families.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// Cleanup removes what agents have left in this network namespace and in the files that the options name: the
// express lane and its device, tunnel devices that were made here, routes that carry weft's label, subnet.env, and what is kept between
// two runs, but for an embedded etcd's data. It returns a line for each thing that is gone. While an agent
// runs nothing is touched, and the error says which one.
//
// What others may rely on by now stays: forwarding stays on, and so does the lease, which has its own
// command.
func Cleanup(o Options) (removed []string, err error) {
	var held claims
	defer held.release()
	if err := held.take("device " + o.TUNName); err != nil {
		return nil, err
	}
	kernel, err := kernelmode.Open()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	if removed, err = cleanLanes(kernelLanes{}, kernel, o); err != nil {
		return removed, err
	}
	more, err := cleanKernel(kernel, o)
	if removed = append(removed, more...); err != nil {
		return removed, err
	}
	for _, path := range []string{o.SubnetFile, keepsakePath(o.StateDir), o.Store.copyPath(o.StateDir)} {
		switch err := os.Remove(path); {
		case err == nil:
			removed = append(removed, "file "+path)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, fmt.Errorf("removing what an agent left: %w", err)
		}
	}
	return removed, nil
}

// cleanLanes removes express lanes, and the TUN devices that they lie on.
func cleanLanes(l lanes, k kernelmode.Kernel, o Options) (removed []string, err error) {
	kept, err := recallKeepsake(o.StateDir)
	if err != nil {
		return nil, err
	}
	var devices []string
	if kept.Lane.Device != "" {
		devices = append(devices, kept.Lane.Device)
	}
	if l.Left(o.TUNName) && kept.Lane.Device != o.TUNName {
		devices = append(devices, o.TUNName)
	}
	for _, device := range devices {
		before, err := k.Read(kernelmode.Scope{Devices: []string{device}})
		if err != nil {
			return removed, fmt.Errorf("looking for the express lane's device: %w", err)
		}
		pinned := l.Left(device)
		if err := l.Remove(device); err != nil {
			return removed, fmt.Errorf("removing the express lane: %w", err)
		}
		if pinned || len(before.Links) > 0 {
			removed = append(removed, "express lane on "+device)
		}
		if len(before.Links) > 0 {
			removed = append(removed, "device "+device)
		}
	}
	return removed, nil
}

// cleanKernel removes devices, and routes whoever's device they lead into.
func cleanKernel(k kernelmode.Kernel, o Options) (removed []string, err error) {
	kept, err := recallKeepsake(o.StateDir)
	if err != nil {
		return nil, err
	}
	nothing := kernelmode.Removal(everywhere, kept.Devices...)
	before, err := k.Read(kernelmode.ScopeOf(nothing))
	if err != nil {
		return nil, fmt.Errorf("looking for what an agent left: %w", err)
	}
	after, err := kernelmode.Apply(k, nothing)
	left := map[string]bool{}
	for _, object := range after.Objects() {
		left[object.String()] = true
	}
	for _, link := range before.Links {
		if !left[link.String()] {
			removed = append(removed, "device "+link.Name)
		}
	}
	for _, route := range before.Routes {
		if route.Protocol == kernelmode.RouteProtocol && !left[route.String()] {
			removed = append(removed, "route "+route.String())
		}
	}
	if err != nil {
		return removed, fmt.Errorf("removing what an agent left: %w", err)
	}
	return removed, nil
}
