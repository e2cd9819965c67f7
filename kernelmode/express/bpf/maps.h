/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the Go side and the programs share. hop.go, set.go and counters.go hold the same layouts; loading
 * fails where sizes differ.
 *
 * Routes lead to hops by number, and a hop is never written while a route leads to it, but for its notes. So a
 * packet sees either the old hop of its destination or the new one, and each whole: changing a route is one
 * aligned store of four bytes.
 */
#pragma once
#include "kernel.h"

enum encapsulation { ENCAP_UDP = 0, ENCAP_VXLAN = 1, ENCAP_IPIP = 2 };

struct hop {
	__u32 outer[4]; /* IPv4 in the first word, the others 0 */
	__u16 port;
	__u8 encap;
	__u8 v6; /* the family of outer */
	__u32 vni; /* as VXLAN has it: 24 bits, then 8 zeros, network order */
	__u8 mac[6]; /* the peer's VTEP */
	__u16 mtu; /* the largest inner packet, 0 where only the kernel's routes limit it */
	__u8 zero_sums; /* the peer takes UDP over IPv6 without a checksum */
	__u8 forwarder; /* a weft forwarder receives there, to which runs of datagrams come merged */
	/* The programs' own notes. What an ICMP error said of the path, and until when it is believed: */
	__u16 narrow; /* the largest inner packet */
	__u32 until; /* seconds since boot */
	__u32 from_forwarder; /* the latest packet from the peer was a forwarder's or a lane's, no kernel's device's */
};

/* Set before loading and constant from then on, so that what a host doesn't use costs it nothing. */
struct settings {
	__u32 tun, underlay; /* device numbers */
	__u32 outer4, outer6[4]; /* own addresses on the underlay, 0 for none */
	__u16 udp_port, vxlan_port; /* where peers send, network order, 0 for none */
	__u32 network, subnet_shift; /* of the index: host order; 32 - subnet length */
	__u32 subnets; /* in the index, 0 for none */
	__u32 own4, own4_mask; /* own subnet, network order; address 0 with mask ~0 for none */
	__u32 own6[4], own6_mask[4];
	__u32 vni;
	__u32 mtu; /* of the TUN device */
	__u8 mac4[6], mac6[6]; /* own VTEPs for peers of either outer family */
	__u8 detour_mac[6]; /* of the device of bpf/detour.h */
	__u8 ipip;
	__u8 cross_family; /* the kernel can change a packet's family when it takes headers off (6.3) */
	__u8 frame_inside; /* the kernel can be told that a frame follows the UDP header (5.14) */
	__u8 unused[3];
};

/* volatile: else the compiler would take the zeros for good. The verifier takes the real values, and drops dead code. */
volatile const struct settings set = {};

/* The index. Sizes of this and the next are set when loading: they go with the network's. */
struct {
	number(type, BPF_MAP_TYPE_ARRAY);
	number(map_flags, BPF_F_MMAPABLE);
	number(max_entries, 1);
	shape(key, __u32);
	shape(value, __u32); /* hop number; 0 is no hop */
} by_subnet SEC(".maps");

struct {
	number(type, BPF_MAP_TYPE_ARRAY);
	number(map_flags, BPF_F_MMAPABLE);
	number(max_entries, 1);
	shape(key, __u32);
	shape(value, struct hop);
} hops SEC(".maps");

/* A prefix of either family; IPv4 as ::ffff:a.b.c.d. */
struct prefix {
	__u32 bits;
	__u32 address[4];
};

struct match {
	__u32 hop;
	__u32 bits; /* of the prefix that matched, as in its key */
};

/* What doesn't fit the index. Nothing is allocated before there is something: most networks never use it. */
struct {
	number(type, BPF_MAP_TYPE_LPM_TRIE);
	number(map_flags, BPF_F_NO_PREALLOC);
	number(max_entries, 1 << 20);
	shape(key, struct prefix);
	shape(value, struct match);
} prefixes SEC(".maps");

struct address {
	__u32 words[4];
};

/* Outer addresses of all peers, in the form of struct hop: who may be refused by name. */
struct {
	number(type, BPF_MAP_TYPE_HASH);
	number(map_flags, BPF_F_NO_PREALLOC);
	number(max_entries, 1 << 17);
	shape(key, struct address);
	shape(value, __u32);
} peers SEC(".maps");
