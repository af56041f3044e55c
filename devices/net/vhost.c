#include "devices/net/vhost.h"

#include "devices/net/tap_open.h"
#include "virtio/vhost_kernel.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct net_vhost {
    struct virtio_backend *backend;
    struct net_host *tap;
    unsigned pair_count;
    unsigned pairs; /* to be served */
    bool *serving;  /* for each queue: the kernel has its backend, the TAP interface */
};

/* --- which queues the kernel serves ----------------------------------------------------------- */

static int set_backend(struct net_vhost *v, uint16_t index, int fd, struct error *err)
{
    int ret = VHOST_FD_VRING_FILE(vhost_kernel_fd(v->backend, index), VHOST_NET_SET_BACKEND,
                                  index % 2, fd, err);

    if (!ret)
        v->serving[index] = fd >= 0;
    return ret;
}

/* The driver may have made buffers available, and told so, while nobody listened. */
static int update(struct net_vhost *v, uint16_t index, struct error *err)
{
    unsigned pair = index / 2;
    bool wanted = vhost_kernel_queue_started(v->backend, index) && pair < v->pairs;
    int ret;

    if (wanted == v->serving[index])
        return 0;
    ret = set_backend(v, index, wanted ? net_tap_fd(v->tap, pair) : -1, err);
    if (!ret && wanted)
        vhost_kernel_kick(v->backend, index);
    return ret;
}

static int net_vhost_serve(void *model, uint16_t index, struct error *err)
{
    return update(model, index, err);
}

static void net_vhost_halt(void *model, uint16_t index)
{
    struct net_vhost *v = model;
    struct error err = ERROR_INIT;

    if (v->serving[index] && set_backend(v, index, -1, &err))
        log_limited(LOG_WARN, "net", "%s", err.text);
}

void net_vhost_set_pairs(struct net_vhost *v, unsigned pairs)
{
    struct error err = ERROR_INIT;

    v->pairs = pairs;
    for (unsigned i = 0; i < 2 * v->pair_count; i++)
        if (update(v, (uint16_t)i, &err))
            log_limited(LOG_WARN, "net", "%s", err.text);
}

/* --- what the driver asks for ----------------------------------------------------------------- */

/* Done by our own data path, or not at all. */
static const enum net_feature of_the_model[] = {
    NET_F_CTRL_VLAN, NET_F_CTRL_RX_EXTRA, NET_F_DEVICE_STATS, NET_F_VQ_NOTF_COAL,
    NET_F_NOTF_COAL, NET_F_HASH_REPORT,   NET_F_RSS,          NET_F_GUEST_HDRLEN,
};

void net_vhost_limit_features(const struct net_vhost *v, struct virtio_features *offered)
{
    struct virtio_features kernel;

    v->backend->ops->features(v->backend, &kernel);
    for (size_t i = 0; i < ARRAY_SIZE(of_the_model); i++)
        features_set(offered, of_the_model[i], false);
    if (!features_has(&kernel, NET_F_MRG_RXBUF))
        features_set(offered, NET_F_MRG_RXBUF, false);
}

/* The kernel passes them on as they are. */
void net_vhost_set_header(struct net_vhost *v, unsigned size)
{
    int bytes = (int)size;

    for (unsigned i = 0; i < v->pair_count; i++)
        if (ioctl(net_tap_fd(v->tap, i), TUNSETVNETHDRSZ, &bytes) < 0)
            log_limited(LOG_WARN, "net", "cannot set the header of a TAP interface: %s",
                        strerror(errno));
}

/* As many addresses as the interface compares (FLT_EXACT_COUNT of drivers/net/tun.c); of further
 * ones it keeps multicast ones by a hash, and gives up at others. */
#define TAP_EXACT 8

union tap_filter {
    uint8_t bytes[sizeof(struct tun_filter) + (TAP_EXACT + NET_FILTER_MACS) * NET_MAC_SIZE];
    struct tun_filter head;
};

static void filter_add(union tap_filter *f, const void *address, unsigned count)
{
    memcpy(f->head.addr[f->head.count], address, (size_t)count * NET_MAC_SIZE);
    f->head.count = (uint16_t)(f->head.count + count);
}

/* NETC-02, NETC-04; none (a count of 0) lets everything through. */
void net_vhost_set_filter(struct net_vhost *v, const struct net_filter *filter, uint64_t mac)
{
    static const uint8_t broadcast[NET_MAC_SIZE] = {255, 255, 255, 255, 255, 255};
    union tap_filter f = {{0}};

    if (filter->by_mac && filter->mac_known && !filter->modes[NET_CTRL_RX_PROMISC] &&
        !filter->unicast_overflow && filter->unicast_count <= TAP_EXACT - 2) {
        filter_add(&f, &mac, 1);
        filter_add(&f, broadcast, 1);
        filter_add(&f, filter->unicast, filter->unicast_count);
        filter_add(&f, filter->multicast, filter->multicast_count);
        if (filter->modes[NET_CTRL_RX_ALLMULTI] || filter->multicast_overflow)
            f.head.flags = TUN_FLT_ALLMULTI;
    }
    if (ioctl(net_tap_fd(v->tap, 0), TUNSETTXFILTER, &f) < 0)
        log_limited(LOG_WARN, "net", "cannot set the filter of a TAP interface: %s",
                    strerror(errno));
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct vhost_kernel_type net_type = {
    .node = "/dev/vhost-net",
    .module = "vhost_net",
    .vrings = 2,
    .backend_features = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2),
    .workers = true,
    .serve = net_vhost_serve,
    .halt = net_vhost_halt,
};

/* NET-12: nobody looks at each frame. */
int net_vhost_check_mtu(struct net_host *tap, unsigned mtu, struct error *err)
{
    struct ifreq request = {0};
    int fd, ret;

    if (ioctl(net_tap_fd(tap, 0), TUNGETIFF, &request) < 0)
        return error_errno(err, errno, "cannot ask a TAP interface for its name");
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ret = fd < 0 ? -1 : ioctl(fd, SIOCGIFMTU, &request);
    if (ret < 0)
        error_errno(err, errno, "cannot ask a TAP interface for its MTU");
    else if ((unsigned)request.ifr_mtu > mtu)
        ret = error_set(err, EINVAL,
                        "mtu: the interface's own is %d, and backend=vhost passes what it sends",
                        request.ifr_mtu);
    if (fd >= 0)
        close(fd);
    return ret < 0 ? -EINVAL : 0;
}

int net_vhost_create(struct virtio_builtin *b, struct net_host *tap, uint32_t busy_poll_us,
                     struct net_vhost **out, struct error *err)
{
    struct net_vhost *v = calloc(1, sizeof(*v));
    unsigned pairs = virtio_builtin_queue_count(b) / 2;
    const struct vhost_kernel_options options = {
        .type = &net_type,
        .model = v,
        .queue_count = (uint16_t)(2 * pairs),
        .busy_poll_us = busy_poll_us,
    };
    int ret;

    if (v)
        v->serving = calloc(2 * pairs, sizeof(*v->serving));
    if (!v || !v->serving) {
        free(v);
        return error_set(err, ENOMEM, "no memory for a network device");
    }
    v->tap = tap;
    v->pair_count = pairs;
    ret = vhost_kernel_create(&options, virtio_builtin_memory(b), virtio_builtin_loop(b),
                              &v->backend, err);
    if (ret) {
        net_vhost_destroy(v);
        return ret;
    }
    virtio_builtin_set_deputy(b, v->backend);
    *out = v;
    return 0;
}

void net_vhost_destroy(struct net_vhost *v)
{
    free(v->serving);
    free(v);
}
