/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP flows that are better off in userspace. Where the underlay device cuts superpackets in software, every inner
 * packet of theirs climbs the peer's stack alone: nothing in its kernel merges what came out of a tunnel
 * without a tunnel device. The forwarders send long runs of datagrams instead, which the peer's socket gets
 * merged, and hand superpackets to the TUN: nearly twice the throughput on the same processors.
 *
 * A flow goes one way at a time: its small packets would overtake its superpackets otherwise. So it stays in
 * userspace for a while after the last one. Flows that send none, as questions and answers do, never leave the lane.
 */
#pragma once
#include "counters.h"
#include "route.h"

enum {
	/* Flows that share a slot share their way, which costs nothing but speed. */
	BULK_SLOTS = 4096,
	BULK_SHIFT = 32 - 12,
	/* Longer than packets lie in any queue of the forwarder's: 100 ms to a second, as the kernel's ticks are. */
	BULK_TICKS = 100,
};

/* When each flow was last seen to be bulk, in ticks: outward by a superpacket, inward by a train of packets. */
struct {
	number(type, BPF_MAP_TYPE_ARRAY);
	number(max_entries, BULK_SLOTS);
	shape(key, __u32);
	shape(value, __u32);
} bulk SEC(".maps");

inlined __u32 *bulk_slot(struct inner *p)
{
	__u32 slot = ((p->src[3] * 31 + p->dst[3]) ^ p->ports) * 0x9e3779b1 >> BULK_SHIFT;

	return bpf_map_lookup_elem(&bulk, &slot);
}

inlined void mark_bulk(struct inner *p)
{
	__u32 *last = p->protocol == IPPROTO_TCP ? bulk_slot(p) : 0;

	if (last)
		*last = bpf_jiffies64();
}

inlined int is_bulk(struct inner *p)
{
	__u32 *last = p->protocol == IPPROTO_TCP ? bulk_slot(p) : 0;

	/* 0 is a flow that never was: in the first minutes after a boot the difference alone wouldn't say so. */
	return last && *last && (__u32)bpf_jiffies64() - *last < BULK_TICKS;
}

/* Lanes send from here up, 61440. A kernel's tunnels send from net.ipv4.ip_local_port_range, which ends at 60999. */
enum { LANE_PORTS = 0xf000 };

/*
 * note_sender notes by a source port in host order whether a forwarder or a lane is at the other end: a forwarder's socket
 * sends from the port it receives at. Leases don't tell which of them a host uses today, and it may change at any time.
 */
inlined void note_sender(struct hop *h, __u16 port)
{
	__u32 from_forwarder = port == ntohs(h->port) || port >= LANE_PORTS;

	/* Written only where it changes, so that processors don't fight over the cache line. */
	if (h->from_forwarder != from_forwarder)
		h->from_forwarder = from_forwarder;
}

/*
 * by_forwarder: what is sent to the hop comes to a forwarder or a lane, and so better in runs. Where a kernel's device, which
 * merges, may be at the other end, only what it sends counts.
 */
inlined int by_forwarder(struct hop *h)
{
	return h->encap == ENCAP_VXLAN ? h->from_forwarder : h->forwarder;
}

/* better_merged: the packet is of a flow that the forwarders at both ends carry faster than the lane. */
inlined int better_merged(struct __sk_buff *skb, struct hop *h, struct inner *p)
{
	struct beside *b = beside();

	if (!by_forwarder(h) || !b || !*(volatile __u32 *)&b->cuts)
		return 0;
	if (skb->gso_size)
		mark_bulk(p);
	return is_bulk(p);
}
