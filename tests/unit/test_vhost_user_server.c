/*
 * The vhost-user server with a real disk behind it: the test is the front end and the driver.
 */
#include "tests/unit/vhost_user_server_fixture.h"

/* --- what a sound front end does --- */

static void data(void **state)
{
    struct fixture *f = *state;

    begin(f);
    for (uint8_t i = 0; i < 5; i++)
        read_sector(f, i);
}

static void numbers(void **state)
{
    struct fixture *f = *state;

    negotiate(f);
    assert_int_equal(ask(f, VHOST_USER_GET_QUEUE_NUM), QUEUES);
    assert_int_equal(ask(f, VHOST_USER_GET_MAX_MEM_SLOTS), GUEST_MEMORY_REGIONS);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 0);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_STATUS, 0xf), 0);
    assert_int_equal(ask(f, VHOST_USER_GET_STATUS), 0xf);
}

static void configuration(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_config config = {.size = 8};
    struct vhost_user_message message;

    negotiate(f);
    send_message(f, VHOST_USER_GET_CONFIG, 0, &config, VHOST_USER_CONFIG_HEADER + 8, -1);
    message = receive(f);
    assert_int_equal(message.header.size, VHOST_USER_CONFIG_HEADER + 8);
    assert_int_equal(load_le64(message.payload.config.bytes), SECTORS);
    config = (struct vhost_user_config){.offset = 250, .size = 8}; /* beyond the end */
    send_message(f, VHOST_USER_GET_CONFIG, 0, &config, VHOST_USER_CONFIG_HEADER + 8, -1);
    assert_int_equal(receive(f).header.size, 0);
}

/* The queue stops at GET_VRING_BASE, says where it stood, and goes on from there. */
static void stop_and_go(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_vring_state queue = {0, 0};

    begin(f);
    read_sector(f, 1);
    read_sector(f, 2);
    send_message(f, VHOST_USER_GET_VRING_BASE, 0, &queue, sizeof(queue), -1);
    assert_int_equal(receive(f).payload.state.num, 2);
    start_queue(f, 2);
    read_sector(f, 3);
}

static void disabled_queue_rests(void **state)
{
    struct fixture *f = *state;

    begin(f);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
    assert_rests(f, 3);
}

/* Memory is replaced while the queue runs. */
static void memory_changes(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(give_memory(f), 0);
    read_sector(f, 2);
}

static void memory_slots(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_single_region one = {.region = {GUEST_AT, MEMORY, USER_AT, 0}};

    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    assert_int_equal(tell_fd(f, VHOST_USER_ADD_MEM_REG, &one, sizeof(one), f->memory_fd), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_ADD_MEM_REG, &one, sizeof(one), f->memory_fd), 1);
    start_queue(f, 0);
    read_sector(f, 7);
    assert_int_equal(tell(f, VHOST_USER_REM_MEM_REG, &one, sizeof(one)), 1); /* it is needed */
    assert_int_equal(tell(f, VHOST_USER_REM_MEM_REG, &one, sizeof(one)), 1); /* and gone */
}

static void reset(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(tell(f, VHOST_USER_RESET_DEVICE, "", 0), 0);
    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    start_queue(f, 0);
    read_sector(f, 2);
}

/* A broken ring is said on the error descriptor and in the status. */
static void broken_ring(void **state)
{
    struct fixture *f = *state;

    begin(f);
    ring_set_avail_idx(&f->ring, 1000);
    eventfd_write(f->kick, 1);
    wait_fd(f->error);
    assert_true(ask(f, VHOST_USER_GET_STATUS) & 64);
}

/* --- what a hostile one does ------------------------------------------------------------------ */

