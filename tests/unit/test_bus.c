/*
 * The bus: which range an access reaches, and ranges that come and go while handlers run.
 */
#include "base/bytes.h"
#include "kvm/bus.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* A range that remembers the last access and reads as its tag. */
struct tagged {
    uint8_t tag;
    uint64_t offset;
    unsigned size, reads, writes;
    uint64_t written;
};

static void tagged_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct tagged *tagged = opaque;

    tagged->offset = offset;
    tagged->size = size;
    tagged->reads++;
    memset(data, tagged->tag, size);
}

static void tagged_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct tagged *tagged = opaque;

    tagged->offset = offset;
    tagged->size = size;
    tagged->writes++;
    tagged->written = 0;
    memcpy(&tagged->written, data, size);
}

static int add(struct machine_bus *bus, enum address_space space, uint64_t base, uint64_t size,
               struct tagged *tagged, struct error *err)
{
    const struct address_range range = {
        .space = space,
        .base = base,
        .size = size,
        .name = "tagged",
        .read = tagged_read,
        .write = tagged_write,
        .opaque = tagged,
    };

    return bus_add(bus, &range, err);
}

static uint64_t read_of(struct machine_bus *bus, uint64_t address, unsigned size)
{
    uint64_t value = 0;

    bus_read(bus, ADDRESS_MMIO, address, &value, size);
    return value;
}

static struct machine_bus bus;

static int set_up(void **state)
{
    (void)state;
    bus_init(&bus);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bus_destroy(&bus);
    return 0;
}

/* --- which range ----------------------------------------------------------------------------- */

static void nothing_reads_as_ones(void **state)
{
    uint64_t value = 0;

    (void)state;
    assert_int_equal(read_of(&bus, 0, 1), 0xff);
    assert_int_equal(read_of(&bus, UINT64_MAX, 1), 0xff);
    assert_true(read_of(&bus, 0x1000, 8) == UINT64_MAX);
    bus_read(&bus, ADDRESS_PIO, 0x3f8, &value, 2); /* and no more than it asked for */
    assert_int_equal(value, 0xffff);
    bus_write(&bus, ADDRESS_MMIO, 0x1000, &value, 8);
    bus_remove(&bus, ADDRESS_MMIO, 0x1000);
}

static void ranges_do_not_overlap(void **state)
{
    static const struct {
        uint64_t base, size;
    } taken[] = {{0x1000, 0x100}, {0x1000, 1},     {0x10ff, 1},    {0xfff, 2},
                 {0x10ff, 2},     {0x800, 0x1000}, {0x1010, 0x10}, {0, UINT64_MAX}};
    struct tagged here = {.tag = 1}, other = {.tag = 2};
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1000, 0x100, &here, &err), 0);
    for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
        assert_int_equal(add(&bus, ADDRESS_MMIO, taken[i].base, taken[i].size, &other, &err),
                         -EEXIST);
    assert_string_equal(err.text, "addresses 0x0+0xffffffffffffffff of tagged are taken by tagged");
    assert_int_equal(read_of(&bus, 0x1010, 1), 1);

    /* Neighbours are no overlap, nor is the other space. */
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0xfff, 1, &other, &err), 0);
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1100, 0x100, &other, &err), 0);
    assert_int_equal(add(&bus, ADDRESS_PIO, 0x1000, 0x100, &other, &err), 0);
    assert_int_equal(read_of(&bus, 0xfff, 1), 2);
    assert_int_equal(read_of(&bus, 0x1000, 1), 1);
    assert_int_equal(read_of(&bus, 0x10ff, 1), 1);
    assert_int_equal(read_of(&bus, 0x1100, 1), 2);
}

static void ranges_have_a_size_and_an_end(void **state)
{
    struct tagged last = {.tag = 3};
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1000, 0, &last, &err), -EINVAL);
    assert_string_equal(err.text, "address range tagged is empty or wraps");
    assert_int_equal(add(&bus, ADDRESS_MMIO, UINT64_MAX, 2, &last, &err), -EINVAL);
    assert_int_equal(add(&bus, ADDRESS_MMIO, 2, UINT64_MAX, &last, &err), -EINVAL);

    assert_int_equal(add(&bus, ADDRESS_MMIO, UINT64_MAX - 3, 4, &last, &err), 0);
    assert_int_equal(read_of(&bus, UINT64_MAX, 1), 3);
    assert_int_equal(last.offset, 3);
    assert_int_equal(read_of(&bus, UINT64_MAX - 3, 4), 0x03030303);
    assert_int_equal(read_of(&bus, UINT64_MAX - 2, 4), 0xffffffff);
    assert_int_equal(read_of(&bus, UINT64_MAX - 4, 1), 0xff);
    assert_int_equal(add(&bus, ADDRESS_MMIO, UINT64_MAX, 1, &last, &err), -EEXIST);
}

