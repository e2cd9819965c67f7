/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The express lane: two programs that carry the common packets between the TUN device and the underlay
 * without ever leaving the kernel. Everything else goes on to the userspace forwarder behind the same TUN.
 *
 *   container → TUN ─ egress ─────────────────────▶ underlay → wire
 *                 └──▶ forwarder ──────────────────┘
 *   container ← TUN ◀───────────────────── ingress ─ underlay ← wire
 *                 ▲                           └──▶ sockets ──┐
 *                 └──────────────────── forwarder ◀──────────┘
 */
#include "ingress.h"

/* Some of the helpers are for programs under the GPL alone; these files may be used under either licence. */
char licence[] SEC("license") = "Dual BSD/GPL";
