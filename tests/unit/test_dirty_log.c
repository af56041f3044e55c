/*
 * The log of dirty pages (guest/dirty_log.h), and what rings mark in it.
 */
#include "tests/unit/queue_fixture.h"

#include "guest/dirty_log.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_SIZE (2 * MIB)
#define PAGES       (MEMORY_SIZE / DIRTY_PAGE_SIZE)
#define DATA_AT     (1536 * KIB) /* rings are below */

/* Pages as dirty_log_take tells of them. */
struct pages {
    bool marked[PAGES];
    unsigned runs;
};

static void note_run(void *opaque, gpa_t start, uint64_t pages)
{
    struct pages *p = opaque;

    assert_int_equal(start.value % DIRTY_PAGE_SIZE, 0);
    p->runs++;
    for (uint64_t i = 0; i < pages; i++) {
        assert_true(start.value / DIRTY_PAGE_SIZE + i < PAGES);
        p->marked[start.value / DIRTY_PAGE_SIZE + i] = true;
    }
}

static void memory_create(struct guest_memory *memory)
{
    guest_memory_init(memory);
    assert_int_equal(guest_memory_add(memory, 0, MEMORY_SIZE, 0, NULL), 0);
}

/* --- the log itself --------------------------------------------------------------------------- */

static void mark_and_take(void **state)
{
    struct guest_memory memory;
    struct dirty_log log;
    struct pages pages = {.runs = 0};

    (void)state;
    memory_create(&memory);
    assert_int_equal(dirty_log_create(&log, &memory, NULL), 0);
    dirty_log_mark(&log, GPA(0x1fff), 2);       /* 1, 2 */
    dirty_log_mark(&log, GPA(0x2000), 0x1000);  /* 2 */
    dirty_log_mark(&log, GPA(0x3f000), 0x2001); /* 63 to 65: over two words */
    dirty_log_mark(&log, GPA(0x9000), 0);
    dirty_log_mark(&log, GPA(UINT64_MAX - 1), 8);
    dirty_log_mark_host(&log, &memory, memory.regions[0].host + 0x80000, 1);
    dirty_log_mark_host(&log, &memory, &pages, 1); /* elsewhere */
    assert_int_equal(dirty_log_take(&log, note_run, &pages), 6);
    assert_int_equal(pages.runs, 3);
    for (unsigned i = 0; i < PAGES; i++)
        assert_int_equal(pages.marked[i], i == 1 || i == 2 || (i >= 63 && i <= 65) || i == 0x80);
    assert_int_equal(dirty_log_take(&log, note_run, &pages), 0);
    dirty_log_destroy(&log);
    dirty_log_destroy(&log);
    guest_memory_destroy(&memory);
}

/* What lies beyond the log, as a peer may have made it, is left out. */
static void beyond_the_log(void **state)
{
    int fd = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct dirty_log log;
    struct pages pages = {.runs = 0};

    (void)state;
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(dirty_log_open(&log, fd, 4096, 8, NULL), 0); /* 64 pages */
    dirty_log_mark(&log, GPA(63 * DIRTY_PAGE_SIZE), 100 * DIRTY_PAGE_SIZE);
    dirty_log_mark(&log, GPA(64 * DIRTY_PAGE_SIZE), 1);
    assert_int_equal(dirty_log_take(&log, note_run, &pages), 1);
    assert_true(pages.marked[63]);
    dirty_log_destroy(&log);
    close(fd);
}

static void open_refused(int fd, uint64_t offset, uint64_t size, const char *reason)
{
    struct error err = ERROR_INIT;
    struct dirty_log log;

    assert_int_not_equal(dirty_log_open(&log, fd, offset, size, &err), 0);
    assert_non_null(strstr(err.text, reason));
}

