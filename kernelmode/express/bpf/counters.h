/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counting: one struct on each processor, so that no packet waits for another's. Programs of traffic control run with
 * softirqs off, one after the other on each processor, so plain additions lose nothing.
 */
#pragma once
#include "maps.h"

/*
 * Why a packet was dropped here: names are forwarder.Reason's, see counters.go. The struct below outlives an agent by
 * its pin, and the next version goes on with it where the size is the same: so never put two in each other's place.
 */
enum reason {
	MALFORMED,
	MARTIAN,
	RECURSION,
	BAD_VNI,
	BAD_MAC,
	SPOOFED_SOURCE,
	NOT_LOCAL,
	REASONS,
};

/* Why a packet was left to the userspace forwarder, which carries it or says why not. */
enum cause {
	OUT_NOT_PLAIN, /* options, fragments, extension headers, lengths that don't agree */
	OUT_NO_HOP,
	OUT_TOO_BIG,
	OUT_NO_NEIGHBOUR,
	OUT_NO_PATH, /* the kernel has no route to the peer out of the underlay device */
	OUT_NO_FORMAT, /* the hop's format can't be made here */
	OUT_BULK, /* of a flow that userspace carries faster: see bulk.h */
	OUT_REFUSED, /* the kernel wouldn't make room: encapsulated already, or no memory */
	IN_NOT_PLAIN,
	IN_UNKNOWN_PEER,
	IN_TRAIN, /* several packets in one superpacket */
	IN_BULK, /* behind trains of the same flow, which it mustn't overtake */
	IN_CONTROL, /* GUE, RCO, ARP, neighbour discovery, frames to many */
	IN_TOO_BIG,
	IN_REFUSED,
	CAUSES,
};

/* 64 bits: at 100 Gb/s 32 would wrap in a third of a second. */
struct tally {
	__u64 out_packets, out_bytes; /* inner packets and superpackets, without any encapsulation */
	__u64 in_packets, in_bytes;
	__u64 detours; /* of in_packets: superpackets that came back from the detour device */
	__u64 trials; /* of the detour, that came back */
	__u64 drops[REASONS];
	__u64 passed[CAUSES];
};

struct {
	number(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	number(max_entries, 1);
	shape(key, __u32);
	shape(value, struct tally);
} counts SEC(".maps");

/* own_tally is never 0 for key 0, but the verifier wants it asked. */
inlined struct tally *own_tally(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/* pass leaves the packet as it is to whoever comes next. */
inlined int pass(enum cause why)
{
	struct tally *t = own_tally();

	if (t)
		t->passed[why]++;
	return TC_ACT_UNSPEC;
}

/* drop ends a packet that a peer had no right to send. */
inlined int drop(enum reason why)
{
	struct tally *t = own_tally();

	if (t)
		t->drops[why]++;
	return TC_ACT_SHOT;
}
