/*
 * virtio-blk driven through its queues, on both host I/O engines, without a machine: the model runs
 * on a loop thread, the test is the driver.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/blk.h"
#include "devices/blk/state.h"
#include "tests/driver/ring.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* From the kernel's uapi, a second source for the numbers under test. */
#include <linux/virtio_blk.h>

#define SECTORS    64
#define QUEUES     2
#define QUEUE_SIZE 256

/* Guest addresses. The readable and the writable bytes of a request lie contiguously at OUT and IN;
 * how descriptors cut them up is each test's matter. */
#define RINGS  UINT64_C(0)
#define OUT    UINT64_C(0x200000)
#define IN     UINT64_C(0x280000)
#define MEMORY UINT64_C(0x400000)

#define UNTOUCHED 0xee

struct disk {
    struct blk_options options;
    int image; /* memfd */
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend; /* NULL: the host does not allow this engine */
    struct ring rings[QUEUES];
    int kicks[QUEUES];
    int interrupts; /* semaphore for all queues */
    atomic_bool needs_reset;
    uint8_t *out, *in; /* host addresses of OUT and IN */
};

/* --- the rig --------------------------------------------------------------------------------- */

static void on_notify(void *opaque, uint16_t index)
{
    struct disk *d = opaque;

    (void)index;
    eventfd_write(d->interrupts, 1);
}

static void on_config_changed(void *opaque)
{
    (void)opaque;
}

static void on_needs_reset(void *opaque)
{
    struct disk *d = opaque;

    atomic_store(&d->needs_reset, true);
    eventfd_write(d->interrupts, 1);
}

static uint8_t pattern(uint64_t byte)
{
    return (uint8_t)(byte * 7 + byte / 512);
}

static void image_fill(int fd)
{
    uint8_t bytes[SECTORS * 512];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = pattern(i);
    assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
}

static char *image_path(int fd)
{
    char *path = NULL;

    assert_true(asprintf(&path, "/proc/self/fd/%d", fd) > 0);
    return path;
}

static void disk_start(struct disk *d, unsigned char wanted_bits[], size_t count)
{
    struct virtio_features negotiated = {0};
    struct error err = ERROR_INIT;

    features_set(&negotiated, VIRTIO_F_VERSION_1, true);
    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    for (size_t i = 0; i < count; i++)
        features_set(&negotiated, wanted_bits[i], true);
    assert_int_equal(d->backend->ops->set_features(d->backend, &negotiated), 0);
    atomic_store(&d->needs_reset, false);

    for (uint16_t q = 0; q < QUEUES; q++) {
        ring_init(&d->rings[q], &d->memory, RINGS + q * align_up(ring_bytes(QUEUE_SIZE), 4096),
                  QUEUE_SIZE, false);
        struct virtqueue_setup setup = {q, QUEUE_SIZE, GPA(d->rings[q].desc),
                                        GPA(d->rings[q].avail), GPA(d->rings[q].used)};
        if (d->backend->ops->queue_start(d->backend, &setup, (struct virtqueue_position){0, 0},
                                         d->kicks[q], &err) < 0)
            fail_msg("%s", err.text);
    }
}

static void disk_stop(struct disk *d)
{
    for (uint16_t q = 0; q < QUEUES; q++) {
        struct virtqueue_position at = d->backend->ops->queue_stop(d->backend, q);

        assert_int_equal(at.avail, at.used); /* nothing was in flight any more */
        ring_destroy(&d->rings[q]);
    }
    d->backend->ops->reset(d->backend);
}

static unsigned char usual[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_MQ};

static void disk_restart(struct disk *d, unsigned char wanted_bits[], size_t count)
{
    disk_stop(d);
    disk_start(d, wanted_bits, count);
}

