/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From the TUN device to the wire. Here nothing is refused: what doesn't go this way goes on to the TUN's
 * queue, where the userspace forwarder carries it, answers it or counts why not.
 */
#pragma once
#include "bulk.h"

struct vxlanhdr {
	__u32 flags, vni;
};

#define VXLAN_VNI_FLAG htonl(1 << 27)

enum {
	UDP4 = sizeof(struct iphdr) + sizeof(struct udphdr),
	UDP6 = sizeof(struct ipv6hdr) + sizeof(struct udphdr),
	VXLAN = sizeof(struct vxlanhdr) + ETH_HLEN,
};

/*
 * Outer packets are never fragmented: identifications wrap within a second at such rates, and pieces of different packets
 * would be put together (RFC 4963). TTL is every kernel's default.
 */
enum { DONT_FRAGMENT = 0x4000, TTL = 64 };

/* overhead is what goes in front of the inner packet, the outer Ethernet header apart. */
inlined __u32 overhead(struct hop *h)
{
	if (h->encap == ENCAP_IPIP)
		return sizeof(struct iphdr);
	return (h->v6 ? UDP6 : UDP4) + (h->encap == ENCAP_VXLAN ? VXLAN : 0);
}

/*
 * layout tells the kernel what the new room holds, so that a superpacket can still be cut where it has to be.
 * The segments' size stays: their sender has left room for the headers, by the TUN's MTU.
 */
inlined __u64 layout(struct hop *h)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	flags |= h->v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	if (h->encap != ENCAP_IPIP)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	if (h->encap == ENCAP_VXLAN)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN);
	if (h->encap == ENCAP_VXLAN && set.frame_inside)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	return flags;
}

/* own_outer6 and own_mac copy by element: as a block, the compiler would copy the zeros that stand in the source. */
inlined void own_outer6(__u32 *to)
{
	for (int i = 0; i < 4; i++)
		to[i] = set.outer6[i];
}

inlined void own_mac(__u8 *to, int v6)
{
	for (int i = 0; i < 6; i++)
		to[i] = v6 ? set.mac6[i] : set.mac4[i];
}

/*
 * sendable: this host has an address of the hop's family, and makes its format. What isn't the lane's to make is no error:
 * the forwarder has a socket for it.
 */
inlined int sendable(struct hop *h, struct inner *p)
{
	if (h->v6)
		return h->encap != ENCAP_IPIP && h->zero_sums && set.outer6[0];
	if (h->encap == ENCAP_IPIP)
		return set.ipip && !p->v6;
	return set.outer4 != 0;
}

/*
 * find_path asks the kernel's routing for the way to the hop. It knows the underlay's path MTU, gateways
 * and neighbours; what it can't answer at once, a socket's packet makes it find out.
 */
inlined int find_path(struct __sk_buff *skb, struct hop *h, __u32 largest, struct bpf_fib_lookup *path)
{
	path->family = h->v6 ? AF_INET6 : AF_INET;
	path->l4_protocol = h->encap == ENCAP_IPIP ? IPPROTO_IPIP : IPPROTO_UDP;
	path->dport = h->port;
	path->tot_len = overhead(h) + largest;
	path->ifindex = set.underlay;
	path->src[0] = set.outer4;
	if (h->v6)
		own_outer6(path->src);
	__builtin_memcpy(path->dst, h->outer, 16);
	return bpf_fib_lookup(skb, path, sizeof(*path), BPF_FIB_LOOKUP_OUTPUT);
}

