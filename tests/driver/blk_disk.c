#include "tests/driver/blk_disk.h"

#include "base/bytes.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define RINGS UINT64_C(0)

#define REQUIRE(what)                                                                        \
    do {                                                                                     \
        if (!(what)) {                                                                       \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #what); \
            abort();                                                                         \
        }                                                                                    \
    } while (0)

static void on_notify(void *opaque, uint16_t index)
{
    struct blk_disk *d = opaque;

    (void)index;
    eventfd_write(d->interrupts, 1);
}

static void on_config_changed(void *opaque)
{
    struct blk_disk *d = opaque;

    atomic_fetch_add(&d->config_changes, 1);
}

static void on_needs_reset(void *opaque)
{
    struct blk_disk *d = opaque;

    atomic_store(&d->needs_reset, true);
    eventfd_write(d->interrupts, 1);
}

uint8_t blk_disk_pattern(uint64_t offset)
{
    return (uint8_t)(offset * 7 + offset / 512);
}

void blk_disk_fill(int fd, uint64_t bytes)
{
    uint8_t block[4096];

    for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
        size_t size = MIN(bytes - at, sizeof(block));

        for (size_t i = 0; i < size; i++)
            block[i] = blk_disk_pattern(at + i);
        REQUIRE(pwrite(fd, block, size, (off_t)at) == (ssize_t)size);
    }
}

void blk_disk_assert_pattern(const uint8_t *bytes, uint64_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        REQUIRE(bytes[i] == blk_disk_pattern(from + i));
}

void blk_disk_assert_image_unchanged(struct blk_disk *d)
{
    uint8_t bytes[BLK_DISK_SECTORS * 512];

    REQUIRE(pread(d->image, bytes, sizeof(bytes), 0) == sizeof(bytes));
    blk_disk_assert_pattern(bytes, 0, sizeof(bytes));
}

/* --- the device ------------------------------------------------------------------------------ */

static void make_image(struct blk_disk *d)
{
    d->image = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(d->image >= 0);
    blk_disk_fill(d->image, BLK_DISK_SECTORS * 512);
    REQUIRE(asprintf(&d->options.path, "/proc/self/fd/%d", d->image) > 0);
}

struct blk_disk *blk_disk_open(const struct blk_options *options)
{
    return blk_disk_open_model(&blk_model, options);
}