static int disk_open(void **state, enum blk_aio aio, bool readonly)
{
    struct disk *d = calloc(1, sizeof(*d));

    *state = d;
    d->image = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    image_fill(d->image);
    d->options = (struct blk_options){image_path(d->image), readonly, strdup("vireo-1"), (int)aio};
    guest_memory_init(&d->memory);
    assert_int_equal(guest_memory_add(&d->memory, 0, MEMORY, 0, NULL), 0);
    d->out = guest_memory_map(&d->memory, GPA(OUT), IN - OUT);
    d->in = guest_memory_map(&d->memory, GPA(IN), MEMORY - IN);
    d->interrupts = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    assert_int_equal(loop_create(&d->loop, NULL), 0);
    for (int q = 0; q < QUEUES; q++)
        d->kicks[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (virtio_builtin_create(&blk_model, &d->options, &d->memory, d->loop, QUEUES, 128,
                              &d->backend, NULL) == 0) {
        d->backend->events =
            (struct virtio_device_events){on_notify, on_config_changed, on_needs_reset, d};
        disk_start(d, usual, sizeof(usual));
    }
    assert_int_equal(loop_start_thread(d->loop, "blk-test", NULL), 0);
    return 0;
}

static int open_uring(void **state)
{
    return disk_open(state, BLK_AIO_URING, false);
}

static int open_threads(void **state)
{
    return disk_open(state, BLK_AIO_THREADS, false);
}

static int open_readonly(void **state)
{
    return disk_open(state, BLK_AIO_AUTO, true);
}

static int disk_close(void **state)
{
    struct disk *d = *state;

    if (d->backend) {
        disk_stop(d);
        d->backend->ops->destroy(d->backend);
    }
    loop_join_thread(d->loop);
    loop_destroy(d->loop);
    guest_memory_destroy(&d->memory);
    for (int q = 0; q < QUEUES; q++)
        close(d->kicks[q]);
    close(d->interrupts);
    close(d->image);
    free(d->options.path);
    free(d->options.serial);
    free(d);
    return 0;
}

static struct disk *disk_of(void **state)
{
    struct disk *d = *state;

    if (!d->backend)
        skip();
    return d;
}

/* --- requests -------------------------------------------------------------------------------- */

static void kick(struct disk *d, int q)
{
    ring_publish(&d->rings[q]);
    assert_int_equal(eventfd_write(d->kicks[q], 1), 0);
}

/* Sleep until the device raises an interrupt. */
static void wait_interrupt(struct disk *d)
{
    struct pollfd p = {.fd = d->interrupts, .events = POLLIN};
    eventfd_t count;

    if (poll(&p, 1, 10000) != 1)
        fail_msg("no interrupt");
    eventfd_read(d->interrupts, &count);
}

static struct ring_used collect(struct disk *d, int q)
{
    struct ring_used used;

    while (!ring_collect(&d->rings[q], &used)) {
        wait_interrupt(d);
        assert_false(atomic_load(&d->needs_reset));
    }
    return used;
}

static void put_header(struct disk *d, size_t at, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = {htole32(type), htole32(0x7fff), htole64(sector)};

    memcpy(d->out + at, &header, sizeof(header));
}

/* A request in flight: `out` readable bytes at OUT, `in` writable bytes at IN. */
struct framing {
    unsigned out, in;
    unsigned out_cut, in_cut;     /* cut once, behind so many bytes; 0: not at all */
    unsigned out_piece, in_piece; /* from there on cut every so many bytes; 0: not at all */
};

static unsigned cut_up(struct ring_element *e, uint64_t base, unsigned total, unsigned piece,
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

/* Send one request and return its status byte; *used gets the used length. */
static uint8_t send_framed(struct disk *d, const struct framing *f, enum ring_style style,
                           uint32_t *used)
{
    struct ring_element e[QUEUE_SIZE];
    unsigned n;

    memset(d->in, UNTOUCHED, f->in + 64);
    n = cut_up(e, OUT, f->out, f->out_piece, f->out_cut, false);
    n += cut_up(e + n, IN, f->in, f->in_piece, f->in_cut, true);
    assert_true(ring_add(&d->rings[0], e, n, style) >= 0);
    kick(d, 0);
    *used = collect(d, 0).length;
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(d->in[f->in + i], UNTOUCHED);
    return d->in[f->in - 1];
}

/* As most drivers do it: header, data and status in descriptors of their own. */
static uint8_t request(struct disk *d, uint32_t type, uint64_t sector, unsigned data,
                       uint32_t *used)
{
    bool write = type == VIRTIO_BLK_T_OUT;
    struct framing f = {.out = 16 + (write ? data : 0), .in = (write ? 0 : data) + 1};
    uint32_t ignored;

    f.out_cut = 16;
    f.in_cut = write ? 0 : data;
    put_header(d, 0, type, sector);
    return send_framed(d, &f, RING_DIRECT, used ? used : &ignored);
}

static void assert_pattern(const uint8_t *bytes, uint64_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != pattern(from + i))
            fail_msg("byte %zu is 0x%02x and not 0x%02x", i, bytes[i], pattern(from + i));
}

static void assert_image_unchanged(struct disk *d)
{
    uint8_t bytes[SECTORS * 512];

    assert_int_equal(pread(d->image, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_pattern(bytes, 0, sizeof(bytes));
}

/* --- tests: the four request types ----------------------------------------------------------- */

/* BLK-07, BLK-08, BLK-33, RING-12 */
static void test_read(void **state)
{
    struct disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 1024, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1025); /* BLK-31 */
    assert_pattern(d->in, 3 * 512, 1024);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, SECTORS * 512, &used), VIRTIO_BLK_S_OK);
    assert_pattern(d->in, 0, SECTORS * 512);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, SECTORS, 0, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
}

