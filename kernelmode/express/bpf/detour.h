/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A superpacket that was wrapped on this machine and came whole keeps the kernel's mark that it is encapsulated
 * (skb->encapsulation) when its outer headers are taken off: no helper clears it. Devices that know nothing of
 * tunnels, a bridge before 6.19 above all, then have it cut in software, packet by packet.
 *
 * Segment routing does clear it where it ends. So the outer headers are exchanged for those of an Ethernet frame in
 * IPv6 (RFC 8986, End.DX2) to an address of this host alone. What comes out is the bare packet, as if nobody
 * had ever wrapped it, at the price of one more IPv6 lookup for up to 64 KB.
 *
 *   underlay ─ ingress ─▶ detour device ─▶ IPv6 ─▶ End.DX2 ─▶ detour device ─ returned ─▶ TUN
 */
#pragma once
#include "counters.h"
#include "route.h"

enum {
	IPPROTO_ETHERNET = 143,
	DETOUR = sizeof(struct ipv6hdr) + ETH_HLEN, /* in front of the inner packet */
	/*
	 * A note in the packet's own bookkeeping, which no wire carries and no sender can set: the lane has admitted
	 * it. Without it, whoever reached the address from outside could put packets into the TUN.
	 */
	DETOURED = 0x7765,
	TRIAL = 0xff, /* the protocol of a trial: reserved */
};

/* discard_only begins 100::/64, which nobody routes (RFC 6666). The detour device's number makes an address of it. */
#define DISCARD_ONLY htonl(0x01000000)

inlined void put_frame(struct ethhdr *e, __u16 type)
{
	for (int i = 0; i < 6; i++)
		e->dst[i] = e->src[i] = set.detour_mac[i];
	e->type = type;
}

/* put_detour's hop limit is 1: a packet that missed the detour device's route would be forwarded nowhere. */
inlined int put_detour(struct __sk_buff *skb, struct inner *p, __u32 device)
{
	struct ethhdr *e = (void *)(long)skb->data;
	struct ipv6hdr *ip = (void *)(e + 1);
	struct ethhdr *frame = (void *)(ip + 1);

	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return 0;
	put_frame(e, htons(ETH_P_IPV6));
	*ip = (struct ipv6hdr){
		.version_flow = htonl(6 << 28), .payload_len = htons(ETH_HLEN + p->len), .nexthdr = IPPROTO_ETHERNET,
		.hop_limit = 1, .src = { DISCARD_ONLY }, .dst = { DISCARD_ONLY, 0, 0, htonl(device) },
	};
	put_frame(frame, p->v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP));
	return 1;
}

/* hosts_own: for the subnet's first address, which is the TUN device's, and so for a socket here: those mind no mark. */
inlined int hosts_own(struct inner *p)
{
	if (!p->v6)
		return p->dst[3] == set.own4;
	return p->dst[0] == set.own6[0] && p->dst[1] == set.own6[1] && p->dst[2] == set.own6[2] && p->dst[3] == set.own6[3];
}

/*
 * detour_for returns the device that the packet should go round by, 0 for none. Only superpackets can have the
 * mark: what a wire carried, the kernel put together itself.
 */
inlined __u32 detour_for(struct __sk_buff *skb, struct inner *p)
{
	struct beside *b;

	if (!skb->gso_size || p->len + ETH_HLEN > 0xffff || hosts_own(p))
		return 0;
	b = beside();
	return b ? *(volatile __u32 *)&b->detour : 0;
}

/* turn_off exchanges the outer headers, bytes of them, for those of the way round. */
inlined int turn_off(struct __sk_buff *skb, __u32 bytes)
{
	return bpf_skb_adjust_room(skb, (__s32)DETOUR - (__s32)bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* go_round sends off what turn_off has made room in. */
inlined int go_round(struct __sk_buff *skb, struct inner *p, __u32 device)
{
	if (!put_detour(skb, p, device))
		return TC_ACT_SHOT;
	skb->tc_index = DETOURED;
	return bpf_redirect(device, BPF_F_INGRESS);
}

/* trial: the packet is one of Lane.Check's, which are of a protocol that nobody has. The kernel sends things too. */
inlined int trial(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data + ETH_HLEN;

	return skb->protocol == htons(ETH_P_IP) && (void *)(ip + 1) <= (void *)(long)skb->data_end && ip->protocol == TRIAL;
}

/*
 * returned sits where End.DX2 sends frames out of the detour device. What wasn't sent round by the lane has no
 * business here, but for trials, and all that they are for is being counted.
 */
SEC("tc") int returned(struct __sk_buff *skb)
{
	struct tally *t = own_tally();

	if (skb->tc_index != DETOURED) {
		if (t && trial(skb))
			t->trials++;
		return TC_ACT_SHOT;
	}
	skb->tc_index = 0;
	/* The kernel takes the frame's own header for the network layer's, so this has to go before a TUN gets it. */
	if (bpf_skb_adjust_room(skb, -ETH_HLEN, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	if (t)
		t->detours++;
	return bpf_redirect(set.tun, BPF_F_INGRESS);
}
