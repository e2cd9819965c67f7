/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors that say a path is too narrow. The kernel hands such an error to the socket with the packet's source
 * port, and the lane's packets have none: nobody would ever hear of it. So the hop is marked, larger
 * packets go to the forwarder, and the error that its own packets cause reaches its socket, the kernel's
 * routes and the inner sender. The error itself goes on to the kernel in any case.
 */
#pragma once
#include "egress.h"

/* A forger can't do worse than make packets take the slower way for so long. */
enum { BELIEVED_SECONDS = 60, LEAST_MTU4 = 576, LEAST_MTU6 = 1280 };

struct icmphdr {
	__u8 type, code;
	__u16 check;
	__u32 rest; /* the MTU: in ICMP its lower half (RFC 1191), in ICMPv6 all of it (RFC 8201) */
};

enum { ICMP_UNREACHABLE = 3, ICMP_FRAG_NEEDED = 4, ICMPV6_TOO_BIG = 2 };

/* note marks the hop of a packet that didn't get through: data is what an error quotes behind the outer IP header. */
inlined void note(void *data, void *end, __u32 *outer, int v6, __u32 mtu)
{
	struct inner p = {};
	struct udphdr *udp = data;
	struct hop *h;

	if (data + sizeof(*udp) > end)
		return;
	data += sizeof(*udp);
	if (set.vxlan_port && udp->dest == set.vxlan_port)
		data += VXLAN;
	else if (!set.udp_port || udp->dest != set.udp_port)
		return;
	if (!parse(data, end, &p))
		return;
	h = route(&p, p.dst);
	if (!h || h->v6 != v6 || h->port != udp->dest || h->outer[0] != outer[0] || h->outer[1] != outer[1] ||
	    h->outer[2] != outer[2] || h->outer[3] != outer[3])
		return;
	h->narrow = mtu - overhead(h);
	h->until = seconds() + BELIEVED_SECONDS;
}

/* read_icmp4 believes only what quotes a packet from this host's own address: others' errors are none of its business. */
inlined void read_icmp4(void *at, void *end)
{
	struct iphdr *ip = at, *quoted;
	struct icmphdr *icmp = at + sizeof(*ip);
	__u32 outer[4] = {}, mtu;

	quoted = (void *)(icmp + 1);
	if ((void *)(quoted + 1) > end || ip->version_ihl != 0x45 || ip->protocol != IPPROTO_ICMP)
		return;
	mtu = ntohl(icmp->rest) & 0xffff;
	if (icmp->type != ICMP_UNREACHABLE || icmp->code != ICMP_FRAG_NEEDED || mtu < LEAST_MTU4)
		return;
	if (quoted->version_ihl != 0x45 || quoted->src != set.outer4 || quoted->protocol != IPPROTO_UDP)
		return;
	outer[0] = quoted->dst;
	note(quoted + 1, end, outer, 0, mtu);
}

/* read_icmp6: the field has all 32 bits, and an MTU that no packet could have is a lie. */
inlined void read_icmp6(void *at, void *end)
{
	struct ipv6hdr *ip = at, *quoted;
	struct icmphdr *icmp = at + sizeof(*ip);
	__u32 mtu;

	quoted = (void *)(icmp + 1);
	if ((void *)(quoted + 1) > end || ip->nexthdr != IPPROTO_ICMPV6)
		return;
	mtu = ntohl(icmp->rest);
	if (icmp->type != ICMPV6_TOO_BIG || mtu < LEAST_MTU6 || mtu > 0xffff || quoted->nexthdr != IPPROTO_UDP)
		return;
	note(quoted + 1, end, quoted->dst, 1, mtu);
}

/* learn reads a packet from the underlay that isn't the fabric's. */
inlined void learn(struct __sk_buff *skb)
{
	enum { QUOTED = ETH_HLEN + 2 * sizeof(struct ipv6hdr) + sizeof(struct icmphdr) + sizeof(struct udphdr) + VXLAN + LONGEST };
	void *at, *end;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return;
	room(skb, skb->len < QUOTED ? skb->len : QUOTED);
	at = (void *)(long)skb->data + ETH_HLEN;
	end = (void *)(long)skb->data_end;
	if (skb->protocol == htons(ETH_P_IP))
		read_icmp4(at, end);
	else if (skb->protocol == htons(ETH_P_IPV6))
		read_icmp6(at, end);
}