/* BLK-07, BLK-08, RING-19 */
static void test_write(void **state)
{
    struct disk *d = disk_of(state);
    uint8_t bytes[3 * 512];
    uint32_t used;

    memset(d->out + 16, 0x5a, 512);
    assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 7, 512, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1); /* BLK-31 */
    assert_int_equal(pread(d->image, bytes, sizeof(bytes), 6 * 512), sizeof(bytes));
    assert_pattern(bytes, 6 * 512, 512);
    assert_memory_equal(bytes + 512, d->out + 16, 512);
    assert_pattern(bytes + 1024, 8 * 512, 512);
}

/* BLK-08, DRV-BLK-06 */
static void test_flush(void **state)
{
    struct disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
    assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 9, 0, &used), VIRTIO_BLK_S_OK); /* bent */
}

/* BLK-08 */
static void test_get_id(void **state)
{
    struct disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 20, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 21);
    assert_memory_equal(d->in, "vireo-1\0\0\0\0\0\0\0\0\0\0\0\0\0", 20); /* BLK-11 */
    /* DRV-BLK-03 */
    assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 19, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 21, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    assert_int_equal(d->in[0], UNTOUCHED);
}

/* BLKZ-04, DRV-BLK-09 */
static void test_unknown_types(void **state)
{
    static const uint32_t types[] = {2, 3, 5, 6, 7, 9, 11, 13, 14, 15, 24, 0x80000000, UINT32_MAX};
    struct disk *d = disk_of(state);
    uint32_t used;

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) { /* BLK-09 */
        assert_int_equal(request(d, types[i], 0, 512, &used), VIRTIO_BLK_S_UNSUPP);
        assert_int_equal(used, 1);
    }
    assert_image_unchanged(d);
}

/* --- tests: framing (RING-08) ---------------------------------------------------------------- */

static void read_framed(struct disk *d, struct framing f, enum ring_style style)
{
    uint32_t used;

    f.out = 16;
    f.in = 1025;
    put_header(d, 0, VIRTIO_BLK_T_IN, 5);
    assert_int_equal(send_framed(d, &f, style, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1025);
    assert_pattern(d->in, 5 * 512, 1024);
}

static void write_framed(struct disk *d, struct framing f, enum ring_style style)
{
    static uint8_t salt;
    uint8_t bytes[1024];
    uint32_t used;

    f.out = 16 + 1024;
    f.in = 1;
    put_header(d, 0, VIRTIO_BLK_T_OUT, 5);
    salt++;
    for (unsigned i = 0; i < 1024; i++)
        d->out[16 + i] = (uint8_t)(i * 3 + salt);
    assert_int_equal(send_framed(d, &f, style, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
    assert_int_equal(pread(d->image, bytes, sizeof(bytes), 5 * 512), sizeof(bytes));
    assert_memory_equal(bytes, d->out + 16, sizeof(bytes));
}

/* RING-08, RING-18, DRV-BLK-13 */
static void test_read_cut_anywhere(void **state)
{
    struct disk *d = disk_of(state);

    for (unsigned cut = 0; cut < 16; cut++)
        read_framed(d, (struct framing){.out_cut = cut}, RING_DIRECT);
    for (unsigned cut = 1; cut < 1025; cut++)
        read_framed(d, (struct framing){.in_cut = cut}, cut % 2 ? RING_DIRECT : RING_TABLE);
}

/* RING-08, RING-18, DRV-BLK-13 */
static void test_write_cut_anywhere(void **state)
{
    struct disk *d = disk_of(state);

    for (unsigned cut = 0; cut < 16 + 1024; cut++)
        write_framed(d, (struct framing){.out_cut = cut}, cut % 2 ? RING_DIRECT : RING_MIXED);
}

/* RING-08 */
static void test_small_pieces(void **state)
{
    static const unsigned pieces[] = {11, 18, 100, 511, 512, 513, 1024};
    struct disk *d = disk_of(state);

    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        image_fill(d->image);
        read_framed(d, (struct framing){.out_piece = 1, .in_piece = pieces[i]}, RING_DIRECT);
        write_framed(d, (struct framing){.out_piece = pieces[i]}, RING_DIRECT);
    }
}

/* --- tests: what a driver may not do --------------------------------------------------------- */

/* BLK-25, DRV-BLK-01, DRV-BLK-02 */
static void test_bounds(void **state)
{
    static const struct {
        uint64_t sector;
        unsigned bytes;
    } bad[] = {
        {SECTORS, 512},
        {SECTORS - 1, 1024},
        {SECTORS + 1, 0},
        {UINT64_MAX, 512},
        {UINT64_MAX, 0},
        {UINT64_MAX / 512, 512},
        {UINT64_MAX - 1, 1024},
        {BIT(55), 512},
        {BIT(63), 512},
        {0, 1},
        {0, 511},
        {0, 513}, /* DRV-BLK-02 */
        {SECTORS - 1, 511},
    };
    struct disk *d = disk_of(state);
    uint32_t used;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(request(d, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].bytes, &used),
                         VIRTIO_BLK_S_IOERR);
        assert_int_equal(used, 1);
        if (bad[i].bytes > 1)
            assert_int_equal(d->in[0], UNTOUCHED);
        assert_int_equal(request(d, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].bytes, &used),
                         VIRTIO_BLK_S_IOERR);
        assert_int_equal(used, 1);
    }
    assert_image_unchanged(d);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, SECTORS - 1, 512, &used), VIRTIO_BLK_S_OK);
}