/* pathless counts apart what tells an operator different things: an MTU, a silent neighbour, a missing route. */
inlined int pathless(int why)
{
	if (why == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return pass(OUT_TOO_BIG);
	if (why == BPF_FIB_LKUP_RET_NO_NEIGH)
		return pass(OUT_NO_NEIGHBOUR);
	return pass(OUT_NO_PATH);
}

/* header_sum is the checksum of an IPv4 header without options whose own field is 0 (RFC 1071). */
inlined __u16 header_sum(struct iphdr *ip)
{
	__u16 *w = (__u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * put_ip4 leaves the identification 0: with DF set nobody looks at it (RFC 6864), and the kernel counts it up by itself
 * for the pieces of a superpacket.
 */
inlined void put_ip4(struct iphdr *ip, struct hop *h, __u32 len)
{
	*ip = (struct iphdr){
		.version_ihl = 0x45, .tot_len = htons(len), .frag_off = htons(DONT_FRAGMENT), .ttl = TTL,
		.protocol = h->encap == ENCAP_IPIP ? IPPROTO_IPIP : IPPROTO_UDP,
		.src = set.outer4, .dst = h->outer[0],
	};
	ip->check = header_sum(ip);
}

inlined void put_ip6(struct ipv6hdr *ip, struct hop *h, __u32 len)
{
	*ip = (struct ipv6hdr){
		.version_flow = htonl(6 << 28), .payload_len = htons(len - sizeof(*ip)), .nexthdr = IPPROTO_UDP, .hop_limit = TTL,
	};
	own_outer6(ip->src);
	__builtin_memcpy(ip->dst, h->outer, 16);
}

/*
 * source_port is the same for every packet of a flow and well spread over flows, among the ports from LANE_PORTS up:
 * RFC 7348 and RFC 6335 leave those to anybody, and by default no kernel's tunnel uses them, so they tell who sends.
 */
inlined __u16 source_port(__u32 hash)
{
	hash ^= hash >> 16;
	return htons(LANE_PORTS | (hash & ~LANE_PORTS & 0xffff));
}

/* put_udp leaves the checksum out: the kernel can't fill it in for segments, and the inner one protects them. */
inlined void put_udp(struct udphdr *udp, struct hop *h, __u32 hash, __u32 len)
{
	*udp = (struct udphdr){ .source = source_port(hash), .dest = h->port, .len = htons(len) };
}

/* put_vxlan is the plainest frame there is, so that any VTEP takes it: RFC 7348, one flag, no extension. */
inlined void put_vxlan(void *at, struct hop *h, struct inner *p)
{
	struct vxlanhdr *v = at;
	struct ethhdr *e = at + sizeof(*v);

	v->flags = VXLAN_VNI_FLAG;
	v->vni = h->vni;
	__builtin_memcpy(e->dst, h->mac, 6);
	own_mac(e->src, h->v6);
	e->type = p->v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
}

/*
 * put writes all outer headers into the room in front of the packet; 0 where the room isn't there. Each check is
 * for the headers alone, since the smallest packet has little behind them.
 */
inlined int put(struct __sk_buff *skb, struct hop *h, struct inner *p, struct bpf_fib_lookup *path, __u32 hash)
{
	void *at = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 len = overhead(h) + p->len;
	struct ethhdr *e = at;

	if (at + ETH_HLEN + UDP4 > end)
		return 0;
	__builtin_memcpy(e->dst, path->dmac, 6);
	__builtin_memcpy(e->src, path->smac, 6);
	at += ETH_HLEN;
	if (h->v6) {
		if (at + UDP6 > end)
			return 0;
		e->type = htons(ETH_P_IPV6);
		put_ip6(at, h, len);
		at += sizeof(struct ipv6hdr);
		len -= sizeof(struct ipv6hdr);
	} else {
		e->type = htons(ETH_P_IP);
		put_ip4(at, h, len);
		at += sizeof(struct iphdr);
		len -= sizeof(struct iphdr);
	}
	if (h->encap == ENCAP_IPIP)
		return 1;
	put_udp(at, h, hash, len);
	at += sizeof(struct udphdr);
	if (h->encap != ENCAP_VXLAN)
		return 1;
	if (at + VXLAN > end)
		return 0;
	put_vxlan(at, h, p);
	return 1;
}

/*
 * send puts the outer headers in front and gives the packet to the underlay device. The kernel makes room between the link
 * layer and the network layer, and a TUN's packets have no link layer: so its header is made room for last.
 */
inlined int send(struct __sk_buff *skb, struct hop *h, struct inner *p, struct bpf_fib_lookup *path)
{
	__u32 hash = bpf_get_hash_recalc(skb); /* of the inner flow: from here on its headers are not the first */
	struct tally *t = own_tally();

	if (bpf_skb_adjust_room(skb, overhead(h), BPF_ADJ_ROOM_MAC, layout(h)))
		return pass(OUT_REFUSED);
	/* Past this point the packet isn't the one any more that the forwarder could take. */
	if (bpf_skb_change_head(skb, ETH_HLEN, 0) || !put(skb, h, p, path, hash))
		return TC_ACT_SHOT;
	if (t) {
		t->out_packets++;
		t->out_bytes += p->len;
	}
	return bpf_redirect(set.underlay, 0);
}

/* seconds since boot fit 32 bits for 136 years, and a hop's note is written in one piece. */
inlined __u32 seconds(void)
{
	return bpf_ktime_get_ns() / 1000000000;
}

/* narrowed: a router has said, not long ago, that so large a packet doesn't get to the hop (see path_mtu.h). */
inlined int narrowed(struct hop *h, __u32 largest)
{
	return h->narrow && largest > h->narrow && seconds() < h->until;
}

/*
 * egress decides everything before it touches the packet: whatever is passed on must reach the forwarder as it came. The
 * cheap questions come first, and the kernel's routes last.
 */
SEC("tc") int egress(struct __sk_buff *skb)
{
	struct bpf_fib_lookup path = {};
	struct inner p = {};
	struct hop *h;
	__u32 largest;
	int rc;

	room(skb, LONGEST);
	if (!parse((void *)(long)skb->data, (void *)(long)skb->data_end, &p) || p.len != skb->len)
		return pass(OUT_NOT_PLAIN);
	h = route(&p, p.dst);
	if (!h || martian(&p, p.src) || martian(&p, p.dst) || recursive(&p))
		return pass(OUT_NO_HOP);
	if (!sendable(h, &p))
		return pass(OUT_NO_FORMAT);
	if (better_merged(skb, h, &p))
		return pass(OUT_BULK);
	largest = segment(skb, &p);
	if ((h->mtu && largest > h->mtu) || narrowed(h, largest) || overhead(h) + p.len > 0xffff)
		return pass(OUT_TOO_BIG);
	rc = find_path(skb, h, largest, &path);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS || path.ifindex != set.underlay)
		return pathless(rc);
	return send(skb, h, &p, &path);
}
