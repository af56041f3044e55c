/*
 * The record of buffers in flight: a device is killed at each instruction of its work on a queue,
 * and another one goes on. Whatever the instruction was, each buffer is used exactly once, and
 * those that were in flight are handed out in the order the driver made them available. RING-07,
 * RING-09.
 *
 * The device is a child that is stepped (ptrace); guest memory and the record are shared with it.
 * After each step that changed them, a device made anew finishes all work in its place, the
 * driver's side looks at the result, and everything is put back.
 */
#include "base/bytes.h"
#include "tests/driver/packed_ring.h"
#include "virtio/inflight.h"
#include "virtio/virtqueue.h"

#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY   (64 * KIB)
#define RING_AT  0
#define DATA_AT  (48 * KIB)
#define PIECE    16 /* bytes of each descriptor */
#define BUFFERS  256
#define RING_MAX 8

#define ROUNDS 6
#define STATES 60 /* at least, that are to be seen */

/* A step takes 40 us. Sanitizers need very many to start a queue: there they begin behind that. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* What the driver knows: which buffers it made available and has not got back, oldest first. */
struct driver {
    struct ring ring;
    struct packed_ring packed;
    uint16_t ids[BUFFERS]; /* by number; numbers are given in the order of making available */
    bool with_device[BUFFERS];
    unsigned added;
};

struct fixture {
    bool packed, in_order;
    uint16_t size;
    struct virtio_features features;
    struct guest_memory memory;
    uint8_t *host; /* guest memory, then the record */
    uint8_t *record;
    size_t bytes;
    struct driver driver;
    unsigned states; /* that were looked at */
};

static void ignore_notification(void *opaque, uint16_t index)
{
    (void)opaque;
    (void)index;
}

static struct fixture *create(bool packed, bool in_order)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->packed = packed;
    f->in_order = in_order;
    f->size = packed ? 7 : 8;
    f->bytes = MEMORY + inflight_region_size(packed, f->size);
    f->host = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f->host, MAP_FAILED);
    f->record = f->host + MEMORY;
    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add_external(&f->memory, 0, MEMORY, f->host, NULL), 0);
    features_set(&f->features, VIRTIO_F_VERSION_1, true);
    features_set(&f->features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&f->features, VIRTIO_F_RING_PACKED, packed);
    features_set(&f->features, VIRTIO_F_IN_ORDER, in_order);
    if (packed)
        packed_ring_init(&f->driver.packed, &f->memory, RING_AT, f->size, false);
    else
        ring_init(&f->driver.ring, &f->memory, RING_AT, f->size, false);
    assert_true((packed ? f->driver.packed.end : f->driver.ring.end) <= DATA_AT);
    f->driver.ring.in_order = f->driver.packed.in_order = in_order;
    return f;
}

static void destroy(struct fixture *f)
{
    if (f->packed)
        packed_ring_destroy(&f->driver.packed);
    else
        ring_destroy(&f->driver.ring);
    munmap(f->host, f->bytes);
    free(f);
}

/* --- the driver ------------------------------------------------------------------------------- */

static uint64_t address_of(unsigned number, unsigned piece)
{
    return DATA_AT + (number * 3 + piece) * PIECE;
}

/* Fill the ring with buffers of one to three descriptors, some in tables of their own. */
static void add_all(struct fixture *f)
{
    struct driver *d = &f->driver;

    for (;;) {
        unsigned number = d->added, count = 1 + number % 3;
        enum ring_style style = number % 4 == 3 ? RING_TABLE : RING_DIRECT;
        struct ring_element e[3];
        int id;

        for (unsigned i = 0; i < count; i++)
            e[i] = (struct ring_element){address_of(number, i), PIECE, i > 0};
        id = f->packed ? packed_ring_add(&d->packed, e, count, style)
                       : ring_add(&d->ring, e, count, style);
        if (id < 0)
            break;
        d->ids[number] = (uint16_t)id;
        d->with_device[number] = true;
        assert_true(++d->added < BUFFERS);
    }
    if (f->packed)
        packed_ring_publish(&d->packed);
    else
        ring_publish(&d->ring);
}

