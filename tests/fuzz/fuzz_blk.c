/*
 * virtio-blk with requests of random content and framing on an image in memory.
 *
 * Rings are sound here (fuzz_virtqueue breaks those): what varies is what lies in the buffers and
 * how descriptors cut it up. Checked besides what sanitizers see: each request is answered or the
 * device says it is broken, used lengths are in bounds, nothing in flight survives a stop: BLK-25,
 * BLK-26, BLK-31, STAT-07.
 *
 * Input: a byte of features, then for each request a byte of shape, optionally a sound header in
 * short form, and per descriptor two bytes: direction, length. Readable bytes come from the input.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/blk.h"
#include "devices/blk/io.h"
#include "tests/fuzz/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTORS      16
#define QUEUE_SIZE   64
#define ELEMENTS_MAX 8
#define DATA         UINT64_C(0x100000)
#define MEMORY       UINT64_C(0x200000)

static struct guest_memory memory;
static struct loop *loop;
static struct virtio_backend *backend;
static struct ring ring;
static int kick_fd;
static uint32_t writable[QUEUE_SIZE]; /* bytes, by head */
static uint64_t next_data;            /* guest address of the next descriptor's bytes */

static void disk_create(void)
{
    static char path[32];
    static struct blk_options options = {
        .path = path, .size_max = 2048, .aio = BLK_AIO_AUTO, .snapshot = true};
    int fd = memfd_create("image", MFD_CLOEXEC);

    log_configure("error");
    setenv("TMPDIR", "/dev/shm", 1); /* the snapshot's layer in memory, too */
    REQUIRE(fd >= 0 && ftruncate(fd, SECTORS * 512) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    guest_memory_init(&memory);
    REQUIRE(guest_memory_add(&memory, 0, MEMORY, 0, NULL) == 0);
    REQUIRE(loop_create(&loop, NULL) == 0);
    REQUIRE(virtio_builtin_create(&blk_model, &options, &memory, loop, 1, 128, &backend, NULL) ==
            0);
    backend->events = device_events;
    kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void queue_start(uint8_t features)
{
    struct virtio_features negotiated = {.word = {(uint32_t)features << 4}}; /* FLUSH, WCE... */

    ring_init(&ring, &memory, 0, QUEUE_SIZE, false);
    features_set(&negotiated, VIRTIO_F_VERSION_1, !(features & 2));
    features_set(&negotiated, 1, features & 4);   /* SIZE_MAX */
    features_set(&negotiated, 13, features & 8);  /* DISCARD */
    features_set(&negotiated, 14, features & 16); /* WRITE_ZEROES */
    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&negotiated, 2, features & 1); /* SEG_MAX */
    needs_reset = false;
    next_data = DATA;
    REQUIRE(backend->ops->set_features(backend, &negotiated) == 0);
    device_queue_start(backend, 0, &ring, kick_fd);
}

/* A header with a type that exists and a sector not far off the disk. */
static void add_header(struct input *in, struct ring_element *e)
{
    uint8_t *header = guest_memory_map(&memory, GPA(next_data), 16);

    store_le64(header, take(in) % 16);
    store_le64(header + 8, take(in) % (SECTORS + 4));
    *e = (struct ring_element){next_data, 16, false};
    next_data += 16;
}

static void add_element(struct input *in, struct ring_element *e, bool *write)
{
    uint8_t shape = take(in);
    uint32_t len = take(in);

    *write |= shape & 1; /* readable ones come first */
    if (shape & 2)
        len = 512 * (len % 4 + 1);
    if (shape & 4)
        len += 1;
    if (len == 0)
        len = 1;
    *e = (struct ring_element){next_data, len, *write};
    for (uint32_t i = 0; i < len && !*write; i++)
        *(uint8_t *)guest_memory_map(&memory, GPA(next_data + i), 1) = take(in);
    next_data += len;
}

/* One more request in the ring; false when the input or the ring is used up. */
static bool add_request(struct input *in)
{
    struct ring_element e[ELEMENTS_MAX + 1];
    uint8_t shape = take(in);
    unsigned count = 0, more = shape % ELEMENTS_MAX;
    bool write = false;
    uint32_t bytes = 0;
    int head;

    if (in->left == 0 || next_data + (ELEMENTS_MAX + 1) * 4096 > MEMORY)
        return false;
    if (shape & 0x80)
        add_header(in, &e[count++]);
    for (unsigned i = 0; i <= more; i++)
        add_element(in, &e[count++], &write);
    for (unsigned i = 0; i < count; i++)
        bytes += e[i].writable ? e[i].length : 0;
    head = ring_add(&ring, e, MIN(count, ELEMENTS_MAX), shape & 0x40 ? RING_TABLE : RING_DIRECT);
    if (head >= 0)
        writable[head] = bytes;
    return head >= 0;
}

/* One turn of the loop, which handles the kick. */
static void serve(void)
{
    ring_publish(&ring);
    eventfd_write(kick_fd, 1);
    turn(loop);
}

static void check(unsigned added)
{
    struct ring_used used;
    unsigned answered = 0;

    for (; ring_collect(&ring, &used); answered++) {
        REQUIRE(used.id < QUEUE_SIZE);
        REQUIRE(used.length >= 1 && used.length <= writable[used.id]);
    }
    REQUIRE(answered == added || needs_reset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct virtqueue_position at;
    unsigned added = 0;

    if (!backend)
        disk_create();
    queue_start(take(&in));
    while (add_request(&in))
        added++;
    serve();
    at = backend->ops->queue_stop(backend, 0);
    REQUIRE(at.avail == at.used || needs_reset);
    check(added);
    ring_destroy(&ring);
    backend->ops->reset(backend);
    return 0;
}
