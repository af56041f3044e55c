/*
 * host=none: what is sent is dropped, nothing comes. As nobody looks at the frames, they may need
 * any offload.
 */
#include "devices/net/host.h"

#include <errno.h>
#include <stdlib.h>

static unsigned none_offloads(struct net_host *host)
{
    (void)host;
    return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
           NET_OFFLOAD_UFO | NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6;
}

static void none_set_offloads(struct net_host *host, unsigned offloads)
{
    (void)host;
    (void)offloads;
}

static int none_send(struct net_host *host, unsigned pair, const struct iovec *iov, unsigned count)
{
    (void)host;
    (void)pair;
    (void)iov;
    (void)count;
    return 0;
}

static ssize_t none_receive(struct net_host *host, unsigned pair, const struct iovec *iov,
                            unsigned count)
{
    (void)host;
    (void)pair;
    (void)iov;
    (void)count;
    return -EAGAIN;
}

static void none_watch(struct net_host *host, unsigned pair, bool on)
{
    (void)host;
    (void)pair;
    (void)on;
}

static void none_destroy(struct net_host *host)
{
    free(host);
}

static const struct net_host_ops none_ops = {
    .name = "none",
    .offloads = none_offloads,
    .set_offloads = none_set_offloads,
    .send = none_send,
    .receive = none_receive,
    .watch = none_watch,
    .destroy = none_destroy,
};

int net_none_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                    struct net_host **out, struct error *err)
{
    struct net_host *host = calloc(1, sizeof(*host));

    (void)options;
    (void)pairs;
    (void)loop;
    if (!host)
        return error_set(err, ENOMEM, "no memory for a network");
    host->ops = &none_ops;
    *out = host;
    return 0;
}
