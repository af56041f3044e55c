/*
 * TAP interfaces: opening them, one descriptor for each pair of queues.
 */
#ifndef DEVICES_NET_TAP_OPEN_H
#define DEVICES_NET_TAP_OPEN_H

#include "base/error.h"
#include "devices/net/host.h"

/* Newer than the headers of some hosts (Linux 6.2). */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/*
 * Fill fds[0..pairs-1] as the options (ifname or fd) say: TAP, without packet information, with our
 * header (NET_HEADER_SIZE, little-endian), not blocking. The caller closes them. On failure none is
 * left open, and the error says which of the many reasons it is. Main thread.
 */
int tap_open(const struct net_host_options *options, unsigned pairs, int *fds, struct error *err);

/* The descriptor of a pair of a host side that net_tap_create made, for somebody else to move
 * frames by; it stays the host side's. */
int net_tap_fd(struct net_host *tap, unsigned pair);

#endif