static void bad_logs(void **state)
{
    int fd = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_int_equal(ftruncate(fd, 4096), 0);
    open_refused(fd, 0, 4096, "could shrink");
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    open_refused(fd, 0, 0, "a log of 0 bytes");
    open_refused(fd, 0, 12, "a log of 12 bytes");
    open_refused(fd, 0, 8192, "smaller than the log");
    open_refused(fd, 4096, 8, "smaller than the log");
    open_refused(fd, UINT64_MAX - 4095, 4096, "smaller than the log");
    open_refused(fd, 1, 8, "cannot map");
    close(fd);
    open_refused(-1, 0, 8, "could shrink");
}

/* --- rings ------------------------------------------------------------------------------------ */

struct logged_ring {
    struct guest_memory memory;
    struct dirty_log log;
    struct virtqueue queue;
    bool packed;
    struct ring split_ring;
    struct packed_ring packed_ring;
    uint8_t before[MEMORY_SIZE];
};

static void ignore(void *opaque, uint16_t index)
{
    (void)opaque;
    (void)index;
}

static void ring_start(struct logged_ring *r, uint16_t size, bool packed, bool event_idx,
                       bool in_order)
{
    struct virtqueue_setup setup = {.size = size};
    struct virtio_features features = {0};

    memory_create(&r->memory);
    assert_int_equal(dirty_log_create(&r->log, &r->memory, NULL), 0);
    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, event_idx);
    features_set(&features, VIRTIO_F_IN_ORDER, in_order);
    features_set(&features, VIRTIO_F_RING_PACKED, packed);
    r->packed = packed;
    r->queue.notify = ignore;
    r->queue.log = &r->log;
    if (packed) {
        packed_ring_init(&r->packed_ring, &r->memory, 0, size, event_idx);
        r->packed_ring.in_order = in_order;
        setup.desc = GPA(r->packed_ring.desc);
        setup.driver = GPA(r->packed_ring.driver_event);
        setup.device = GPA(r->packed_ring.device_event);
    } else {
        ring_init(&r->split_ring, &r->memory, 0, size, event_idx);
        r->split_ring.in_order = in_order;
        setup.desc = GPA(r->split_ring.desc);
        setup.driver = GPA(r->split_ring.avail);
        setup.device = GPA(r->split_ring.used);
    }
    assert_int_equal(virtqueue_start(&r->queue, &r->memory, &setup, &features,
                                     virtqueue_position_first(&features), NULL),
                     0);
}

static void ring_end(struct logged_ring *r)
{
    virtqueue_stop(&r->queue);
    ring_destroy(&r->split_ring);
    packed_ring_destroy(&r->packed_ring);
    dirty_log_destroy(&r->log);
    guest_memory_destroy(&r->memory);
}

/* Buffers of one readable and two writable parts, which lie anywhere. */
static void driver_adds(struct logged_ring *r, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = DATA_AT + (uint64_t)(rand() % 100) * 0x1000 + (uint64_t)(rand() % 0xf00);
        const struct ring_element elements[] = {
            {at, 16, false}, {at + 16, 0x800, true}, {at + 0x2345, 0x1801, true}};

        if (r->packed)
            packed_ring_add(&r->packed_ring, elements, 3, RING_DIRECT);
        else
            ring_add(&r->split_ring, elements, 3, RING_DIRECT);
    }
    if (r->packed)
        packed_ring_publish(&r->packed_ring);
    else
        ring_publish(&r->split_ring);
}

static void driver_collects(struct logged_ring *r)
{
    struct ring_used used;
    struct packed_used packed_used;

    if (r->packed)
        while (packed_ring_collect(&r->packed_ring, &packed_used))
            ;
    else
        while (ring_collect(&r->split_ring, &used))
            ;
}

/* As devices may, the iovecs are used up on the way. Bytes grow by one: at most 200 times in a
 * round, so that what was written differs. */
