/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the lane needs of the kernel's binary interface, and nothing else: with this file clang is all that
 * building takes. Numbers and layouts are those of include/uapi/linux/{bpf,pkt_cls,in,if_ether}.h, which
 * never change once released.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;

/* Everything is inlined, since the verifier loses what it knows of pointers into the packet at a call. */
#define SEC(name) __attribute__((section(name), used))
#define inlined static inline __attribute__((always_inline))

/* A map is a struct of these in the section .maps; the loader reads them from the type information. */
#define number(name, value) int(*name)[value]
#define shape(name, type) type *name

enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_F_NO_PREALLOC = 1 << 0,
	BPF_F_MMAPABLE = 1 << 10,
};

/*
 * The packet as a program of the traffic control layer sees it. All fields are 32 bits wide up to gso_size. No kernel has
 * this struct: the verifier turns each access into one of its own struct sk_buff, so one object fits them all.
 */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* EtherType, network order */
	__u32 vlan_present;
	__u32 unused1[5];
	__u32 tc_index; /* 16 bits for programs' own use */
	__u32 unused3[7];
	__u32 data;
	__u32 data_end;
	__u32 unused2[19];
	__u32 wire_len;
	__u32 gso_segs;
	__u64 sk;
	__u32 gso_size; /* payload bytes of each segment; 0 when the packet is no superpacket */
};

_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "layout of __sk_buff");
_Static_assert(__builtin_offsetof(struct __sk_buff, wire_len) == 160, "layout of __sk_buff");
_Static_assert(__builtin_offsetof(struct __sk_buff, gso_size) == 176, "layout of __sk_buff");

enum { PACKET_HOST = 0 };

/*
 * Verdicts. UNSPEC lets the next program, or the kernel, decide. TC_ACT_OK would end the chain, and programs of others
 * behind this one would miss what the lane doesn't carry.
 */
enum { TC_ACT_UNSPEC = -1, TC_ACT_SHOT = 2 };

enum { AF_INET = 2, AF_INET6 = 10 };
enum { IPPROTO_ICMP = 1, IPPROTO_IPIP = 4, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_IPV6 = 41, IPPROTO_ICMPV6 = 58 };

#define htons(x) ((__u16)__builtin_bswap16(x))
#define ntohs(x) htons(x)
#define htonl(x) ((__u32)__builtin_bswap32(x))
#define ntohl(x) htonl(x)

enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd, ETH_HLEN = 14 };

struct ethhdr {
	__u8 dst[6], src[6];
	__u16 type;
} __attribute__((packed));

/* Headers have their bit fields as whole bytes here: one comparison with 0x45 says version and length. */
struct iphdr {
	__u8 version_ihl, tos;
	__u16 tot_len, id, frag_off;
	__u8 ttl, protocol;
	__u16 check;
	__u32 src, dst;
};

struct ipv6hdr {
	__u32 version_flow;
	__u16 payload_len;
	__u8 nexthdr, hop_limit;
	__u32 src[4], dst[4];
};

struct udphdr {
	__u16 source, dest, len, check;
};

/* Everything a lookup of the routing table takes and gives; 64 bytes. */
struct bpf_fib_lookup {
	__u8 family, l4_protocol;
	__u16 sport, dport;
	__u16 tot_len; /* in host order: checked against the path MTU of the route */
	__u32 ifindex;
	__u32 tos;
	__u32 src[4], dst[4]; /* IPv4 in the first word */
	__u32 vlan;
	__u8 smac[6], dmac[6];
};

_Static_assert(sizeof(struct bpf_fib_lookup) == 64, "layout of bpf_fib_lookup");

/* Of many answers three matter; any other means that the kernel, asked by a socket's packet, knows better. */
enum {
	BPF_FIB_LOOKUP_OUTPUT = 1 << 1, /* as for a packet of this host's own, out of the given device */
	BPF_FIB_LKUP_RET_SUCCESS = 0,
	BPF_FIB_LKUP_RET_NO_NEIGH = 7,
	BPF_FIB_LKUP_RET_FRAG_NEEDED = 8,
};

/* A kernel refuses flags that it doesn't know, so the later ones are used only where settings say so. */
enum {
	BPF_ADJ_ROOM_MAC = 1, /* the room is between the link layer's header and the network layer's */
	BPF_F_ADJ_ROOM_FIXED_GSO = 1 << 0,
	BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 = 1 << 1,
	BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 = 1 << 2,
	BPF_F_ADJ_ROOM_ENCAP_L4_UDP = 1 << 4,
	BPF_F_ADJ_ROOM_ENCAP_L2_ETH = 1 << 6,
	BPF_F_ADJ_ROOM_DECAP_L3_IPV4 = 1 << 7,
	BPF_F_ADJ_ROOM_DECAP_L3_IPV6 = 1 << 8,
	BPF_F_INGRESS = 1 << 0,
};
#define BPF_F_ADJ_ROOM_ENCAP_L2(bytes) ((__u64)(bytes) << 56)

/*
 * Helpers are called by number: a constant pointer is what makes clang write the call. The newest of them, and so what
 * bounds the oldest kernel, are flags above all; bpf_jiffies64 is of 5.5.
 */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static long (*bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static __u32 (*bpf_get_hash_recalc)(struct __sk_buff *skb) = (void *)34;
static long (*bpf_skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *)39;
static long (*bpf_skb_change_head)(struct __sk_buff *skb, __u32 len, __u64 flags) = (void *)43;
static long (*bpf_skb_adjust_room)(struct __sk_buff *skb, __s32 len_diff, __u32 mode, __u64 flags) = (void *)50;
static __u64 (*bpf_jiffies64)(void) = (void *)118;
static long (*bpf_fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int len, __u32 flags) = (void *)69;