static void the_edges_of_a_range(void **state)
{
    struct tagged here = {.tag = 7};
    uint32_t value = 0x11223344;

    (void)state;
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1000, 0x10, &here, NULL), 0);
    assert_int_equal(read_of(&bus, 0x1000, 4), 0x07070707);
    assert_int_equal(here.offset, 0);
    assert_int_equal(here.size, 4);
    assert_int_equal(read_of(&bus, 0x100c, 4), 0x07070707);
    assert_int_equal(here.offset, 0xc);
    assert_int_equal(read_of(&bus, 0x1010, 1), 0xff);
    assert_int_equal(read_of(&bus, 0xfff, 1), 0xff);
    bus_write(&bus, ADDRESS_MMIO, 0x100c, &value, 4);
    assert_int_equal(here.written, 0x11223344);
    assert_int_equal(here.writes, 1);
}

/* What begins or ends outside counts as nothing, even when the rest is in a neighbour. */
static void accesses_across_an_end(void **state)
{
    struct tagged here = {.tag = 1}, next = {.tag = 2}, byte = {.tag = 3};
    uint64_t value = 0;

    (void)state;
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1000, 0x10, &here, NULL), 0);
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1010, 0x10, &next, NULL), 0);
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x2000, 1, &byte, NULL), 0);
    assert_int_equal(read_of(&bus, 0x100e, 4), 0xffffffff);
    assert_int_equal(read_of(&bus, 0xffe, 4), 0xffffffff);
    assert_int_equal(read_of(&bus, 0x101f, 2), 0xffff);
    assert_int_equal(read_of(&bus, 0x2000, 8) == UINT64_MAX, 1);
    bus_write(&bus, ADDRESS_MMIO, 0x100f, &value, 2);
    bus_write(&bus, ADDRESS_MMIO, 0x2000, &value, 2);
    assert_int_equal(here.reads + here.writes, 0);
    assert_int_equal(next.reads + next.writes, 0);
    assert_int_equal(byte.reads + byte.writes, 0);
}

/* Added in no order and removed again, many more than the table begins with. */
static void many_ranges(void **state)
{
    enum { COUNT = 211, STEP = 89 }; /* both prime: every index once */
    static struct tagged tagged[COUNT];

    (void)state;
    for (unsigned i = 0, n = 0; i < COUNT; i++, n = (n + STEP) % COUNT) {
        tagged[n].tag = (uint8_t)n;
        assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1000 * n, 0x800, &tagged[n], NULL), 0);
    }
    for (unsigned n = 0; n < COUNT; n++) {
        assert_int_equal(read_of(&bus, 0x1000 * n, 1), n);
        assert_int_equal(read_of(&bus, 0x1000 * n + 0x7ff, 1), n);
        assert_int_equal(read_of(&bus, 0x1000 * n + 0x800, 1), 0xff);
    }
    bus_remove(&bus, ADDRESS_MMIO, 0x1001); /* a range is named by its base */
    bus_remove(&bus, ADDRESS_PIO, 0x1000);
    for (unsigned n = 0; n < COUNT; n += 2)
        bus_remove(&bus, ADDRESS_MMIO, 0x1000 * n);
    for (unsigned n = 0; n < COUNT; n++)
        assert_int_equal(read_of(&bus, 0x1000 * n, 1), n % 2 ? n : 0xff);
}

/* --- ranges that go away --------------------------------------------------------------------- */

/* A handler that waits in its range until it is let go. */
struct gate {
    sem_t entered, leave;
    atomic_bool left;
};

static void gate_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct gate *gate = opaque;

    (void)offset;
    sem_post(&gate->entered);
    sem_wait(&gate->leave);
    memset(data, 0, size);
    atomic_store(&gate->left, true);
}

static void *read_gate(void *arg)
{
    *(uint64_t *)arg = read_of(&bus, 0x1000, 1);
    return NULL;
}

struct remover {
    struct gate *gate;
    atomic_bool done;
    bool left_before;
};

static void *remove_gate(void *arg)
{
    struct remover *remover = arg;

    bus_remove(&bus, ADDRESS_MMIO, 0x1000);
    remover->left_before = atomic_load(&remover->gate->left);
    atomic_store(&remover->done, true);
    return NULL;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void removing_waits_for_handlers(void **state)
{
    struct gate gate = {0};
    struct address_range range = {
        .base = 0x1000, .size = 4, .name = "gate", .read = gate_read, .opaque = &gate};
    struct remover remover = {.gate = &gate};
    struct tagged other = {.tag = 5};
    uint64_t value = 1;
    pthread_t reader, thread;

    (void)state;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.leave, 0, 0);
    assert_int_equal(bus_add(&bus, &range, NULL), 0);
    pthread_create(&reader, NULL, read_gate, &value);
    sem_wait(&gate.entered);
    pthread_create(&thread, NULL, remove_gate, &remover);

    /* The range is gone at once, and others come and go meanwhile. */
    while (add(&bus, ADDRESS_MMIO, 0x1000, 4, &other, NULL))
        pause_ms(1);
    assert_int_equal(read_of(&bus, 0x1000, 1), 5);
    pause_ms(20);
    assert_false(atomic_load(&remover.done));

    sem_post(&gate.leave);
    pthread_join(thread, NULL);
    pthread_join(reader, NULL);
    assert_true(remover.left_before);
    assert_int_equal(value, 0);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.leave);
}

