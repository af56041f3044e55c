/*
 * A driver on one thread and a device on another, both asking for notifications as seldom as they
 * may: whoever sleeps is woken (EVT-06, EVT-08, EVT-10, EVT-11), and whoever sees a buffer sees all
 * of it (RING-15, PACK-05, PACK-14, DRV-PACK-10). A notification that is lost shows as a sleep that
 * does not end; a barrier that is missing as wrong data, or in a build with SAN=thread.
 */
#include "base/bytes.h"
#include "tests/driver/packed_ring.h"
#include "virtio/virtqueue.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define RING_AT     0x10000
#define DATA        0x800000
#define DATA_STRIDE 32 /* of each id: a number to read at 0, a number to write at 16 */
#define RAM_SIZE    (16 * MIB)
#define REQUESTS    60000u
#define PATIENCE    30 /* seconds until a notification counts as lost */

struct exchange {
    bool packed, event_idx, in_order;
    uint16_t size;
    struct guest_memory memory;
    struct ring split_ring;
    struct packed_ring packed_ring;
    struct virtqueue queue;
    sem_t kick, interrupt;
    unsigned kicks, interrupts; /* kicks: the driver's; interrupts: the device's */
    uint32_t device_random;
    const char *failed; /* the device's thread has given up, and why; atomic */
};

static void give_up(struct exchange *x, const char *why)
{
    __atomic_store_n(&x->failed, why, __ATOMIC_SEQ_CST);
}

static const char *failed(struct exchange *x)
{
    return __atomic_load_n(&x->failed, __ATOMIC_SEQ_CST);
}

static bool sleep_on(sem_t *sem)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE;
    return sem_timedwait(sem, &end) == 0;
}

static unsigned pick(uint32_t *state, unsigned below)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % below;
}

/* --- the device ------------------------------------------------------------------------------- */

static void on_notify(void *opaque, uint16_t index)
{
    struct exchange *x = opaque;

    (void)index;
    x->interrupts++;
    sem_post(&x->interrupt);
}

/* The answer to a number is the number's complement. */
static void answer(struct exchange *x, struct virtqueue_buffer *b)
{
    uint32_t number = 0;

    if (virtqueue_read(b, 0, &number, 4) != 4)
        give_up(x, "a buffer without its readable part");
    number = ~number;
    if (virtqueue_write(b, 0, &number, 4) != 4)
        give_up(x, "a buffer without its writable part");
    virtqueue_push(&x->queue, b, 4);
}

/* Take what there is, answer it in another order, and publish at odd times. */
static uint32_t serve(struct exchange *x)
{
    struct virtqueue_buffer *held[4];
    uint32_t answered = 0;
    unsigned count = 0;

    while (virtqueue_pop(&x->queue, &held[count]) > 0) {
        answered++;
        if (++count < ARRAY_SIZE(held) && pick(&x->device_random, 3))
            continue;
        while (count > 0)
            answer(x, held[--count]);
        if (pick(&x->device_random, 2))
            virtqueue_publish(&x->queue);
    }
    while (count > 0)
        answer(x, held[--count]);
    virtqueue_publish(&x->queue);
    return answered;
}

static void *device_main(void *opaque)
{
    struct exchange *x = opaque;

    for (uint32_t answered = 0; answered < REQUESTS && !failed(x);) {
        if (!sleep_on(&x->kick))
            give_up(x, "a kick was lost");
        do {
            virtqueue_disable_kicks(&x->queue);
            answered += serve(x);
            if (x->queue.broken.id)
                give_up(x, x->queue.broken.id);
        } while (!failed(x) && virtqueue_enable_kicks(&x->queue));
    }
    if (failed(x))
        sem_post(&x->interrupt); /* the driver need not wait */
    return NULL;
}

/* --- the driver ------------------------------------------------------------------------------- */

static uint8_t *data_of(struct exchange *x, unsigned id)
{
    return guest_memory_map(&x->memory, GPA(DATA + DATA_STRIDE * (uint64_t)id), DATA_STRIDE);
}

