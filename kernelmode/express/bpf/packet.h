/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading one inner packet. */
#pragma once
#include "maps.h"

/*
 * What the lane wants to know of an inner packet. Addresses as in struct prefix: one form for both families halves
 * the code that compares them, and the paths that the verifier walks.
 */
struct inner {
	__u32 src[4], dst[4];
	__u32 len; /* as its header says */
	__u32 ports; /* of TCP, as they lie in the packet */
	__u32 headers; /* bytes of IP and transport header */
	__u8 v6;
	__u8 protocol;
	__u8 icmp_type; /* of ICMPv6 */
};

#define MAPPED htonl(0xffff)

/*
 * room makes sure that the first bytes of the packet can be read; a packet from a NIC may have them elsewhere. It may move
 * the packet: pointers into it from before are worth nothing afterwards, for the verifier as for the kernel.
 */
inlined int room(struct __sk_buff *skb, __u32 bytes)
{
	if (skb->data_end - skb->data >= bytes)
		return 1;
	if (skb->len < bytes)
		return 0;
	return !bpf_skb_pull_data(skb, bytes);
}

/* LONGEST is the most that parse reads behind the first byte of an inner packet: IPv6 and TCP. */
enum { LONGEST = 60 };

/*
 * transport finds where the payload starts, which only superpackets need: their segments repeat the headers.
 * Other protocols count as having no header of their own.
 */
inlined int transport(void *at, void *end, struct inner *p)
{
	__u8 *b = at;

	if (p->protocol == IPPROTO_TCP) {
		if (at + 20 > end)
			return 0;
		p->headers += (b[12] >> 4) * 4;
		p->ports = *(__u32 *)at;
	} else if (p->protocol == IPPROTO_UDP) {
		p->headers += 8;
	} else if (p->protocol == IPPROTO_ICMPV6) {
		if (at + 4 > end)
			return 0;
		p->icmp_type = b[0];
	}
	return 1;
}

/*
 * parse reads a plain packet: no IPv4 options, no fragment, no IPv6 extension header. Whatever isn't plain is
 * rare, and the userspace forwarder knows what to do with it.
 */
inlined int parse(void *at, void *end, struct inner *p)
{
	struct iphdr *v4 = at;
	struct ipv6hdr *v6 = at;

	if (at + sizeof(*v4) > end)
		return 0;
	if (v4->version_ihl == 0x45) {
		/* MF and the offset, not DF. A later fragment has no ports, and all must go one way. */
		if (v4->frag_off & htons(0x3fff))
			return 0;
		p->v6 = 0;
		p->protocol = v4->protocol;
		p->len = ntohs(v4->tot_len);
		p->headers = sizeof(*v4);
		p->src[0] = p->src[1] = p->dst[0] = p->dst[1] = 0;
		p->src[2] = p->dst[2] = MAPPED;
		p->src[3] = v4->src;
		p->dst[3] = v4->dst;
		return transport(at + sizeof(*v4), end, p);
	}
	if (at + sizeof(*v6) > end || v4->version_ihl >> 4 != 6)
		return 0;
	p->v6 = 1;
	p->protocol = v6->nexthdr;
	/* Anything else may be an extension header, and a chain of those is what a program shouldn't walk. */
	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_ICMPV6)
		return 0;
	p->len = sizeof(*v6) + ntohs(v6->payload_len);
	p->headers = sizeof(*v6);
	__builtin_memcpy(p->src, v6->src, 16);
	__builtin_memcpy(p->dst, v6->dst, 16);
	return transport(at + sizeof(*v6), end, p);
}

/*
 * segment is the bytes of the largest packet that p becomes on the wire. A superpacket may be many times the MTU,
 * and each piece of it still fits: only the pieces are compared with MTUs.
 */
inlined __u32 segment(struct __sk_buff *skb, struct inner *p)
{
	__u32 size = skb->gso_size;

	if (!size || p->headers + size > p->len)
		return p->len;
	return p->headers + size;
}

/* martian: no single host can have the address (forwarder's Martian: RFC 1812 5.3.7, RFC 4291). */
inlined int martian(struct inner *p, __u32 *address)
{
	if (!p->v6) {
		__u32 top = ntohl(address[3]) >> 24;

		return top == 0 || top == 127 || top >= 224;
	}
	/* ff00::/8 is multicast; 96 zeros begin ::, ::1 and addresses that stand for IPv4's, as MAPPED does. */
	if ((address[0] & htonl(0xff000000)) == htonl(0xff000000))
		return 1;
	return !address[0] && !address[1] && (!address[2] || address[2] == MAPPED);
}

/* own: the address is in this host's own subnet. */
inlined int own(struct inner *p, __u32 *address)
{
	if (!p->v6)
		return (address[3] & set.own4_mask) == set.own4;
	return (address[0] & set.own6_mask[0]) == set.own6[0] &&
	       (address[1] & set.own6_mask[1]) == set.own6[1] &&
	       (address[2] & set.own6_mask[2]) == set.own6[2] &&
	       (address[3] & set.own6_mask[3]) == set.own6[3];
}
