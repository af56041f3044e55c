/*
 * What a program that serves a disk over vhost-user does in a second: random requests of 4 KiB, so
 * many under way at a time, without a machine around them.
 *
 *     bench_vhost_user SOCKET [REQUESTS [DEPTH]]
 *
 * The front end is ours, and the driver on this thread; the other program's work is all on its
 * side. The disk must have 64 MiB and is written to. With features the other program offers, but
 * EVENT_IDX.
 */
#include "base/bytes.h"
#include "tests/driver/ring.h"
#include "virtio/device.h"
#include "virtio/vhost_user.h"

#include <linux/virtio_blk.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define BLOCK      4096
#define IMAGE      (64 * MIB)
#define MEMORY     (4 * MIB)
#define QUEUE_SIZE 128
#define HEADERS    MIB
#define STATUSES   (HEADERS + 64 * KIB)
#define DATA       (2 * MIB)

struct front {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;
    struct ring ring;
    int kick, call;
};

static uint64_t random_state = 1;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (random_state >> 33) % below;
}

/* Its interrupts come to us without a turn of the loop. */
static int prefer_call_fd(void *opaque, uint16_t index, int fd)
{
    (void)index;
    return fd < 0 ? fd : ((struct front *)opaque)->call;
}

static void ignore_queue(void *opaque, uint16_t index)
{
    (void)opaque, (void)index;
}

static void ignore(void *opaque)
{
    (void)opaque;
}

static void fail(const char *what, const struct error *err)
{
    fprintf(stderr, "bench_vhost_user: %s: %s\n", what, err->text);
    exit(1);
}

static void open_front(struct front *f, const char *path)
{
    const struct vhost_user_options options = {
        .path = path, .fd = -1, .id = VIRTIO_ID_BLOCK, .queue_count = 1, .config_size = 60};
    struct error err = ERROR_INIT;

    guest_memory_init(&f->memory);
    if (guest_memory_add(&f->memory, 0, MEMORY, GUEST_MEMORY_SHARED, &err) ||
        loop_create(&f->loop, &err) ||
        vhost_user_create(&options, &f->memory, f->loop, &f->backend, &err))
        fail(path, &err);
    f->kick = eventfd(0, EFD_NONBLOCK);
    f->call = eventfd(0, EFD_NONBLOCK);
    f->backend->name = "disk";
    f->backend->events = (struct virtio_device_events){
        .notify_queue = ignore_queue,
        .queue_call_fd = prefer_call_fd,
        .config_changed = ignore,
        .needs_reset = ignore,
        .opaque = f,
    };
}

static void start(struct front *f)
{
    struct virtio_features features;
    struct virtqueue_setup setup;
    struct error err = ERROR_INIT;

    ring_init(&f->ring, &f->memory, 0, QUEUE_SIZE, false);
    setup = (struct virtqueue_setup){0, QUEUE_SIZE, GPA(f->ring.desc), GPA(f->ring.avail),
                                     GPA(f->ring.used)};
    f->backend->ops->features(f->backend, &features);
    features_set(&features, VIRTIO_F_RING_PACKED, false);
    features_set(&features, VIRTIO_F_EVENT_IDX, false);
    if (loop_start_thread(f->loop, "front", &err) ||
        f->backend->ops->set_features(f->backend, &features) ||
        f->backend->ops->queue_start(f->backend, &setup, (struct virtqueue_position){0, 0}, f->kick,
                                     &err))
        fail("cannot start", &err);
}

static void add(struct front *f, unsigned i, bool write)
{
    const struct ring_element e[] = {{HEADERS + 16 * i, 16, false},
                                     {DATA + (uint64_t)i * BLOCK, BLOCK, !write},
                                     {STATUSES + 16 * i, 1, true}};
    uint8_t *header = guest_memory_map(&f->memory, GPA(HEADERS + 16 * i), 16);

    store_le32(header, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
    store_le64(header + 8, draw(IMAGE / BLOCK) * (BLOCK / 512));
    if (ring_add(&f->ring, e, 3, RING_TABLE) < 0)
        abort();
}

/* Wait for `count` used buffers; each must have succeeded. */
static void collect(struct front *f, unsigned count)
{
    struct pollfd ready = {.fd = f->call, .events = POLLIN};
    struct ring_used used;
    eventfd_t ignored;

    while (count) {
        if (ring_collect(&f->ring, &used)) {
            count--;
            continue;
        }
        if (poll(&ready, 1, 10000) != 1) {
            fprintf(stderr, "bench_vhost_user: no answer\n");
            exit(1);
        }
        eventfd_read(f->call, &ignored);
    }
}

static void check_statuses(struct front *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (*(uint8_t *)guest_memory_map(&f->memory, GPA(STATUSES + 16 * i), 1) != 0) {
            fprintf(stderr, "bench_vhost_user: a request has failed\n");
            exit(1);
        }
}

static void run(struct front *f, unsigned depth, bool write, uint64_t requests)
{
    uint64_t begin = loop_now_ns(), spent;

    for (uint64_t done = 0; done < requests; done += depth) {
        for (unsigned i = 0; i < depth; i++)
            add(f, i, write);
        ring_publish(&f->ring);
        if (ring_wants_kick(&f->ring))
            eventfd_write(f->kick, 1);
        collect(f, depth);
        check_statuses(f, depth);
    }
    spent = loop_now_ns() - begin;
    printf("bench blk %s-%u %.0f %.2f\n", write ? "write" : "read", depth,
           (double)requests * 1e9 / (double)spent, (double)spent / (double)requests / 1e3);
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = {1, 32};
    uint64_t requests = argc > 2 ? strtoull(argv[2], NULL, 0) : 100000;
    unsigned only = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 0; /* 0: each */
    struct front f;

    if (argc < 2) {
        fprintf(stderr, "usage: bench_vhost_user SOCKET [REQUESTS [DEPTH]]\n");
        return 2;
    }
    open_front(&f, argv[1]);
    start(&f);
    for (size_t i = 0; i < ARRAY_SIZE(depths); i++)
        for (int write = 0; write < 2; write++)
            if (only == 0 || only == depths[i])
                run(&f, depths[i], write, requests);
    return 0;
}
