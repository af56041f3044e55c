/*
 * The server's side of INFLIGHT_SHMFD: it makes a record, goes on with one that another process
 * left, and refuses one that makes no sense. And memory that the front end takes away.
 */
#include "tests/unit/this_process.h"
#include "tests/unit/vhost_user_server_fixture.h"
#include "virtio/inflight.h"

#include <linux/memfd.h>

#define RECORD_SIZE (QUEUES * 1088) /* 16 + 64 * 16 bytes, a multiple of 64, for each queue */

/* A file of ours as the record. Returns what the server says to it. */
static uint64_t set_record(struct fixture *f, int fd, uint64_t size)
{
    const struct vhost_user_inflight inflight = {
        .mmap_size = size, .queue_count = QUEUES, .queue_size = QUEUE_SIZE};

    return tell_fd(f, VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight), fd);
}

static int make_record(struct inflight_split **record)
{
    int fd = memfd_create("record", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, RECORD_SIZE), 0);
    *record = mmap(NULL, RECORD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(*record, MAP_FAILED);
    return fd;
}

/* Begin, but for the queue. */
static void prepare(struct fixture *f)
{
    ring_init(&f->ring, &f->guest, RING_AT, QUEUE_SIZE, false);
    negotiate(f);
    assert_int_equal(give_memory(f), 0);
}

static struct vhost_user_message get_record(struct fixture *f, uint16_t queues, uint16_t size)
{
    const struct vhost_user_inflight wanted = {.queue_count = queues, .queue_size = size};

    send_message(f, VHOST_USER_GET_INFLIGHT_FD, 0, &wanted, sizeof(wanted), -1);
    return receive(f);
}

/* Fresh, as large as the protocol's layout is, and nobody can shorten it. */
static void makes_a_record(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_message message;
    struct inflight_split first;

    prepare(f);
    message = get_record(f, QUEUES, QUEUE_SIZE);
    assert_int_equal(message.payload.inflight.mmap_size, RECORD_SIZE);
    assert_int_equal(message.payload.inflight.mmap_offset, 0);
    assert_int_equal(message.fd_count, 1);
    assert_int_equal(ftruncate(message.fds[0], 0), -1);
    assert_int_equal(pread(message.fds[0], &first, sizeof(first), 0), sizeof(first));
    assert_int_equal(first.version, 0);
    assert_int_equal(set_record(f, message.fds[0], RECORD_SIZE), 0);
    start_queue(f, 0);
    read_sector(f, 3);
    assert_int_equal(pread(message.fds[0], &first, sizeof(first), 0), sizeof(first));
    assert_int_equal(first.version, INFLIGHT_VERSION);
    assert_int_equal(first.entry_count, QUEUE_SIZE);
    vhost_user_close_fds(&message);
}

static void makes_none(void **state)
{
    struct fixture *f = *state;
    const uint16_t wrong[][2] = {{QUEUES + 1, 64}, {0, 64}, {QUEUES, 0}, {QUEUES, 32769}};

    prepare(f);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct vhost_user_message message = get_record(f, wrong[i][0], wrong[i][1]);

        assert_int_equal(message.payload.inflight.mmap_size, 0);
        assert_int_equal(message.fd_count, 0);
    }
}

static void stop_queue(struct fixture *f)
{
    struct vhost_user_vring_state queue = {.index = 0};
    struct vhost_user_message message;

    send_message(f, VHOST_USER_GET_VRING_BASE, 0, &queue, sizeof(queue), -1);
    assert_int_equal(vhost_user_receive(f->socket, &message, NULL), 1);
    assert_int_equal(message.header.size, sizeof(queue));
}

/* A queue that has stopped, and is stopped again when its record has gone: the next one is refused.
 */
static void record_of_before(void **state)
{
    struct fixture *f = *state;
    struct inflight_split *record;
    int fd = make_record(&record);

    prepare(f);
    assert_int_equal(set_record(f, fd, RECORD_SIZE), 0);
    start_queue(f, 0);
    read_sector(f, 3);
    stop_queue(f);
    assert_int_equal(set_record(f, fd, 0), 1);
    stop_queue(f);
    munmap(record, RECORD_SIZE);
    close(fd);
}

/* A queue that has stopped, and is stopped again when packed rings were agreed on: a record of
 * those would be larger. */
static void record_of_other_features(void **state)
{
    const uint64_t split =
        UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES;
    struct fixture *f = *state;
    struct inflight_split *record;
    int fd = make_record(&record);

    prepare(f);
    assert_int_equal(tell_u64(f, VHOST_USER_SET_FEATURES, split), 0);
    assert_int_equal(set_record(f, fd, RECORD_SIZE / QUEUES), 0);
    start_queue(f, 0);
    read_sector(f, 3);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
    assert_int_equal(
        tell_u64(f, VHOST_USER_SET_FEATURES, split | UINT64_C(1) << VIRTIO_F_RING_PACKED), 0);
    stop_queue(f);
    assert_int_equal(record->version, INFLIGHT_VERSION); /* not written to */
    munmap(record, RECORD_SIZE);
    close(fd);
}

static int setup_packed(void **state)
{
    return setup_as(state, VIRTIO_ID_BLOCK, UINT64_C(1) << VIRTIO_F_RING_PACKED);
}

/* Another process took two requests, finished the second, and died. The first is done, and only it.
 */
