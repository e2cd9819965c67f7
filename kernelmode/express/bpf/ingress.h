/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From the wire to the TUN device. Whoever is no peer, and whatever isn't plainly a packet of the fabric, is
 * left to the kernel and so to the forwarder's sockets; what a peer sends against the rules is dropped.
 */
#pragma once
#include "detour.h"
#include "path_mtu.h"

/* What the outer headers say. */
struct outer {
	__u32 src[4]; /* IPv4 in the first word */
	__u32 len; /* bytes of all headers in front of the inner packet, the outer Ethernet header apart */
	__u32 total; /* bytes of the outer packet */
	__u16 port; /* UDP's source, host order */
	__u8 v6;
	__u8 encap;
	__u8 icmp; /* not the fabric's, but maybe about it */
};

/* read_transport decides by protocol and port whether the packet is the fabric's. */
inlined int read_transport(void *at, void *end, __u8 protocol, struct outer *o)
{
	struct udphdr *udp = at;

	if (protocol == IPPROTO_IPIP && set.ipip && !o->v6) {
		o->encap = ENCAP_IPIP;
		return 1;
	}
	o->icmp = protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
	if (protocol != IPPROTO_UDP || at + sizeof(*udp) > end)
		return 0;
	o->len += sizeof(*udp);
	o->port = ntohs(udp->source);
	if (set.udp_port && udp->dest == set.udp_port) {
		o->encap = ENCAP_UDP;
		return 1;
	}
	o->encap = ENCAP_VXLAN;
	return set.vxlan_port && udp->dest == set.vxlan_port;
}

/* read_ip4 takes no fragments: the kernel puts them together for the forwarder's socket. */
inlined int read_ip4(void *at, void *end, struct outer *o)
{
	struct iphdr *ip = at;

	if (at + sizeof(*ip) > end || ip->version_ihl != 0x45 || ip->frag_off & htons(0x3fff))
		return 0;
	if (!set.outer4 || ip->dst != set.outer4)
		return 0;
	o->src[0] = ip->src;
	o->len = sizeof(*ip);
	o->total = ntohs(ip->tot_len);
	return read_transport(at + sizeof(*ip), end, ip->protocol, o);
}

inlined int read_ip6(void *at, void *end, struct outer *o)
{
	struct ipv6hdr *ip = at;

	if (at + sizeof(*ip) > end || !set.outer6[0])
		return 0;
	for (int i = 0; i < 4; i++)
		if (ip->dst[i] != set.outer6[i])
			return 0;
	__builtin_memcpy(o->src, ip->src, 16);
	o->v6 = 1;
	o->len = sizeof(*ip);
	o->total = sizeof(*ip) + ntohs(ip->payload_len);
	return read_transport(at + sizeof(*ip), end, ip->nexthdr, o);
}

/*
 * read_outer: 0 for everything that isn't addressed to the fabric on this host. A frame for another MAC comes by where a
 * switch floods or the device is promiscuous; a VLAN's tag, which the NIC has put aside, makes it another device's.
 */
inlined int read_outer(struct __sk_buff *skb, struct outer *o)
{
	void *at = (void *)(long)skb->data + ETH_HLEN, *end = (void *)(long)skb->data_end;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return 0;
	if (skb->protocol == htons(ETH_P_IP))
		return read_ip4(at, end, o);
	if (skb->protocol == htons(ETH_P_IPV6))
		return read_ip6(at, end, o);
	return 0;
}

/* What frame finds, beside the reasons to drop. */
enum { FRAME_GOOD = REASONS, FRAME_CONTROL };

/*
 * frame checks the VXLAN and the inner Ethernet header. Only the plainest frame is taken; group policies,
 * remote checksums, questions for MACs and what can't be right are the forwarder's to read closely.
 */
inlined int frame(void *at, void *end, struct outer *o)
{
	struct vxlanhdr *v = at;
	struct ethhdr *e = at + sizeof(*v);
	int ours = 1;

	if (at + VXLAN > end || v->flags != VXLAN_VNI_FLAG || v->vni & htonl(0xff))
		return FRAME_CONTROL;
	if (v->vni != set.vni)
		return BAD_VNI;
	if (e->dst[0] & 1 || e->src[0] & 1 || (e->type != htons(ETH_P_IP) && e->type != htons(ETH_P_IPV6)))
		return FRAME_CONTROL;
	for (int i = 0; i < 6; i++)
		ours &= e->dst[i] == (o->v6 ? set.mac6[i] : set.mac4[i]);
	if (!ours)
		return BAD_MAC;
	o->len += VXLAN;
	return FRAME_GOOD;
}

/*
 * neighbour_discovery, ICMPv6 types 133 to 137 (RFC 4861), asks for a MAC or tells one. Only VXLAN has those, and its
 * forwarder answers.
 */
inlined int neighbour_discovery(struct outer *o, struct inner *p)
{
	return o->encap == ENCAP_VXLAN && p->v6 && p->protocol == IPPROTO_ICMPV6 && p->icmp_type >= 133 && p->icmp_type <= 137;
}