struct blk_disk *blk_disk_open_model(const struct virtio_model *model,
                                     const struct blk_options *options)
{
    struct blk_disk *d = calloc(1, sizeof(*d));

    REQUIRE(d);
    d->options = *options;
    d->image = -1;
    if (options->path)
        d->options.path = strdup(options->path);
    else
        make_image(d);
    d->options.serial = options->serial ? strdup(options->serial) : NULL;
    guest_memory_init(&d->memory);
    REQUIRE(guest_memory_add(&d->memory, 0, BLK_DISK_END, 0, NULL) == 0);
    d->out = guest_memory_map(&d->memory, GPA(BLK_DISK_OUT), BLK_DISK_IN - BLK_DISK_OUT);
    d->in = guest_memory_map(&d->memory, GPA(BLK_DISK_IN), BLK_DISK_END - BLK_DISK_IN);
    d->interrupts = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    REQUIRE(loop_create(&d->loop, NULL) == 0);
    for (int q = 0; q < BLK_DISK_QUEUES; q++)
        d->kicks[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (virtio_builtin_create(model, &d->options, &d->memory, d->loop, BLK_DISK_QUEUES, 128,
                              &d->backend, &d->refusal) == 0)
        d->backend->events = (struct virtio_device_events){.notify_queue = on_notify,
                                                           .config_changed = on_config_changed,
                                                           .needs_reset = on_needs_reset,
                                                           .opaque = d};
    REQUIRE(loop_start_thread(d->loop, "blk-test", NULL) == 0);
    return d;
}

void blk_disk_close(struct blk_disk *d)
{
    if (d->backend) {
        if (d->rings[0].memory)
            blk_disk_stop(d);
        d->backend->ops->destroy(d->backend);
    }
    loop_join_thread(d->loop);
    loop_destroy(d->loop);
    guest_memory_destroy(&d->memory);
    for (int q = 0; q < BLK_DISK_QUEUES; q++)
        close(d->kicks[q]);
    close(d->interrupts);
    if (d->image >= 0)
        close(d->image);
    free(d->options.path);
    free(d->options.serial);
    free(d);
}

void blk_disk_start(struct blk_disk *d, const unsigned char *bits, size_t count)
{
    struct virtio_features negotiated = {0};
    struct error err = ERROR_INIT;

    features_set(&negotiated, VIRTIO_F_VERSION_1, !d->legacy);
    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    for (size_t i = 0; i < count; i++)
        features_set(&negotiated, bits[i], true);
    REQUIRE(d->backend->ops->set_features(d->backend, &negotiated) == 0);
    atomic_store(&d->needs_reset, false);

    for (uint16_t q = 0; q < BLK_DISK_QUEUES; q++) {
        struct ring *ring = &d->rings[q];

        ring_init(ring, &d->memory, RINGS + q * align_up(ring_bytes(BLK_DISK_QUEUE_SIZE), 4096),
                  BLK_DISK_QUEUE_SIZE, false);
        struct virtqueue_setup setup = {q, BLK_DISK_QUEUE_SIZE, GPA(ring->desc), GPA(ring->avail),
                                        GPA(ring->used)};
        REQUIRE(d->backend->ops->queue_start(d->backend, &setup, (struct virtqueue_position){0, 0},
                                             d->kicks[q], &err) == 0);
    }
}

void blk_disk_stop(struct blk_disk *d)
{
    for (uint16_t q = 0; q < BLK_DISK_QUEUES; q++) {
        struct virtqueue_position at = d->backend->ops->queue_stop(d->backend, q);

        REQUIRE(at.avail == at.used || atomic_load(&d->needs_reset)); /* nothing in flight */
        ring_destroy(&d->rings[q]);
        d->rings[q] = (struct ring){0};
    }
    d->backend->ops->reset(d->backend);
}

void blk_disk_restart(struct blk_disk *d, const unsigned char *bits, size_t count)
{
    blk_disk_stop(d);
    blk_disk_start(d, bits, count);
}

/* --- requests -------------------------------------------------------------------------------- */

void blk_disk_kick(struct blk_disk *d, int q)
{
    ring_publish(&d->rings[q]);
    REQUIRE(eventfd_write(d->kicks[q], 1) == 0);
}

void blk_disk_wait_interrupt(struct blk_disk *d)
{
    struct pollfd p = {.fd = d->interrupts, .events = POLLIN};
    eventfd_t count;

    REQUIRE(poll(&p, 1, 10000) == 1);
    eventfd_read(d->interrupts, &count);
}

struct ring_used blk_disk_collect(struct blk_disk *d, int q)
{
    struct ring_used used;

    while (!ring_collect(&d->rings[q], &used)) {
        blk_disk_wait_interrupt(d);
        REQUIRE(!atomic_load(&d->needs_reset));
    }
    return used;
}

void blk_disk_put_header(struct blk_disk *d, size_t at, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = {htole32(type), htole32(0x7fff), htole64(sector)};

    memcpy(d->out + at, &header, sizeof(header));
}

unsigned blk_disk_cut_up(struct ring_element *e, uint64_t base, unsigned total, unsigned piece,
                         unsigned cut, bool writable)
{
    unsigned n = 0;

    for (unsigned at = 0, size; at < total; at += size) {
        size = total - at;
        if (at < cut)
            size = cut - at;
        else if (piece && size > piece)
            size = piece;
        e[n++] = (struct ring_element){base + at, size, writable};
    }
    return n;
}

uint8_t blk_disk_send(struct blk_disk *d, const struct blk_framing *f, enum ring_style style,
                      uint32_t *used)
{
    struct ring_element e[BLK_DISK_QUEUE_SIZE];
    uint8_t *in = d->in + f->shift;
    unsigned n;

    memset(in, BLK_DISK_UNTOUCHED, f->in + 64);
    n = blk_disk_cut_up(e, BLK_DISK_OUT + f->shift, f->out, f->out_piece, f->out_cut, false);
    n += blk_disk_cut_up(e + n, BLK_DISK_IN + f->shift, f->in, f->in_piece, f->in_cut, true);
    REQUIRE(ring_add(&d->rings[0], e, n, style) >= 0);
    blk_disk_kick(d, 0);
    *used = blk_disk_collect(d, 0).length;
    for (unsigned i = 0; i < 64; i++)
        REQUIRE(in[f->in + i] == BLK_DISK_UNTOUCHED);
    return in[f->in - 1];
}

static bool to_device(uint32_t type)
{
    return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
           type == VIRTIO_BLK_T_WRITE_ZEROES || type == VIRTIO_BLK_T_SECURE_ERASE;
}

uint8_t blk_disk_request(struct blk_disk *d, uint32_t type, uint64_t sector, unsigned data,
                         uint32_t *used)
{
    bool write = to_device(type);
    struct blk_framing f = {.out = 16 + (write ? data : 0), .in = (write ? 0 : data) + 1};
    uint32_t ignored;

    f.out_cut = 16;
    f.in_cut = write ? 0 : data;
    blk_disk_put_header(d, 0, type, sector);
    return blk_disk_send(d, &f, RING_DIRECT, used ? used : &ignored);
}

/* --- configuration --------------------------------------------------------------------------- */

uint64_t blk_disk_config(struct blk_disk *d, uint32_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    d->backend->ops->config_read(d->backend, offset, bytes, size);
    return load_le(bytes, size);
}

bool blk_disk_offers(struct blk_disk *d, unsigned bit)
{
    struct virtio_features offered;

    d->backend->ops->features(d->backend, &offered);
    return features_has(&offered, bit);
}