/* Buffers come back that are out, each once; the driver's side of the ring checks the rest. */
static unsigned collect(struct fixture *f)
{
    struct driver *d = &f->driver;
    unsigned count = 0;

    for (;; count++) {
        struct packed_used packed;
        struct ring_used used;
        unsigned number;
        uint32_t id;

        if (!(f->packed ? packed_ring_collect(&d->packed, &packed) : ring_collect(&d->ring, &used)))
            return count;
        id = f->packed ? packed.id : used.id;
        for (number = 0; number < d->added; number++)
            if (d->with_device[number] && d->ids[number] == id)
                break;
        assert_int_not_equal(number, d->added);
        d->with_device[number] = false;
    }
}

static unsigned outstanding(const struct driver *d)
{
    unsigned count = 0;

    for (unsigned i = 0; i < d->added; i++)
        count += d->with_device[i];
    return count;
}

/* --- the device ------------------------------------------------------------------------------- */

static bool try_start(struct fixture *f, struct virtqueue *queue, struct error *err)
{
    const struct virtqueue_setup setup = {
        .size = f->size,
        .desc = GPA(f->packed ? f->driver.packed.desc : f->driver.ring.desc),
        .driver = GPA(f->packed ? f->driver.packed.driver_event : f->driver.ring.avail),
        .device = GPA(f->packed ? f->driver.packed.device_event : f->driver.ring.used),
    };

    *queue = (struct virtqueue){.notify = ignore_notification, .record = {f->record, f->size}};
    return virtqueue_start(queue, &f->memory, &setup, &f->features,
                           virtqueue_position_first(&f->features), err) == 0;
}

static void start(struct fixture *f, struct virtqueue *queue)
{
    struct error err = ERROR_INIT;

    if (!try_start(f, queue, &err))
        fail_msg("%s", err.text);
}

/* What a device does until it is killed: it takes what it can, gives back some, the last ones
 * first, and takes one that it puts back. `round` makes it differ. */
static void work(struct virtqueue *queue, unsigned round)
{
    struct virtqueue_buffer *buffers[RING_MAX];
    unsigned count = 0;

    while (count < 2 && virtqueue_pop(queue, &buffers[count]) == 1)
        count++;
    if (round % 2 && count)
        virtqueue_push(queue, buffers[--count], PIECE);
    virtqueue_publish(queue);
    while (virtqueue_pop(queue, &buffers[count]) == 1)
        count++;
    if (count)
        virtqueue_unpop(queue, buffers[--count]);
    if (virtqueue_pop(queue, &buffers[count]) == 1)
        count++;
    for (unsigned left = round % 3; count > left; count--)
        virtqueue_push(queue, buffers[count - 1], 0);
    virtqueue_publish(queue);
}

/* The next one takes over: the buffers still out come in order, with all their parts; it uses them.
 */
static void finish(struct fixture *f)
{
    struct virtqueue_buffer *buffers[RING_MAX];
    struct virtqueue queue;
    unsigned count = 0, number = 0;

    start(f, &queue);
    for (; count < RING_MAX && virtqueue_pop(&queue, &buffers[count]) == 1; count++, number++) {
        while (number < f->driver.added && !f->driver.with_device[number])
            number++;
        assert_true(number < f->driver.added);
        assert_int_equal(buffers[count]->readable_count, 1);
        assert_int_equal(buffers[count]->writable_count, number % 3);
        for (unsigned i = 0; i <= number % 3; i++)
            assert_ptr_equal(buffers[count]->readable[i].iov_base, f->host + address_of(number, i));
    }
    assert_null(queue.broken.id);
    assert_int_equal(count, outstanding(&f->driver));
    while (count > 0)
        virtqueue_push(&queue, buffers[--count], 0);
    virtqueue_publish(&queue);
    virtqueue_stop(&queue);
    collect(f);
    assert_int_equal(outstanding(&f->driver), 0);
}

/* --- one device is killed --------------------------------------------------------------------- */

struct saved {
    uint8_t *shared;
    struct driver driver;
    uint16_t next[RING_MAX];
    struct packed_buffer *buffers;
    uint16_t free_ids[RING_MAX];
};

static void save(struct fixture *f, struct saved *s)
{
    memcpy(s->shared, f->host, f->bytes);
    s->driver = f->driver;
    if (f->packed) {
        memcpy(s->buffers, f->driver.packed.buffers, PACKED_RING_IDS * sizeof(*s->buffers));
        memcpy(s->free_ids, f->driver.packed.free_ids, f->size * sizeof(uint16_t));
    } else {
        memcpy(s->next, f->driver.ring.next, f->size * sizeof(uint16_t));
    }
}

