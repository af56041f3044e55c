/*
 * The interface of the module vireo-user.so: a network of the guest's own behind this host's
 * sockets, by libslirp. Loaded only for host=user, so that no other machine maps libslirp and GLib.
 *
 * Frames here are bare Ethernet, with all checksums, no longer than the MTU allows. All on the
 * device's loop, but create and destroy, as for a model (virtio/builtin.h).
 */
#ifndef DEVICES_NET_USER_H
#define DEVICES_NET_USER_H

#include "base/error.h"
#include "base/loop.h"
#include "devices/net/host.h"

struct user_network;

/* What the module uses of the core, beyond base/module.syms. See base/loop.h. */
struct user_services {
    struct loop *loop;
    int (*fd_add)(struct loop *loop, struct loop_fd *fd, struct error *err);
    int (*fd_set_events)(struct loop *loop, struct loop_fd *fd, uint32_t events);
    void (*fd_remove)(struct loop *loop, struct loop_fd *fd);
    void (*timer_set)(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns);
    void (*timer_cancel)(struct loop *loop, struct loop_timer *timer);

    /* A frame for the guest; the memory is the caller's. */
    void (*deliver)(void *opaque, const void *frame, size_t length);
    void *opaque;
};

struct user_module {
    /* Check the options and keep them; nothing is opened that others can see. -EINVAL. */
    int (*create)(const struct net_host_options *options, const struct user_services *services,
                  struct user_network **out, struct error *err);

    /* Make the network, and listen for what is forwarded. */
    int (*start)(struct user_network *network, struct error *err);

    void (*input)(struct user_network *network, const void *frame, size_t length);

    /* Stop, or go on, reading from the host's sockets: the guest does not keep up. */
    void (*pause)(struct user_network *network, bool on);

    void (*destroy)(struct user_network *network);
};

#endif
