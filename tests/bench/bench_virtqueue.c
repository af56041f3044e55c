/*
 * What a virtqueue costs the device for each buffer: pop and push, and publish for each batch.
 *
 *     bench_virtqueue [REQUESTS [FORMAT SHAPE [apart]]]
 *
 * The driver's side is not measured. Time is that of batches of 32, with their publish. For
 * instructions instead: tests/bench/ring, which has callgrind count in some of the functions alone.
 * `apart`: pop and push are not inlined, so that they can be counted without the loop.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "tests/driver/packed_ring.h"
#include "virtio/virtqueue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE  256
#define BATCH 32 /* no more: the ring holds that many of the longest buffers */
#define DATA  0x800000

struct format {
    const char *name;
    bool packed, in_order;
};

static const struct format formats[] = {
    {"split", false, false},
    {"packed", true, false},
    {"split, in order", false, true},
    {"packed, in order", true, true},
};

struct shape {
    const char *name;
    unsigned count;
    enum ring_style style;
    bool readable; /* all of it; else the last one is writable */
};

static const struct shape shapes[] = {
    {"1 descriptor", 1, RING_DIRECT, false},       {"3 descriptors", 3, RING_DIRECT, false},
    {"indirect, 3 entries", 3, RING_TABLE, false}, {"indirect, 16 entries", 16, RING_TABLE, false},
    {"1, to be read", 1, RING_DIRECT, true},
};

struct bench {
    struct guest_memory memory;
    struct ring split_ring;
    struct packed_ring packed_ring;
    struct virtqueue queue;
    uint64_t notified;
};

static void count_notification(void *opaque, uint16_t index)
{
    struct bench *b = opaque;

    (void)index;
    b->notified++;
}

static struct virtqueue_setup lay_out(struct bench *b, const struct format *format)
{
    struct ring *split = &b->split_ring;
    struct packed_ring *packed = &b->packed_ring;

    if (format->packed) {
        packed_ring_init(packed, &b->memory, 0x10000, SIZE, true);
        packed->in_order = format->in_order;
        return (struct virtqueue_setup){0, SIZE, GPA(packed->desc), GPA(packed->driver_event),
                                        GPA(packed->device_event)};
    }
    ring_init(split, &b->memory, 0x10000, SIZE, true);
    split->in_order = format->in_order;
    return (struct virtqueue_setup){0, SIZE, GPA(split->desc), GPA(split->avail), GPA(split->used)};
}

static void start(struct bench *b, const struct format *format)
{
    struct virtqueue_setup setup = lay_out(b, format);
    struct virtio_features features = {0};

    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, true);
    features_set(&features, VIRTIO_F_RING_PACKED, format->packed);
    features_set(&features, VIRTIO_F_IN_ORDER, format->in_order);
    b->queue = (struct virtqueue){.notify = count_notification, .notify_opaque = b};
    if (virtqueue_start(&b->queue, &b->memory, &setup, &features,
                        virtqueue_position_first(&features), NULL))
        abort();
}

/* The driver collects the last batch and makes another available. */
static void turn_round(struct bench *b, const struct format *format, const struct shape *shape)
{
    struct ring_element e[16];

    for (unsigned i = 0; i < shape->count; i++)
        e[i] = (struct ring_element){DATA + 4096 * i, i == 0 ? 16 : 4096,
                                     i + 1 == shape->count && !shape->readable};
    if (format->packed) {
        while (packed_ring_collect(&b->packed_ring, &(struct packed_used){0}))
            ;
        for (int i = 0; i < BATCH; i++)
            packed_ring_add(&b->packed_ring, e, shape->count, shape->style);
        packed_ring_publish(&b->packed_ring);
    } else {
        while (ring_collect(&b->split_ring, &(struct ring_used){0}))
            ;
        for (int i = 0; i < BATCH; i++)
            ring_add(&b->split_ring, e, shape->count, shape->style);
        ring_publish(&b->split_ring);
    }
}

/*
 * The parts of a batch that are measured. The two calls for each buffer have functions of their
 * own, where callgrind starts and stops to count: with nothing left to do behind the call, they end
 * in a jump in place of it, and so cost nothing themselves.
 */
__attribute__((noinline)) static int pop_one(struct virtqueue *queue,
                                             struct virtqueue_buffer **buffer)
{
    return virtqueue_pop(queue, buffer);
}

__attribute__((noinline)) static void push_one(struct virtqueue *queue,
                                               struct virtqueue_buffer *buffer, uint32_t written)
{
    virtqueue_push(queue, buffer, written);
}

/* A batch, call by call and as a device has it, with both inlined. */
__attribute__((noinline)) static unsigned take_and_use_apart(struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;
    unsigned count = 0;

    for (; count < BATCH && pop_one(queue, &buffer) > 0; count++)
        push_one(queue, buffer, buffer->writable_bytes);
    return count;
}

__attribute__((noinline)) static unsigned take_and_use(struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;
    unsigned count = 0;

    for (; count < BATCH && virtqueue_pop(queue, &buffer) > 0; count++)
        virtqueue_push(queue, buffer, buffer->writable_bytes);
    return count;
}

__attribute__((noinline)) static void publish(struct virtqueue *queue)
{
    virtqueue_publish(queue);
}

static void run(struct bench *b, const struct format *format, const struct shape *shape,
                uint64_t requests, bool apart)
{
    uint64_t done = 0, spent = 0;

    start(b, format);
    while (done < requests) {
        uint64_t begin;

        turn_round(b, format, shape);
        begin = loop_now_ns();
        done += apart ? take_and_use_apart(&b->queue) : take_and_use(&b->queue);
        publish(&b->queue);
        spent += loop_now_ns() - begin;
        if (b->queue.broken.id) {
            fprintf(stderr, "the ring broke: %s\n", b->queue.broken.id);
            exit(1);
        }
    }
    printf("%-18s %-22s %6.1f ns\n", format->name, shape->name, (double)spent / (double)done);
    virtqueue_stop(&b->queue);
    ring_destroy(&b->split_ring);
    packed_ring_destroy(&b->packed_ring);
}

/* An argument that selects: 0, or none, for each. */
static bool selected(int argc, char **argv, int arg, unsigned i)
{
    unsigned long which = argc > arg ? strtoul(argv[arg], NULL, 0) : 0;

    return which == 0 || which == i + 1;
}

int main(int argc, char **argv)
{
    uint64_t requests = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000;
    bool apart = argc > 4 && !strcmp(argv[4], "apart");
    struct bench b = {0};

    guest_memory_init(&b.memory);
    /* As on a PC with more than 3 GiB, but small: two regions, and all is in the first. */
    if (guest_memory_add(&b.memory, 0, 16 * MIB, 0, NULL) ||
        guest_memory_add(&b.memory, 4 * GIB, 16 * MIB, 0, NULL))
        return 1;
    for (unsigned f = 0; f < ARRAY_SIZE(formats); f++)
        for (unsigned s = 0; s < ARRAY_SIZE(shapes); s++)
            if (selected(argc, argv, 2, f) && selected(argc, argv, 3, s))
                run(&b, &formats[f], &shapes[s], requests, apart);
    guest_memory_destroy(&b.memory);
    return 0;
}
