/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From an inner address to the hop that has it: routes.Table in the kernel. */
#pragma once
#include "packet.h"

/*
 * numbered returns a hop by its number; 0 for number 0. The number is read once: user space may change it in between, and
 * both the old and the new one lead to a whole hop.
 */
inlined struct hop *numbered(__u32 n)
{
	return n ? bpf_map_lookup_elem(&hops, &n) : 0;
}

/* longest_match asks the trie. It costs tens of nanoseconds where the index costs two or three. */
inlined struct match *longest_match(__u32 *address)
{
	struct prefix key = { .bits = 128 };

	__builtin_memcpy(key.address, address, 16);
	return bpf_map_lookup_elem(&prefixes, &key);
}

/* Hop number 0 is nobody's. Its place says what has to be looked at beside the index, for nearly everyone nothing. */
struct beside {
	__u32 prefixes4; /* the trie has IPv4 prefixes */
	__u32 recursive; /* some route covers a peer's outer address */
	__u32 cuts; /* the underlay device cuts superpackets in software */
	__u32 detour; /* the device that superpackets go round by, 0 for none */
};

/* beside's words are read as volatile: user space writes them through its own mapping at any time. */
inlined struct beside *beside(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&hops, &zero);
}

/* known: a peer has the outer address, IPv4 in the first word. */
inlined int known(__u32 *outer)
{
	return bpf_map_lookup_elem(&peers, outer) != 0;
}

/* known_destination: the inner destination is a peer's outer address: the packet would go round in circles. */
inlined int known_destination(struct inner *p)
{
	__u32 outer[4] = { p->dst[3] };

	if (p->v6)
		__builtin_memcpy(outer, p->dst, 16);
	return known(outer);
}

/*
 * recursive is known_destination where it can be so at all: a hash of every packet's destination would be the most
 * expensive thing here, and no network that is laid out well contains its own underlay.
 */
inlined int recursive(struct inner *p)
{
	struct beside *b = beside();

	return b && *(volatile __u32 *)&b->recursive && known_destination(p);
}

/* route: a prefix longer than the network's subnets wins over the index, and the index over a shorter one. */
inlined struct hop *route(struct inner *p, __u32 *address)
{
	struct match *m = 0;
	/* An address below the network wraps round to a slot beyond the last; a shift of 32 comes with no slots at all. */
	__u32 slot = (ntohl(address[3]) - set.network) >> (set.subnet_shift & 31);
	struct beside *b;
	__u32 *n;

	if (p->v6) {
		m = longest_match(address);
		return m ? numbered(m->hop) : 0;
	}
	b = beside();
	if (b && *(volatile __u32 *)&b->prefixes4)
		m = longest_match(address);
	if (m && m->bits > 96 + 32 - set.subnet_shift)
		return numbered(m->hop);
	if (slot < set.subnets) {
		n = bpf_map_lookup_elem(&by_subnet, &slot);
		if (n && *(volatile __u32 *)n)
			return numbered(*n);
	}
	return m ? numbered(m->hop) : 0;
}