/* A handler that moves its own range, as a BAR moved through itself does. */
static void write_moves(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct address_range *range = opaque;

    (void)offset, (void)size;
    bus_remove(&bus, range->space, range->base);
    range->base = load_le64(data);
    assert_int_equal(bus_add(&bus, range, NULL), 0);
}

static void read_base(void *opaque, uint64_t offset, void *data, unsigned size)
{
    const struct address_range *range = opaque;

    (void)offset;
    memcpy(data, &range->base, size);
}

static void a_handler_moves_its_own_range(void **state)
{
    struct address_range range = {.base = 0x1000,
                                  .size = 8,
                                  .name = "mover",
                                  .read = read_base,
                                  .write = write_moves,
                                  .opaque = &range};

    (void)state;
    assert_int_equal(bus_add(&bus, &range, NULL), 0);
    for (uint64_t base = 0x2000; base < 0x20000; base += 0x1000) {
        bus_write(&bus, ADDRESS_MMIO, base - 0x1000, &base, 8);
        assert_true(read_of(&bus, base - 0x1000, 8) == UINT64_MAX);
        assert_int_equal(read_of(&bus, base, 8), base);
    }
}

/* The same through a window of another range: an access within an access. */
static void write_through(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    uint64_t *target = opaque;

    (void)offset;
    bus_write(&bus, ADDRESS_MMIO, *target, data, size);
}

static void write_removes(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    (void)opaque, (void)offset, (void)size;
    bus_remove(&bus, ADDRESS_MMIO, load_le64(data));
}

static void a_handler_removes_the_range_that_led_to_it(void **state)
{
    uint64_t target = 0x2000, window = 0x1000;
    struct tagged again = {.tag = 9};
    struct address_range ranges[] = {
        {.base = 0x1000, .size = 8, .name = "window", .write = write_through, .opaque = &target},
        {.base = 0x2000, .size = 8, .name = "remover", .write = write_removes},
    };

    (void)state;
    assert_int_equal(bus_add(&bus, &ranges[0], NULL), 0);
    assert_int_equal(bus_add(&bus, &ranges[1], NULL), 0);
    bus_write(&bus, ADDRESS_MMIO, 0x1000, &window, 8);
    assert_int_equal(add(&bus, ADDRESS_MMIO, 0x1000, 8, &again, NULL), 0);
    assert_int_equal(read_of(&bus, 0x1000, 1), 9);
    /* That thread is out of both handlers again, so it waits as any other. */
    bus_remove(&bus, ADDRESS_MMIO, 0x2000);
    assert_int_equal(read_of(&bus, 0x2000, 1), 0xff);
}

/* --- all at once ----------------------------------------------------------------------------- */

enum { READERS = 3, MOVES = 2000 };

/* Its memory is given back as soon as bus_remove returns. */
struct brief {
    uint64_t *value;
};

static void brief_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    const struct brief *brief = opaque;

    (void)offset;
    memcpy(data, brief->value, size);
}

static atomic_bool stop;
static atomic_uint hits, wrong;

static void *read_all(void *arg)
{
    unsigned n = 0;

    (void)arg;
    while (!atomic_load(&stop)) {
        uint64_t address = 0x1000 + 0x1000 * (uint64_t)(n++ % 4);
        uint64_t value = read_of(&bus, address, 8);

        if (value == address)
            atomic_fetch_add(&hits, 1);
        else if (value != UINT64_MAX)
            atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void ranges_come_and_go_under_readers(void **state)
{
    pthread_t readers[READERS];

    (void)state;
    for (unsigned i = 0; i < READERS; i++)
        pthread_create(&readers[i], NULL, read_all, NULL);
    for (unsigned i = 0; i < MOVES || !atomic_load(&hits); i++) {
        struct brief *brief = malloc(sizeof(*brief));
        struct address_range range = {.base = 0x1000 + 0x1000 * (uint64_t)(i % 4),
                                      .size = 8,
                                      .name = "brief",
                                      .read = brief_read,
                                      .opaque = brief};

        brief->value = malloc(sizeof(*brief->value));
        *brief->value = range.base;
        assert_int_equal(bus_add(&bus, &range, NULL), 0);
        if (i % 64 == 0)
            pause_ms(1);
        bus_remove(&bus, ADDRESS_MMIO, range.base);
        *brief->value = 0xbad;
        free(brief->value);
        free(brief);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_reads_as_ones),
        TEST(ranges_do_not_overlap),
        TEST(ranges_have_a_size_and_an_end),
        TEST(the_edges_of_a_range),
        TEST(accesses_across_an_end),
        TEST(many_ranges),
        TEST(removing_waits_for_handlers),
        TEST(a_handler_moves_its_own_range),
        TEST(a_handler_removes_the_range_that_led_to_it),
        TEST(ranges_come_and_go_under_readers),
    };

    alarm(60); /* lest a deadlock last */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