static void takes_over(void **state)
{
    struct fixture *f = *state;
    struct inflight_split *record;
    int fd = make_record(&record), first, second;
    struct ring_used used;

    prepare(f);
    first = add_read(f, 0, 1);
    second = add_read(f, 1, 2);
    ring_publish(&f->ring);
    store_le32(f->host + (f->ring.used - GUEST_AT) + 4, (uint32_t)second);
    ring_set_used_idx(&f->ring, 1);
    assert_true(ring_collect(&f->ring, &used));
    *record = (struct inflight_split){.version = INFLIGHT_VERSION,
                                      .entry_count = QUEUE_SIZE,
                                      .last_batch_head = (uint16_t)second};
    record->entries[first] = (struct inflight_split_entry){.inflight = 1, .counter = 1};
    record->entries[second] = (struct inflight_split_entry){.inflight = 1, .counter = 2};
    assert_int_equal(set_record(f, fd, RECORD_SIZE), 0);
    start_queue(f, 1);
    wait_for_used(f, 2);
    assert_true(ring_collect(&f->ring, &used));
    assert_int_equal(used.id, first);
    assert_int_equal(f->host[DATA_AT - GUEST_AT + 4096], 2);
    assert_int_equal(f->host[DATA_AT - GUEST_AT + 16384 + 8192], 0xff); /* not done again */
    wait_fd(f->call);
    read_sector(f, 5);
    munmap(record, RECORD_SIZE);
    close(fd);
}

/* A queue that cannot start says so at the request that would start it. */
static void refused_record(struct fixture *f, const struct inflight_split *wrong, uint16_t used_idx)
{
    struct vhost_user_vring_address address;
    struct inflight_split *record;
    int fd = make_record(&record);
    uint64_t queue = 0;

    prepare(f);
    address = addresses(f);
    ring_set_used_idx(&f->ring, used_idx);
    *record = *wrong;
    assert_int_equal(set_record(f, fd, RECORD_SIZE), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, QUEUE_SIZE), 0);
    assert_int_equal(tell(f, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address)), 0);
    assert_int_equal(tell_fd(f, VHOST_USER_SET_VRING_KICK, &queue, 8, f->kick), 0);
    assert_int_equal(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 1);
    munmap(record, RECORD_SIZE);
    close(fd);
}

static void of_another_version(void **state)
{
    refused_record(*state, &(struct inflight_split){.version = 2, .entry_count = QUEUE_SIZE}, 0);
}

static void of_too_few(void **state)
{
    refused_record(*state, &(struct inflight_split){.version = 1, .entry_count = 32}, 0);
}

static void of_too_many(void **state)
{
    refused_record(*state, &(struct inflight_split){.version = 1, .entry_count = 65}, 0);
}

static void far_from_its_ring(void **state)
{
    refused_record(*state, &(struct inflight_split){.version = 1, .entry_count = QUEUE_SIZE}, 1000);
}

static void list_leaves_it(void **state)
{
    refused_record(*state,
                   &(struct inflight_split){
                       .version = 1, .entry_count = QUEUE_SIZE, .last_batch_head = QUEUE_SIZE},
                   1);
}

static void no_record(void **state)
{
    struct fixture *f = *state;
    struct inflight_split *record;
    int fd = make_record(&record);

    prepare(f);
    assert_int_equal(set_record(f, fd, 0), 1);
    assert_int_equal(set_record(f, fd, RECORD_SIZE + 1), 1); /* beyond the file */
    assert_int_equal(set_record(f, fd, UINT64_MAX), 1);
    assert_int_equal(set_record(f, f->kick, RECORD_SIZE), 1); /* no file */
    munmap(record, RECORD_SIZE);
    close(fd);
}

/* What the front end mapped for us is gone: it is dropped, and nobody dies. */
static void record_taken_away(void **state)
{
    struct fixture *f = *state;
    struct inflight_split *record;
    int fd = make_record(&record);

    prepare(f);
    assert_int_equal(set_record(f, fd, RECORD_SIZE), 0);
    start_queue(f, 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    request_sector(f, 1);
    assert_dropped(f);
    munmap(record, RECORD_SIZE);
    close(fd);
}

/* Huge pages are unmapped and replaced whole, however few bytes of them the record has. */
static void record_in_huge_pages(void **state)
{
    struct fixture *f = *state;
    int fd = memfd_create("huge-record", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

    if (fd < 0)
        skip();
    assert_int_equal(ftruncate(fd, 2 * MIB), 0);
    prepare(f);
    assert_int_equal(set_record(f, fd, RECORD_SIZE), 0);
    assert_true(is_mapped("huge-record"));
    assert_int_equal(set_record(f, fd, 0), 1);
    assert_false(is_mapped("huge-record"));
    assert_int_equal(set_record(f, fd, RECORD_SIZE), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    start_queue(f, 0);
    assert_dropped(f);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(makes_a_record),
        TEST(makes_none),
        TEST(record_of_before),
        TEST(takes_over),
        TEST(of_another_version),
        TEST(of_too_few),
        TEST(of_too_many),
        TEST(far_from_its_ring),
        TEST(list_leaves_it),
        TEST(no_record),
        TEST(record_taken_away),
        TEST(record_in_huge_pages),
        cmocka_unit_test_setup_teardown(record_of_other_features, setup_packed, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