static void write_data(const struct virtqueue_buffer *buffer, uint32_t written)
{
    for (unsigned i = 0; i < buffer->writable_count; i++) {
        uint8_t *bytes = buffer->writable[i].iov_base;

        for (size_t j = 0; j < buffer->writable[i].iov_len && written > 0; j++, written--)
            bytes[j]++;
        buffer->writable[i] = (struct iovec){0};
    }
}

static void device_works(struct logged_ring *r)
{
    struct virtqueue_buffer *buffer;

    virtqueue_disable_kicks(&r->queue);
    while (virtqueue_pop(&r->queue, &buffer) == 1) {
        uint32_t written = (uint32_t)rand() % (buffer->writable_bytes + 1);

        write_data(buffer, written);
        virtqueue_push(&r->queue, buffer, written);
    }
    virtqueue_publish(&r->queue);
    virtqueue_enable_kicks(&r->queue);
}

/* Data pages exactly; pages of the ring may be marked although the same was written again. */
static void check_marks(struct logged_ring *r)
{
    const uint8_t *now = r->memory.regions[0].host;
    struct pages pages = {.runs = 0};

    dirty_log_take(&r->log, note_run, &pages);
    for (unsigned i = 0; i < PAGES; i++) {
        bool changed = memcmp(now + i * DIRTY_PAGE_SIZE, r->before + i * DIRTY_PAGE_SIZE,
                              DIRTY_PAGE_SIZE) != 0;

        if (changed || i >= DATA_AT / DIRTY_PAGE_SIZE)
            assert_int_equal(pages.marked[i], changed);
        else if (pages.marked[i])
            assert_true(i <= 0x20000 / DIRTY_PAGE_SIZE);
    }
}

static void ring_marks(uint16_t size, bool packed, bool event_idx, bool in_order)
{
    struct logged_ring *r = calloc(1, sizeof(*r));

    ring_start(r, size, packed, event_idx, in_order);
    for (unsigned round = 0; round < 40; round++) {
        driver_adds(r, 1 + (unsigned)rand() % MIN(size / 3u, 200u));
        dirty_log_take(&r->log, note_run, &(struct pages){.runs = 0});
        memcpy(r->before, r->memory.regions[0].host, MEMORY_SIZE);
        device_works(r);
        check_marks(r);
        driver_collects(r);
    }
    ring_end(r);
    free(r);
}

static void all_rings(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        for (uint16_t size = 4; size <= 1024; size *= 16)
            ring_marks(size, i & 1, i & 2, i & 4);
}

/* A long chain through every head does not make the log keep a copy for each: 8 KiB a head would be
 * 8 MiB. */
static void long_chains_do_not_add_up(void **state)
{
    const uint16_t size = 1024, length = 512, wraps = size - 1;
    struct logged_ring *r = calloc(1, sizeof(*r));
    size_t before;

    (void)state;
    ring_start(r, size, false, false, false);
    for (uint16_t i = 0; i < size; i++)
        ring_set_descriptor(&r->split_ring, i, DATA_AT, 1, RING_WRITE | RING_NEXT, (i + 1) & wraps);
    before = mallinfo2().uordblks;
    for (uint16_t head = 0; head < size; head++) {
        uint16_t last = (head + length - 1) & wraps;

        ring_set_descriptor(&r->split_ring, last, DATA_AT, 1, RING_WRITE, 0);
        ring_offer(&r->split_ring, head);
        ring_publish(&r->split_ring);
        device_works(r);
        ring_set_descriptor(&r->split_ring, last, DATA_AT, 1, RING_WRITE | RING_NEXT,
                            (last + 1) & wraps);
    }
    assert_null(r->queue.broken.id);
    assert_true(mallinfo2().uordblks < before + 2 * MIB); /* sanitizers do not count */
    ring_end(r);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mark_and_take),
        cmocka_unit_test(beyond_the_log),
        cmocka_unit_test(bad_logs),
        cmocka_unit_test(all_rings),
        cmocka_unit_test(long_chains_do_not_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