/* DRV-BLK-08 */
static void test_data_in_wrong_direction(void **state)
{
    struct disk *d = disk_of(state);
    uint32_t used;

    put_header(d, 0, VIRTIO_BLK_T_OUT, 0);
    assert_int_equal(
        send_framed(d, &(struct framing){.out = 16 + 512, .in = 513}, RING_DIRECT, &used),
        VIRTIO_BLK_S_IOERR);
    put_header(d, 0, VIRTIO_BLK_T_IN, 0);
    assert_int_equal(
        send_framed(d, &(struct framing){.out = 16 + 512, .in = 513}, RING_DIRECT, &used),
        VIRTIO_BLK_S_IOERR);
    assert_image_unchanged(d);
}

/* DRV-BLK-10, and only when SEG_MAX was negotiated: others need not know the limit. */
static void test_too_many_segments(void **state)
{
    static unsigned char without[] = {VIRTIO_BLK_F_FLUSH};
    /* The first descriptor has the header and some data, each other one 4 bytes. */
    const struct framing fits = {.out = 16 + 512, .in = 1, .out_cut = 16 + 12, .out_piece = 4};
    const struct framing many = {.out = 16 + 512, .in = 1, .out_cut = 16 + 8, .out_piece = 4};
    struct disk *d = disk_of(state);
    uint32_t used;

    put_header(d, 0, VIRTIO_BLK_T_OUT, 0);
    assert_int_equal(send_framed(d, &many, RING_DIRECT, &used), VIRTIO_BLK_S_IOERR);
    assert_image_unchanged(d);
    assert_int_equal(send_framed(d, &fits, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
    disk_restart(d, without, sizeof(without));
    assert_int_equal(send_framed(d, &many, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
}

static void expect_broken(struct disk *d, unsigned out, unsigned in)
{
    struct ring_element e[2];
    struct ring_used used;
    unsigned n = cut_up(e, OUT, out, 0, 0, false);

    n += cut_up(e + n, IN, in, 0, 0, true);
    put_header(d, 0, VIRTIO_BLK_T_IN, 0);
    memset(d->in, UNTOUCHED, 600);
    assert_true(ring_add(&d->rings[0], e, n, RING_DIRECT) >= 0);
    kick(d, 0);
    while (!atomic_load(&d->needs_reset))
        wait_interrupt(d);
    assert_false(ring_collect(&d->rings[0], &used));
    assert_int_equal(d->in[0], UNTOUCHED);
}

/* BLK-26, DRV-BLK-08: no answer is possible. The device is as new after a reset. */
static void test_no_room_for_status_or_header(void **state)
{
    static const unsigned lengths[][2] = {{16, 0}, {528, 0}, {15, 513}, {0, 513}, {1, 1}};
    struct disk *d = disk_of(state);

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        expect_broken(d, lengths[i][0], lengths[i][1]);
        for (uint16_t q = 0; q < QUEUES; q++) {
            d->backend->ops->queue_stop(d->backend, q);
            ring_destroy(&d->rings[q]);
        }
        d->backend->ops->reset(d->backend);
        disk_start(d, usual, sizeof(usual));
        assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
    }
}

/* --- tests: errors of the host --------------------------------------------------------------- */

static void test_read_error(void **state)
{
    struct disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(ftruncate(d->image, 512 + 100), 0);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, 1, 512, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, 9, 512, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 512, &used), VIRTIO_BLK_S_OK);
    assert_pattern(d->in, 0, 512);
}

static void test_write_error(void **state)
{
    struct disk *d = disk_of(state);
    uint32_t used;

    assert_int_equal(ftruncate(d->image, 512), 0);
    assert_int_equal(fcntl(d->image, F_ADD_SEALS, F_SEAL_GROW), 0);
    assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 1, 512, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, &used), VIRTIO_BLK_S_OK);
}

