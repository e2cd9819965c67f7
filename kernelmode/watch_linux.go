package kernelmode

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch implements Kernel.
func (k *Netlink) Watch(ctx context.Context, yield func(Event)) error {
	var socket *nl.NetlinkSocket
	err := k.within(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
			unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribing to kernel events: %w", err)
	}
	stop := context.AfterFunc(ctx, socket.Close) // unblocks Receive
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	names := map[int]string{}
	for resync := true; ; {
		if resync {
			if err := k.names(names); err != nil {
				return err
			}
			yield(Event{Kind: EventResync})
		}
		messages, _, err := socket.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		resync = errors.Is(err, syscall.ENOBUFS) // the kernel dropped events, and goes on
		if err != nil && !resync && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("receiving kernel events: %w", err)
		}
		for _, m := range messages {
			if e, ok := parseEvent(m.Header.Type, m.Data, names); ok {
				yield(e)
			}
		}
	}
}

// names fills in which device has which index.
func (k *Netlink) names(into map[int]string) error {
	links, err := k.handle.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // events correct what was missed
		return fmt.Errorf("listing devices: %w", err)
	}
	for _, l := range links {
		into[l.Attrs().Index] = l.Attrs().Name
	}
	return nil
}
