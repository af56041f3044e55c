/*
 * dump=PATH: a recorder around any host side, which writes all frames that pass to a pcapng file
 * (draft-ietf-opsawg-pcapng): a section header, one interface, and an enhanced packet block for
 * each frame.
 *
 * A frame is written as it crosses the device: one that needs an offload still needs it. Each is
 * written by one system call, so a capture is complete even if the program is killed. When the file
 * cannot be written the capture ends, and the network goes on.
 */
#include "devices/net/host.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/net/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum pcapng_block { BLOCK_INTERFACE = 1, BLOCK_PACKET = 6, BLOCK_SECTION = 0x0a0d0d0a };
enum pcapng_direction { TO_GUEST = 1, FROM_GUEST = 2 }; /* inbound and outbound in epb_flags */

#define BYTE_ORDER_MAGIC   0x1a2b3c4d
#define LINKTYPE_ETHERNET  1
#define OPTION_IF_TSRESOL  9
#define OPTION_EPB_FLAGS   2
#define PACKET_HEADER_SIZE 28
#define PACKET_END_SIZE    16 /* an option, the end of options, the length again */

struct dump_host {
    struct net_host base;
    struct net_host *inner;
    const char *path;
    int fd;      /* -1: not started, or given up */
    off_t bytes; /* in whole blocks; -1: not a file that could be cut */
    uint8_t block[PACKET_HEADER_SIZE + NET_FRAME_MAX + 3 + PACKET_END_SIZE];
};

static struct dump_host *dump_of(struct net_host *base)
{
    return container_of(base, struct dump_host, base);
}

/* --- the file --- */

static void dump_give_up(struct dump_host *d, const char *why)
{
    log_warn("net", "the capture in '%s' ends here: %s", d->path, why);
    /* A torn block would make readers complain. */
    if (d->bytes >= 0 && ftruncate(d->fd, d->bytes) < 0)
        log_debug("net", "'%s' cannot be cut: %s", d->path, strerror(errno));
    close(d->fd);
    d->fd = -1;
}

static void dump_write(struct dump_host *d, const void *data, size_t length)
{
    ssize_t written;

    do
        written = write(d->fd, data, length);
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)length)
        dump_give_up(d, written < 0 ? strerror(errno) : "no space left");
    else if (d->bytes >= 0)
        d->bytes += written;
}

static void dump_header(struct dump_host *d)
{
    uint8_t section[28] = {0}, interface[32] = {0};

    store_le32(section, BLOCK_SECTION);
    store_le32(section + 4, sizeof(section));
    store_le32(section + 8, BYTE_ORDER_MAGIC);
    store_le16(section + 12, 1); /* version 1.0 */
    store_le64(section + 16, UINT64_MAX);
    store_le32(section + 24, sizeof(section));

    store_le32(interface, BLOCK_INTERFACE);
    store_le32(interface + 4, sizeof(interface));
    store_le16(interface + 8, LINKTYPE_ETHERNET);
    store_le16(interface + 16, OPTION_IF_TSRESOL);
    store_le16(interface + 18, 1);
    interface[20] = 9; /* nanoseconds */
    store_le32(interface + 28, sizeof(interface));

    dump_write(d, section, sizeof(section));
    if (d->fd >= 0)
        dump_write(d, interface, sizeof(interface));
}