static void restore(struct fixture *f, const struct saved *s)
{
    memcpy(f->host, s->shared, f->bytes);
    f->driver = s->driver;
    if (f->packed) {
        memcpy(f->driver.packed.buffers, s->buffers, PACKED_RING_IDS * sizeof(*s->buffers));
        memcpy(f->driver.packed.free_ids, s->free_ids, f->size * sizeof(uint16_t));
    } else {
        memcpy(f->driver.ring.next, s->next, f->size * sizeof(uint16_t));
    }
}

/* If it died now. */
static void look(struct fixture *f, struct saved *s)
{
    save(f, s);
    collect(f);
    finish(f);
    restore(f, s);
    f->states++;
}

/* The child stops itself when it is about to touch the queue, and again when it is done. */
static void device(struct fixture *f, unsigned round)
{
    struct virtqueue queue;

    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    if (SANITIZED)
        start(f, &queue);
    raise(SIGSTOP);
    if (!SANITIZED)
        start(f, &queue);
    work(&queue, round);
    raise(SIGSTOP);
    _exit(0);
}

static void step_through(struct fixture *f, pid_t child, struct saved *s)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    save(f, s);
    for (;;) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            break;
        assert_int_equal(WSTOPSIG(status), SIGTRAP);
        if (memcmp(s->shared, f->host, f->bytes) != 0)
            look(f, s);
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void killed_everywhere(bool packed, bool in_order)
{
    struct fixture *f = create(packed, in_order);
    struct saved s = {.shared = malloc(f->bytes),
                      .buffers = calloc(PACKED_RING_IDS, sizeof(struct packed_buffer))};

    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t child;

        add_all(f);
        child = fork();
        if (child == 0)
            device(f, round);
        step_through(f, child, &s);
        collect(f);
    }
    finish(f);
    assert_true(SANITIZED || f->states >= STATES);
    free(s.shared);
    free(s.buffers);
    destroy(f);
}

__attribute__((unused)) static void split(void **state)
{
    (void)state;
    killed_everywhere(false, false);
}

__attribute__((unused)) static void split_in_order(void **state)
{
    (void)state;
    killed_everywhere(false, true);
}

__attribute__((unused)) static void packed(void **state)
{
    (void)state;
    killed_everywhere(true, false);
}

__attribute__((unused)) static void packed_in_order(void **state)
{
    (void)state;
    killed_everywhere(true, true);
}

/* --- records that lie ------------------------------------------------------------------------- */

/* As a device that was killed leaves things. */
static void leave(struct fixture *f)
{
    struct virtqueue queue;

    add_all(f);
    start(f, &queue);
    work(&queue, 1);
    virtqueue_stop(&queue);
}

/* Whatever is in the record, the queue starts or does not, and hands out what the ring can hold. */
static void any_record(bool packed)
{
    struct fixture *f = create(packed, false);
    uint8_t *sound = malloc(f->bytes);
    unsigned started = 0;

    srand(1);
    leave(f);
    memcpy(sound, f->host, f->bytes);
    for (int i = 0; i < 20000; i++) {
        struct virtqueue_buffer *buffer;
        struct virtqueue queue;
        unsigned count = 0;

        memcpy(f->host, sound, f->bytes);
        for (int lies = 1 + rand() % 4; lies > 0; lies--)
            f->record[(size_t)rand() % (f->bytes - MEMORY)] = (uint8_t)(rand() % 12 - 2);
        if (!try_start(f, &queue, NULL))
            continue;
        started++;
        while (virtqueue_pop(&queue, &buffer) == 1)
            count++;
        assert_true(count <= f->size);
        virtqueue_stop(&queue);
    }
    assert_in_range(started, 1, 19999);
    free(sound);
    destroy(f);
}

static void any_split_record(void **state)
{
    (void)state;
    any_record(false);
}

static void any_packed_record(void **state)
{
    (void)state;
    any_record(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef __SANITIZE_THREAD__ /* there is one thread, and far too many steps */
        cmocka_unit_test(split),
        cmocka_unit_test(split_in_order),
        cmocka_unit_test(packed),
        cmocka_unit_test(packed_in_order),
#endif
        cmocka_unit_test(any_split_record),
        cmocka_unit_test(any_packed_record),
    };

    /* What a queue allocates shall come as fresh pages: clearing it would be most of the steps. */
    mallopt(M_MMAP_THRESHOLD, 32 * 1024);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
