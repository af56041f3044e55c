/*
 * A network card whose frames the host's kernel moves between rings and a TAP interface
 * (vhost-net).
 *
 * Only the pairs' queues are lent; configuration, status, control queue and what follows from its
 * commands stay in the model (net.h). What is applied to frames is left to kernel and interface:
 * offloads and queues by TAP, as without vhost; what only our own data path can do (VLAN filters,
 * hashes, coalescing, statistics) is not offered.
 *
 * Each pair has a device of the kernel's, and a kernel thread (or two). It serves the pair while
 * that is one of those in use and the link is up; else buffers wait in the rings.
 *
 * On the device's loop, but for creation.
 */
#ifndef DEVICES_NET_VHOST_H
#define DEVICES_NET_VHOST_H

#include "devices/net/state.h"

struct net_vhost;

/* Make the kernel's side, as the device's deputy (virtio_builtin_set_deputy), for the TAP interface
 * that is the host side. `busy_poll_us` as in struct vhost_kernel_options. */
int net_vhost_create(struct virtio_builtin *b, struct net_host *tap, uint32_t busy_poll_us,
                     struct net_vhost **out, struct error *err);
void net_vhost_destroy(struct net_vhost *v); /* not the deputy */

/* Take away what the kernel cannot serve. */
void net_vhost_limit_features(const struct net_vhost *v, struct virtio_features *offered);

/* Frames have headers of this size. */
void net_vhost_set_header(struct net_vhost *v, unsigned size);

/* Let the interface send only what the guest wants, as far as it can tell. `mac` is the card's, as
 * in struct net. */
void net_vhost_set_filter(struct net_vhost *v, const struct net_filter *filter, uint64_t mac);

/* Serve so many pairs from now on: none while the link is down. */
void net_vhost_set_pairs(struct net_vhost *v, unsigned pairs);

/* -EINVAL: the interface may send packets longer than that. */
int net_vhost_check_mtu(struct net_host *tap, unsigned mtu, struct error *err);

#endif