/* Write the frame behind the header: `length` bytes of what is in the iovecs. */
static void dump_frame(struct dump_host *d, enum pcapng_direction direction,
                       const struct iovec *iov, unsigned count, size_t length)
{
    struct timespec now;
    uint64_t ns;
    uint8_t *p = d->block, *end;
    uint32_t captured, size;

    if (d->fd < 0 || length <= NET_HEADER_SIZE)
        return;
    length -= NET_HEADER_SIZE;
    captured = (uint32_t)net_iov_read(iov, count, NET_HEADER_SIZE, p + PACKET_HEADER_SIZE,
                                      MIN(length, (size_t)NET_FRAME_MAX));
    end = p + PACKET_HEADER_SIZE + captured;
    memset(end, 0, 3);
    end = p + align_up((uint64_t)(end - p), 4);
    size = (uint32_t)(end - p) + PACKET_END_SIZE;

    clock_gettime(CLOCK_REALTIME, &now);
    ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    store_le32(p, BLOCK_PACKET);
    store_le32(p + 4, size);
    store_le32(p + 8, 0); /* the first interface */
    store_le32(p + 12, (uint32_t)(ns >> 32));
    store_le32(p + 16, (uint32_t)ns);
    store_le32(p + 20, captured);
    store_le32(p + 24, (uint32_t)MIN(length, (size_t)UINT32_MAX));
    store_le16(end, OPTION_EPB_FLAGS);
    store_le16(end + 2, 4);
    store_le32(end + 4, direction);
    store_le32(end + 8, 0);
    store_le32(end + 12, size);
    dump_write(d, p, size);
}

/* --- the host side --- */

static int dump_start(struct net_host *base, struct error *err)
{
    struct dump_host *d = dump_of(base);
    struct stat status;

    d->fd = open(d->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (d->fd < 0)
        return error_errno(err, errno, "cannot write the capture file '%s'", d->path);
    d->bytes = fstat(d->fd, &status) == 0 && S_ISREG(status.st_mode) ? 0 : -1;
    dump_header(d);
    d->inner->events = base->events;
    return d->inner->ops->start ? d->inner->ops->start(d->inner, err) : 0;
}

static unsigned dump_offloads(struct net_host *base)
{
    struct net_host *inner = dump_of(base)->inner;
    return inner->ops->offloads(inner);
}

static void dump_set_offloads(struct net_host *base, unsigned offloads)
{
    struct net_host *inner = dump_of(base)->inner;
    inner->ops->set_offloads(inner, offloads);
}

static void dump_set_pairs(struct net_host *base, unsigned pairs)
{
    struct net_host *inner = dump_of(base)->inner;

    if (inner->ops->set_pairs)
        inner->ops->set_pairs(inner, pairs);
}

static bool dump_set_steering(struct net_host *base, const struct net_steering *steering)
{
    struct net_host *inner = dump_of(base)->inner;
    return inner->ops->set_steering && inner->ops->set_steering(inner, steering);
}

static int dump_send(struct net_host *base, unsigned pair, const struct iovec *iov, unsigned count)
{
    struct dump_host *d = dump_of(base);
    int ret = d->inner->ops->send(d->inner, pair, iov, count);

    if (ret == 0)
        dump_frame(d, FROM_GUEST, iov, count, net_iov_length(iov, count));
    return ret;
}

static ssize_t dump_receive(struct net_host *base, unsigned pair, const struct iovec *iov,
                            unsigned count)
{
    struct dump_host *d = dump_of(base);
    ssize_t ret = d->inner->ops->receive(d->inner, pair, iov, count);

    if (ret > 0)
        dump_frame(d, TO_GUEST, iov, count, (size_t)ret);
    return ret;
}

static void dump_watch(struct net_host *base, unsigned pair, bool on)
{
    struct net_host *inner = dump_of(base)->inner;
    inner->ops->watch(inner, pair, on);
}

static void dump_destroy(struct net_host *base)
{
    struct dump_host *d = dump_of(base);

    d->inner->ops->destroy(d->inner);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}

static const struct net_host_ops dump_ops = {
    .name = "dump",
    .start = dump_start,
    .offloads = dump_offloads,
    .set_offloads = dump_set_offloads,
    .set_pairs = dump_set_pairs,
    .set_steering = dump_set_steering,
    .send = dump_send,
    .receive = dump_receive,
    .watch = dump_watch,
    .destroy = dump_destroy,
};

int net_dump_create(const char *path, struct net_host **host, struct error *err)
{
    struct dump_host *d;

    if (!*path)
        return error_set(err, EINVAL, "dump= needs the name of a file");
    d = calloc(1, sizeof(*d));
    if (!d)
        return error_set(err, ENOMEM, "no memory for a capture");
    d->base.ops = &dump_ops;
    d->inner = *host;
    d->path = path;
    d->fd = -1;
    *host = &d->base;
    return 0;
}
