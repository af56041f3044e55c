/*
 * What a virtqueue costs the device for each buffer: pop, push and publish.
 *
 *     bench_virtqueue [REQUESTS [BATCH [SHAPE]]]
 *
 * The driver's side is not measured: it fills a ring of which each slot is used again and again,
 * and to make the next batch available it only moves avail.idx. For instructions instead of time:
 *
 *     valgrind --tool=callgrind --toggle-collect='measure_batch' bench_virtqueue 100000 1 2
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "tests/driver/ring.h"
#include "virtio/virtqueue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SIZE 256
#define DATA 0x800000

struct bench {
    struct guest_memory memory;
    struct ring ring;
    struct virtqueue queue;
    uint64_t notified;
};

struct shape {
    const char *name;
    unsigned count;
    enum ring_style style;
};

static const struct shape shapes[] = {
    {"1 descriptor", 1, RING_DIRECT},
    {"3 descriptors", 3, RING_DIRECT},
    {"indirect, 3 entries", 3, RING_TABLE},
    {"indirect, 16 entries", 16, RING_TABLE},
};

static void count_notification(void *opaque, uint16_t index)
{
    struct bench *b = opaque;

    (void)index;
    b->notified++;
}

static void start(struct bench *b, const struct shape *shape)
{
    struct virtio_features features = {0};
    struct ring_element e[16];
    struct virtqueue_setup setup;

    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, true);
    ring_init(&b->ring, &b->memory, 0x10000, SIZE, true);
    for (unsigned i = 0; i < shape->count; i++)
        e[i] = (struct ring_element){DATA + 4096 * i, i == 0 ? 16 : 4096, i + 1 == shape->count};
    while (ring_add(&b->ring, e, shape->count, shape->style) >= 0)
        ;
    /* The slots that are left show the first buffers again. */
    for (uint16_t first = b->ring.avail_idx, i = 0; b->ring.avail_idx < SIZE; i++)
        ring_offer(&b->ring, load_le16(b->ring.avail_host + 4 + 2 * (i % first)));
    setup =
        (struct virtqueue_setup){0, SIZE, GPA(b->ring.desc), GPA(b->ring.avail), GPA(b->ring.used)};
    b->queue = (struct virtqueue){.notify = count_notification, .notify_opaque = b};
    if (virtqueue_start(&b->queue, &b->memory, &setup, &features, (struct virtqueue_position){0, 0},
                        NULL))
        abort();
}

/* The part of a request that is measured. */
__attribute__((noinline)) static void measure_batch(struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;

    while (virtqueue_pop(queue, &buffer) > 0)
        virtqueue_push(queue, buffer, 1);
    virtqueue_publish(queue);
}

static void run(struct bench *b, const struct shape *shape, uint64_t requests, uint16_t batch)
{
    uint64_t begin, spent;
    uint16_t avail = 0;

    start(b, shape);
    begin = loop_now_ns();
    for (uint64_t done = 0; done < requests; done += batch) {
        avail += batch;
        ring_set_avail_idx(&b->ring, avail);
        measure_batch(&b->queue);
    }
    spent = loop_now_ns() - begin;
    if (b->queue.broken.id || b->queue.published_used != avail) {
        fprintf(stderr, "the ring broke: %s\n", b->queue.broken.id);
        exit(1);
    }
    printf("%-22s batch %3u: %6.1f ns\n", shape->name, batch, (double)spent / (double)requests);
    virtqueue_stop(&b->queue);
    ring_destroy(&b->ring);
}

int main(int argc, char **argv)
{
    static const uint16_t batches[] = {1, 32};
    uint64_t requests = argc > 1 ? strtoull(argv[1], NULL, 0) : 4000000;
    unsigned batch = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 0; /* 0: each */
    unsigned shape = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 0; /* 0: each */
    struct bench b = {0};

    guest_memory_init(&b.memory);
    /* As on a PC with more than 3 GiB, but small: two regions, and all is in the first. */
    if (guest_memory_add(&b.memory, 0, 16 * MIB, 0, NULL) ||
        guest_memory_add(&b.memory, 4 * GIB, 16 * MIB, 0, NULL))
        return 1;
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
        for (unsigned j = 0; j < ARRAY_SIZE(batches); j++)
            if ((shape == 0 || shape == i + 1) && (batch == 0 || batch == batches[j]))
                run(&b, &shapes[i], requests, batches[j]);
    guest_memory_destroy(&b.memory);
    return 0;
}