/* Which id or head the next buffer will have: its data is filled in before it is added. */
static unsigned next_id(const struct exchange *x)
{
    const struct packed_ring *ring = &x->packed_ring;

    if (!x->packed)
        return x->split_ring.free_head;
    return ring->free_id_count ? ring->free_ids[ring->free_id_count - 1] : 0;
}

static bool has_room(const struct exchange *x)
{
    unsigned needed = x->size > 1 ? 2 : 1;

    return x->packed ? x->packed_ring.free_slots >= needed && x->packed_ring.free_id_count
                     : x->split_ring.free_count >= needed;
}

static bool driver_add(struct exchange *x, uint32_t number)
{
    uint64_t at = DATA + DATA_STRIDE * (uint64_t)next_id(x);
    const struct ring_element e[] = {{at, 4, false}, {at + 16, 4, true}};
    enum ring_style style = x->size > 1 && number % 3 ? RING_DIRECT : RING_TABLE;
    int id;

    if (!has_room(x))
        return false;
    store_le32(data_of(x, next_id(x)), number);
    id = x->packed ? packed_ring_add(&x->packed_ring, e, 2, style)
                   : ring_add(&x->split_ring, e, 2, style);
    assert_true(id >= 0);
    return true;
}

static void driver_publish(struct exchange *x)
{
    bool kick;

    if (x->packed)
        packed_ring_publish(&x->packed_ring);
    else
        ring_publish(&x->split_ring);
    kick = x->packed ? packed_ring_wants_kick(&x->packed_ring) : ring_wants_kick(&x->split_ring);
    if (kick) {
        x->kicks++;
        sem_post(&x->kick);
    }
}

static bool driver_collect(struct exchange *x)
{
    struct packed_used used;
    struct ring_used split;
    unsigned id;

    if (x->packed ? !packed_ring_collect(&x->packed_ring, &used)
                  : !ring_collect(&x->split_ring, &split))
        return false;
    id = x->packed ? used.id : split.id;
    if (x->packed || split.length != RING_SKIPPED)
        assert_int_equal(x->packed ? used.length : split.length, 4);
    assert_int_equal(load_le32(data_of(x, id) + 16), (uint32_t)~load_le32(data_of(x, id)));
    return true;
}

static void interrupts(struct exchange *x, bool enable, bool *more)
{
    *more = false;
    if (enable)
        *more = x->packed ? packed_ring_enable_interrupts(&x->packed_ring)
                          : ring_enable_interrupts(&x->split_ring);
    else if (x->packed)
        packed_ring_disable_interrupts(&x->packed_ring);
    else
        ring_disable_interrupts(&x->split_ring);
}

static void drive(struct exchange *x)
{
    uint32_t added = 0, collected = 0, random = 7;
    bool more;

    while (collected < REQUESTS) {
        unsigned burst = 1 + pick(&random, 8);

        while (burst-- > 0 && added < REQUESTS && driver_add(x, added))
            added++;
        driver_publish(x);
        interrupts(x, false, &more);
        while (driver_collect(x))
            collected++;
        if (added - collected == 0 || (has_room(x) && added < REQUESTS))
            continue;
        interrupts(x, true, &more);
        if (more)
            continue;
        if (!sleep_on(&x->interrupt) && !failed(x))
            fail_msg("an interrupt was lost after %u of %u", collected, added);
        if (failed(x))
            return;
    }
}

/* --- both ------------------------------------------------------------------------------------- */

static struct virtqueue_setup lay_out(struct exchange *x)
{
    struct virtqueue_setup setup = {.size = x->size};