/* --- tests: several requests, several queues ------------------------------------------------- */

/* Reads of one sector each into IN + 1024 * i, headers at OUT + 16 * i. */
static void add_reads(struct disk *d, int q, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        const struct ring_element e[] = {{OUT + 16 * i, 16, false}, {IN + 1024 * i, 513, true}};

        put_header(d, 16 * (size_t)i, VIRTIO_BLK_T_IN, i % SECTORS);
        memset(d->in + 1024 * (size_t)i, UNTOUCHED, 1024);
        assert_true(ring_add(&d->rings[q], e, 2, i % 2 ? RING_DIRECT : RING_TABLE) >= 0);
    }
}

static void assert_reads(struct disk *d, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        const uint8_t *data = d->in + 1024 * (size_t)i;

        assert_pattern(data, i % SECTORS * 512, 512);
        assert_int_equal(data[512], VIRTIO_BLK_S_OK);
        assert_int_equal(data[513], UNTOUCHED);
    }
}

static void test_many_in_flight(void **state)
{
    struct disk *d = disk_of(state);

    for (int round = 0; round < 20; round++) {
        add_reads(d, 0, 0, 80);
        add_reads(d, 1, 80, 80);
        kick(d, 0);
        kick(d, 1);
        for (int i = 0; i < 80; i++) {
            assert_int_equal(collect(d, 0).length, 513);
            assert_int_equal(collect(d, 1).length, 513);
        }
        assert_reads(d, 0, 160);
    }
}

/* STAT-07: once a queue is stopped nothing touches guest memory any more. What was taken from the
 * ring was also answered, which disk_stop checks. */
static void test_stop_with_requests_in_flight(void **state)
{
    struct disk *d = disk_of(state);

    for (int round = 0; round < 50; round++) {
        add_reads(d, 0, 0, 80);
        add_reads(d, 1, 80, 80);
        kick(d, 0);
        kick(d, 1);
        if (round % 2)
            collect(d, 0);
        disk_restart(d, usual, sizeof(usual));
        memset(d->in, UNTOUCHED, 1024 * 160);
        assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
        for (unsigned i = 1024; i < 1024 * 160; i++)
            assert_int_equal(d->in[i], UNTOUCHED);
    }
}

/* --- tests: features and configuration ------------------------------------------------------- */

static uint64_t config(struct disk *d, uint32_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    d->backend->ops->config_read(d->backend, offset, bytes, size);
    return load_le(bytes, size);
}

static uint8_t writeback(struct disk *d)
{
    return (uint8_t)config(d, offsetof(struct virtio_blk_config, wce), 1);
}

static void set_writeback(struct disk *d, uint8_t value)
{
    d->backend->ops->config_write(d->backend, offsetof(struct virtio_blk_config, wce), &value, 1);
}

/* BLK-03, BLK-04, BLK-15 */
static void test_config(void **state)
{
    struct disk *d = disk_of(state);
    uint8_t bytes[128];

    assert_int_equal(config(d, offsetof(struct virtio_blk_config, capacity), 8), SECTORS);
    assert_int_equal(config(d, offsetof(struct virtio_blk_config, seg_max), 4), BLK_SEG_MAX);
    assert_int_equal(config(d, offsetof(struct virtio_blk_config, blk_size), 4), 512);
    assert_int_equal(config(d, offsetof(struct virtio_blk_config, physical_block_exp), 1), 3);
    assert_int_equal(config(d, offsetof(struct virtio_blk_config, min_io_size), 2), 8);
    assert_int_equal(config(d, offsetof(struct virtio_blk_config, num_queues), 2), QUEUES);

    memset(bytes, UNTOUCHED, sizeof(bytes));
    d->backend->ops->config_read(d->backend, 30, bytes, sizeof(bytes));
    assert_int_equal(bytes[3], 0); /* unused0, BLK-15 */
    for (size_t i = 6; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], 0);
    d->backend->ops->config_read(d->backend, UINT32_MAX - 3, bytes, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(bytes[i], 0);
}