static void refused(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_memory table = {.count = 1};
    struct vhost_user_vring_address address;

    begin(f);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_FEATURES, UINT64_C(1) << 60), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, 40000), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, QUEUES, 8), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0xffffffff, 1), 1);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENDIAN, 0, 1), 1);
    assert_int_equal(tell_state(f, 77, 0, 1), 1);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_VRING_CALL, 0x300), 1);
    table.regions[0] = (struct vhost_user_region){GUEST_AT, 2 * MEMORY, USER_AT, 0};
    assert_int_equal(
        tell_fd(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd),
        1);
    table.regions[0] = (struct vhost_user_region){GUEST_AT, MEMORY, USER_AT, UINT64_MAX - 4095};
    assert_int_equal(
        tell_fd(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd),
        1);
    assert_int_equal(give_memory(f), 0);
    address = addresses(f);
    address.used = 0x1234;
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 1);
    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    start_queue(f, 0);
    read_sector(f, 1); /* and it still works */
}

/* What waits for an answer that has no room for an error is not left waiting. */
static void base_of_no_queue(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_vring_state queue = {QUEUES, 0};

    begin(f);
    send_message(f, VHOST_USER_GET_VRING_BASE, 0, &queue, sizeof(queue), -1);
    assert_dropped(f);
}

/* Where interrupts go, nothing can be written, and whoever tries would wait. */
static void call_that_blocks(void **state)
{
    struct fixture *f = *state;
    uint64_t queue = 0;
    int ends[2];

    begin(f);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], f->host, 4096) > 0)
        ;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_CALL, &queue, 8, ends[1]), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* the file is still its own */
    request_sector(f, 1);
    wait_for_used(f, 1);
    assert_int_equal(ask(f, VHOST_USER_GET_QUEUE_NUM), QUEUES);
    close(ends[0]);
    close(ends[1]);
}

static void fill(int fd)
{
    (void)eventfd_read(fd, &(eventfd_t){0});
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
}

/* Its eventfds are full, and who writes to them waits. */
static void eventfds_that_block(void **state)
{
    struct fixture *f = *state;
    const struct ring_element e = {DATA_AT + 4096, 512, true}; /* breaks the ring */

    begin(f);
    fill(f->call);
    fill(f->error);
    request_sector(f, 1);
    wait_for_used(f, 1);
    assert_true(ring_add(&f->ring, &e, 1, RING_DIRECT) >= 0);
    ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
    usleep(20000);
    fill(f->kick);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
    assert_int_equal(ask(f, VHOST_USER_GET_QUEUE_NUM), QUEUES);
}

static void version(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_header header = {VHOST_USER_GET_FEATURES, 2, 0};

    assert_int_equal(send(f->socket, &header, sizeof(header), 0), sizeof(header));
    assert_dropped(f);
}

static void too_long(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_header header = {VHOST_USER_SET_CONFIG, 1, 1 << 20};

    assert_int_equal(send(f->socket, &header, sizeof(header), 0), sizeof(header));
    assert_dropped(f);
}

static void wrong_size(void **state)
{
    struct fixture *f = *state;

    send_message(f, VHOST_USER_SET_VRING_NUM, 0, "1234", 4, -1);
    assert_dropped(f);
}

static void unexpected_descriptor(void **state)
{
    struct fixture *f = *state;

    send_message(f, VHOST_USER_GET_FEATURES, 0, "", 0, f->kick);
    assert_dropped(f);
}

static void more_regions_than_descriptors(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_memory table = {.count = 8};

    send_message(f, VHOST_USER_SET_MEM_TABLE, 0, &table, sizeof(table), f->memory_fd);
    assert_dropped(f);
}

/* It goes in the middle of a message, with a queue running. */
static void goes_away(void **state)
{
    struct fixture *f = *state;

    begin(f);
    read_sector(f, 1);
    assert_int_equal(send(f->socket, "abc", 3, 0), 3);
    close(f->socket);
    f->socket = -1;
    for (int i = 0; i < 500 && atomic_load(&f->ended) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&f->ended), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data),
        TEST(numbers),
        TEST(configuration),
        TEST(stop_and_go),
        TEST(disabled_queue_rests),
        TEST(memory_changes),
        TEST(memory_slots),
        TEST(reset),
        TEST(broken_ring),
        TEST(refused),
        TEST(base_of_no_queue),
        TEST(call_that_blocks),
        TEST(eventfds_that_block),
        TEST(version),
        TEST(too_long),
        TEST(wrong_size),
        TEST(unexpected_descriptor),
        TEST(more_regions_than_descriptors),
        TEST(goes_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