/* from_hop: the outer source is the hop's address. */
inlined int from_hop(struct hop *h, struct outer *o)
{
	return h->v6 == o->v6 && h->outer[0] == o->src[0] && h->outer[1] == o->src[1] && h->outer[2] == o->src[2] &&
	       h->outer[3] == o->src[3];
}

/*
 * admit is forwarder.admit: the source must be the sender's, the destination this host's. It asks in the forwarder's order,
 * so that a packet that is wrong in two ways is counted under the same name wherever it is read.
 */
inlined int admit(struct outer *o, struct inner *p)
{
	struct hop *h = route(p, p->src);
	int local = own(p, p->dst);

	if (own(p, p->src) || martian(p, p->src) || martian(p, p->dst))
		return MARTIAN;
	if (!h || !from_hop(h, o))
		return SPOOFED_SOURCE;
	if (recursive(p) || (!local && known_destination(p)))
		return RECURSION;
	note_sender(h, o->port);
	return local ? FRAME_GOOD : NOT_LOCAL;
}

/* control leaves a frame to the forwarder, having noted who sends such with flags: remote checksums are forwarders'. */
inlined int control(void *at, void *end, struct outer *o)
{
	struct vxlanhdr *v = at;
	struct inner p = {};
	struct hop *h;

	if (at + VXLAN <= end && v->flags != VXLAN_VNI_FLAG && parse(at + VXLAN, end, &p)) {
		h = route(&p, p.src);
		if (h && from_hop(h, o))
			note_sender(h, o->port);
	}
	return pass(IN_CONTROL);
}

/* refuse drops what a peer sent; that the sender is no peer at all outweighs whatever else is wrong. */
inlined int refuse(struct outer *o, int why)
{
	return known(o->src) ? drop(why) : pass(IN_UNKNOWN_PEER);
}

/* unwrap takes the outer headers off. */
inlined int unwrap(struct __sk_buff *skb, struct outer *o, struct inner *p)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if (o->v6 != p->v6) {
		/* An older kernel would take the packet for one of the outer family. */
		if (!set.cross_family)
			return 1;
		flags |= p->v6 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : BPF_F_ADJ_ROOM_DECAP_L3_IPV4;
	}
	return bpf_skb_adjust_room(skb, -(__s32)o->len, BPF_ADJ_ROOM_MAC, flags);
}

/* receive gives the inner packet to the TUN device, as if its queue had sent it. */
inlined int receive(struct __sk_buff *skb, struct outer *o, struct inner *p)
{
	__u32 device = detour_for(skb, p);
	struct tally *t = own_tally();

	if (device ? turn_off(skb, o->len) : unwrap(skb, o, p))
		return pass(IN_REFUSED);
	if (t) {
		t->in_packets++;
		t->in_bytes += p->len;
	}
	return device ? go_round(skb, p, device) : bpf_redirect(set.tun, BPF_F_INGRESS);
}

/*
 * ingress looks at every packet that comes to the host, the fabric's or not: those that aren't must get through it in the
 * fewest instructions, which read_outer sees to. Nothing is written before admit has said yes.
 */
SEC("tc") int ingress(struct __sk_buff *skb)
{
	void *at, *end;
	struct outer o = {};
	struct inner p = {};
	int verdict;

	room(skb, ETH_HLEN + UDP6);
	if (!read_outer(skb, &o)) {
		if (o.icmp)
			learn(skb);
		return TC_ACT_UNSPEC;
	}
	/* Padding is hardly why: all but ipip's very smallest packets fill the smallest frame. */
	if (o.total + ETH_HLEN != skb->len)
		return pass(IN_NOT_PLAIN);
	room(skb, ETH_HLEN + UDP6 + VXLAN + LONGEST);
	at = (void *)(long)skb->data + ETH_HLEN + o.len;
	end = (void *)(long)skb->data_end;
	if (o.encap == ENCAP_VXLAN) {
		verdict = frame(at, end, &o);
		if (verdict == FRAME_CONTROL)
			return control(at, end, &o);
		if (verdict != FRAME_GOOD)
			return refuse(&o, verdict);
		at += VXLAN;
	}
	if (!parse(at, end, &p) || neighbour_discovery(&o, &p) || (o.encap == ENCAP_IPIP && p.v6))
		return pass(IN_NOT_PLAIN);
	if (o.len + p.len != o.total) {
		if (!skb->gso_size)
			return refuse(&o, MALFORMED);
		/* No helper takes one packet out of a train, so all of it is the forwarder's, and what follows it too. */
		mark_bulk(&p);
		return pass(IN_TRAIN);
	}
	verdict = admit(&o, &p);
	if (verdict != FRAME_GOOD)
		return refuse(&o, verdict);
	/* The forwarder can tell the sender so, and a TUN that got it could only drop it. */
	if (segment(skb, &p) > set.mtu)
		return pass(IN_TOO_BIG);
	if (is_bulk(&p))
		return pass(IN_BULK);
	return receive(skb, &o, &p);
}