/* BLK-02 */
static void test_features(void **state)
{
    static const unsigned expected[] = {VIRTIO_BLK_F_SEG_MAX,    VIRTIO_BLK_F_BLK_SIZE,
                                        VIRTIO_BLK_F_FLUSH,      VIRTIO_BLK_F_TOPOLOGY,
                                        VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ};
    struct disk *d = disk_of(state);
    struct virtio_features offered, wanted = {0};

    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        features_set(&wanted, expected[i], true);
    d->backend->ops->features(d->backend, &offered);
    assert_memory_equal(&offered, &wanted, sizeof(offered));
}

/* 5.2.5, BLK-14, BLK-23, BLK-32: where the cache mode starts, and who may change it. */
static void test_cache_modes(void **state)
{
    static unsigned char wce[] = {VIRTIO_BLK_F_CONFIG_WCE};
    static unsigned char both[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE};
    struct disk *d = disk_of(state);

    assert_int_equal(writeback(d), 1); /* FLUSH alone */
    set_writeback(d, 0);
    assert_int_equal(writeback(d), 1);

    disk_restart(d, NULL, 0);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
    set_writeback(d, 1);
    assert_int_equal(writeback(d), 0);

    disk_restart(d, wce, sizeof(wce));
    assert_int_equal(writeback(d), 0);
    set_writeback(d, 1);
    assert_int_equal(writeback(d), 1);
    assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);

    disk_restart(d, both, sizeof(both));
    assert_int_equal(writeback(d), 1);
    set_writeback(d, 0);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

/* Writes to configuration that is read-only, or around the one field that is not. CFG-07,
 * DRV-CFG-05 */
static void test_config_writes(void **state)
{
    static unsigned char both[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE};
    struct disk *d = disk_of(state);
    uint8_t zeroes[64] = {0};

    disk_restart(d, both, sizeof(both));
    d->backend->ops->config_write(d->backend, 0, zeroes, 32);
    d->backend->ops->config_write(d->backend, 33, zeroes, 8);
    d->backend->ops->config_write(d->backend, UINT32_MAX, zeroes, 8);
    assert_int_equal(writeback(d), 1);
    assert_int_equal(config(d, 0, 8), SECTORS);
    d->backend->ops->config_write(d->backend, 28, zeroes, 8);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(config(d, 34, 2), QUEUES);
}

/* BLK-16, DRV-BLK-09 */
static void test_readonly(void **state)
{
    struct disk *d = disk_of(state);
    struct virtio_features offered;
    uint32_t used;

    d->backend->ops->features(d->backend, &offered);
    assert_true(features_has(&offered, VIRTIO_BLK_F_RO));
    memset(d->out + 16, 0x5a, 512);
    assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, &used), VIRTIO_BLK_S_IOERR); /* BLK-16 */
    assert_int_equal(used, 1);
    assert_image_unchanged(d);
    assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 512, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, &used), VIRTIO_BLK_S_OK);
}

/* clang-format off */
#define BOTH(test)                                                                                 \
    {#test " io_uring", test, open_uring, disk_close, NULL},                                       \
    {#test " threads", test, open_threads, disk_close, NULL}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_read),
        BOTH(test_write),
        BOTH(test_flush),
        BOTH(test_get_id),
        BOTH(test_unknown_types),
        BOTH(test_read_cut_anywhere),
        BOTH(test_write_cut_anywhere),
        BOTH(test_small_pieces),
        BOTH(test_bounds),
        BOTH(test_data_in_wrong_direction),
        BOTH(test_too_many_segments),
        BOTH(test_no_room_for_status_or_header),
        BOTH(test_read_error),
        BOTH(test_write_error),
        BOTH(test_many_in_flight),
        BOTH(test_stop_with_requests_in_flight),
        BOTH(test_config),
        BOTH(test_features),
        BOTH(test_cache_modes),
        BOTH(test_config_writes),
        cmocka_unit_test_setup_teardown(test_readonly, open_readonly, disk_close),
    };

    log_configure("error"); /* broken rules are the point here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
