// Package tunnel moves bytes between descriptors: inner IP packets through a TUN device, datagrams
// through UDP and raw sockets. It knows how packets are segmented, coalesced, checksummed and encapsulated;
// it knows no peer, no lease and no route.
//
//	kernel ──read──▶ Queue ──Packet──▶ forwarder ──Datagram──▶ Conn ──sendmmsg──▶ underlay
//	kernel ◀─write── Queue ◀─Packet─── forwarder ◀─Datagram─── Conn ◀─recvmmsg─── underlay
//
// Two seams, Queue and Conn, each with a portable implementation that runs on every kernel and a
// fast one for Linux. Memory that crosses a seam is borrowed, and the seam's comment says until when.
//
// Concurrency: one reader and one writer per Queue and per Conn. Nothing here starts a goroutine.
//
// Sources: include/uapi/linux/virtio_net.h, drivers/net/tun.c, net/ipv4/udp_offload.c,
// net/ipv4/tcp_offload.c; RFC 791, 8200, 768, 9293, 1071, 1624; draft-ietf-intarea-gue;
// RFC 7348, draft-herbert-vxlan-rco, drivers/net/vxlan/vxlan_core.c; RFC 826, 4861; RFC 2003.
package tunnel