    if (x->packed) {
        packed_ring_init(&x->packed_ring, &x->memory, RING_AT, x->size, x->event_idx);
        x->packed_ring.in_order = x->in_order;
        setup.desc = GPA(x->packed_ring.desc);
        setup.driver = GPA(x->packed_ring.driver_event);
        setup.device = GPA(x->packed_ring.device_event);
    } else {
        ring_init(&x->split_ring, &x->memory, RING_AT, x->size, x->event_idx);
        x->split_ring.in_order = x->in_order;
        setup.desc = GPA(x->split_ring.desc);
        setup.driver = GPA(x->split_ring.avail);
        setup.device = GPA(x->split_ring.used);
    }
    return setup;
}

static void start(struct exchange *x)
{
    struct virtqueue_setup setup = lay_out(x);
    struct virtio_features features = {0};

    features_set(&features, VIRTIO_F_VERSION_1, true);
    features_set(&features, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&features, VIRTIO_F_EVENT_IDX, x->event_idx);
    features_set(&features, VIRTIO_F_IN_ORDER, x->in_order);
    features_set(&features, VIRTIO_F_RING_PACKED, x->packed);
    x->queue = (struct virtqueue){.notify = on_notify, .notify_opaque = x};
    assert_int_equal(virtqueue_start(&x->queue, &x->memory, &setup, &features,
                                     virtqueue_position_first(&features), NULL),
                     0);
}

static void run(struct exchange *x)
{
    pthread_t device;

    sem_init(&x->kick, 0, 0);
    sem_init(&x->interrupt, 0, 0);
    guest_memory_init(&x->memory);
    assert_int_equal(guest_memory_add(&x->memory, 0, RAM_SIZE, 0, NULL), 0);
    start(x);
    assert_int_equal(pthread_create(&device, NULL, device_main, x), 0);
    drive(x);
    pthread_join(device, NULL);
    if (failed(x))
        fail_msg("%s", failed(x));
    assert_true(x->kicks > 0 && x->kicks <= REQUESTS);
    virtqueue_stop(&x->queue);
    ring_destroy(&x->split_ring);
    packed_ring_destroy(&x->packed_ring);
    guest_memory_destroy(&x->memory);
    sem_destroy(&x->kick);
    sem_destroy(&x->interrupt);
}

static void run_each(bool packed, bool event_idx, bool in_order, const uint16_t *sizes,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct exchange x = {
            .packed = packed, .event_idx = event_idx, .in_order = in_order, .size = sizes[i]};

        run(&x);
    }
}

static void evt_06_split(void **state)
{
    static const uint16_t sizes[] = {1, 4, 256};

    (void)state;
    run_each(false, false, false, sizes, ARRAY_SIZE(sizes));
}

static void evt_06_10_split_with_event_idx(void **state)
{
    static const uint16_t sizes[] = {1, 4, 256};

    (void)state;
    run_each(false, true, false, sizes, ARRAY_SIZE(sizes));
}

static void evt_06_pack_05_packed(void **state)
{
    static const uint16_t sizes[] = {1, 3, 256};

    (void)state;
    run_each(true, false, false, sizes, ARRAY_SIZE(sizes));
}

static void evt_06_08_11_packed_with_event_idx(void **state)
{
    static const uint16_t sizes[] = {1, 2, 3, 5, 256};

    (void)state;
    run_each(true, true, false, sizes, ARRAY_SIZE(sizes));
}

static void evt_06_ord_02_split_in_order(void **state)
{
    static const uint16_t sizes[] = {1, 4, 256};

    (void)state;
    run_each(false, true, true, sizes, ARRAY_SIZE(sizes));
}

static void evt_06_ord_03_packed_in_order(void **state)
{
    static const uint16_t sizes[] = {1, 5, 256};

    (void)state;
    run_each(true, true, true, sizes, ARRAY_SIZE(sizes));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(evt_06_split),
        cmocka_unit_test(evt_06_10_split_with_event_idx),
        cmocka_unit_test(evt_06_pack_05_packed),
        cmocka_unit_test(evt_06_08_11_packed_with_event_idx),
        cmocka_unit_test(evt_06_ord_02_split_in_order),
        cmocka_unit_test(evt_06_ord_03_packed_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
