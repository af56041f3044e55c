/*
 * The vhost-user back end against our own server: a disk served over a socket, driven through the
 * operations that every back end has.
 */
#include "base/bytes.h"
#include "base/unix_socket.h"
#include "devices/blk/blk.h"
#include "guest/dirty_log.h"
#include "tests/driver/back_end_events.h"
#include "tests/driver/ring.h"
#include "transport/vhost_user_server.h"
#include "virtio/device.h"
#include "virtio/vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY     (4 * MIB)
#define DATA_AT    (2 * MIB)
#define QUEUE_SIZE 64
#define QUEUES     2
#define SECTORS    64
#define CONFIG     60

struct fixture {
    /* The other process: */
    struct guest_memory served;
    struct blk_options options;
    struct virtio_backend *disk;
    struct loop *server_loop;
    struct vhost_user_server *server;
    int image_fd;
    bool inband;
    char path[64]; /* where it listens; empty: its end of a connection is handed over */

    /* Ours: */
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;
    struct ring ring;
    int kick;
    struct back_end_events events;
};

/* Returns the front end's end of the connection, -1 when it is to connect. */
static int serve(struct fixture *f)
{
    struct vhost_user_server_config config;
    uint8_t sector[512];
    int pair[2] = {-1, -1};

    f->image_fd = memfd_create("image", 0);
    for (int i = 0; i < SECTORS; i++) {
        memset(sector, i + 1, sizeof(sector));
        assert_int_equal(pwrite(f->image_fd, sector, 512, i * 512), 512);
    }
    guest_memory_init(&f->served);
    assert_true(asprintf(&f->options.path, "/proc/self/fd/%d", f->image_fd) > 0);
    assert_int_equal(loop_create(&f->server_loop, NULL), 0);
    assert_int_equal(virtio_builtin_create(&blk_model, &f->options, &f->served, f->server_loop,
                                           QUEUES, QUEUE_SIZE, &f->disk, NULL),
                     0);
    if (f->path[0])
        pair[1] = unix_socket_listen(f->path, NULL);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_true(pair[1] >= 0);
    config = (struct vhost_user_server_config){
        .backend = f->disk,
        .offered = {.word = {1 << VIRTIO_F_INDIRECT_DESC, 1 << (VIRTIO_F_VERSION_1 - 32)}},
        .memory = &f->served,
        .queue_count = QUEUES,
        .loop = f->server_loop,
        .name = "disk",
        .socket = pair[1],
        .listening = f->path[0],
    };
    assert_int_equal(vhost_user_server_create(&config, &f->server, NULL), 0);
    assert_int_equal(loop_start_thread(f->server_loop, "server", NULL), 0);
    return pair[0];
}

static void stop_serving(struct fixture *f)
{
    if (!f->server)
        return;
    loop_join_thread(f->server_loop);
    vhost_user_server_destroy(f->server);
    f->disk->ops->destroy(f->disk);
    loop_destroy(f->server_loop);
    free(f->options.path);
    close(f->image_fd);
    f->server = NULL;
}

static int create(struct fixture *f, uint16_t queues, unsigned flags, struct error *err)
{
    struct vhost_user_options options = {.path = f->path[0] ? f->path : NULL,
                                         .fd = serve(f),
                                         .id = VIRTIO_ID_BLOCK,
                                         .inband = f->inband,
                                         .queue_count = queues,
                                         .queue_size = QUEUE_SIZE,
                                         .config_size = CONFIG};

    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MEMORY, flags, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    return vhost_user_create(&options, &f->memory, f->loop, &f->backend, err);
}

static int setup_at(void **state, const char *path, bool inband)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    snprintf(f->path, sizeof(f->path), "%s", path);
    f->inband = inband;
    f->kick = eventfd(0, EFD_NONBLOCK);
    if (create(f, QUEUES, GUEST_MEMORY_SHARED, &err))
        fail_msg("%s", err.text);
    f->backend->name = "disk0";
    back_end_events_init(&f->events, f->backend);
    assert_int_equal(loop_start_thread(f->loop, "front", NULL), 0);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_at(state, "", false);
}

static int setup_inband(void **state)
{
    return setup_at(state, "", true);
}

static int setup_listening(void **state)
{
    char path[64];

    snprintf(path, sizeof(path), "/tmp/vireo-vhost-user-%d", getpid());
    return setup_at(state, path, false);
}

static void release(struct fixture *f)
{
    loop_destroy(f->loop);
    guest_memory_destroy(&f->memory);
    stop_serving(f);
    if (f->path[0])
        unlink(f->path);
    close(f->kick);
    back_end_events_destroy(&f->events);
    free(f);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->backend->ops->destroy(f->backend);
    loop_join_thread(f->loop);
    ring_destroy(&f->ring);
    release(f);
    return 0;
}

static void begin(struct fixture *f, struct virtqueue_position position)
{
    struct virtio_features features;
    struct virtqueue_setup queue;

    f->backend->ops->features(f->backend, &features);
    assert_true(features_has(&features, VIRTIO_F_VERSION_1));
    assert_int_equal(f->backend->ops->set_features(f->backend, &features), 0);
    queue = (struct virtqueue_setup){0, QUEUE_SIZE, GPA(f->ring.desc), GPA(f->ring.avail),
                                     GPA(f->ring.used)};
    assert_int_equal(f->backend->ops->queue_start(f->backend, &queue, position, f->kick, NULL), 0);
}

static void begin_anew(struct fixture *f)
{
    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->memory, 0, QUEUE_SIZE, false);
    begin(f, (struct virtqueue_position){0, 0});
}

static void read_sector(struct fixture *f, uint8_t sector)
{
    const struct ring_element e[] = {
        {DATA_AT, 16, false}, {DATA_AT + 4096, 512, true}, {DATA_AT + 8192, 1, true}};
    uint8_t *header = guest_memory_map(&f->memory, GPA(DATA_AT), 16384);
    struct ring_used used;

    memset(header, 0, 16);
    header[8] = sector;
    assert_true(ring_add(&f->ring, e, 3, RING_DIRECT) >= 0);
    ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
    while (!ring_collect(&f->ring, &used)) /* there may be interrupts for nothing */
        assert_true(back_end_events_wait(&f->events, 5000));
    assert_int_equal(header[8192], 0);
    assert_int_equal(header[4096], sector + 1);
}

static void data(void **state)
{
    struct fixture *f = *state;

    begin_anew(f);
    for (uint8_t i = 0; i < 5; i++)
        read_sector(f, i);
}

static void configuration(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[CONFIG + 8];

    memset(bytes, 0xff, sizeof(bytes));
    f->backend->ops->config_read(f->backend, 0, bytes, sizeof(bytes));
    assert_int_equal(load_le64(bytes), SECTORS);
    assert_int_equal(load_le16(bytes + 34), QUEUES);
    assert_int_equal(load_le64(bytes + CONFIG), 0);                     /* beyond the end */
    f->backend->ops->config_write(f->backend, 0, bytes, sizeof(bytes)); /* refused, harmless */
}

static void stop_and_go(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_position position;

    begin_anew(f);
    read_sector(f, 1);
    read_sector(f, 2);
    position = f->backend->ops->queue_stop(f->backend, 0);
    assert_int_equal(position.avail, 2);
    assert_int_equal(position.used, 2);
    begin(f, position);
    read_sector(f, 3);
}

static void reset(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        begin_anew(f);
        read_sector(f, 1);
        f->backend->ops->queue_stop(f->backend, 0);
        f->backend->ops->reset(f->backend);
    }
}

static void wait_for_reset_wanted(struct fixture *f)
{
    for (int i = 0; i < 500 && atomic_load(&f->events.needs_reset) == 0; i++)
        usleep(10000);
    assert_true(atomic_load(&f->events.needs_reset) >
                0); /* by the queue's eventfd, and by the status */
}

/* What one disk saved, it or another one goes on with. */
static void state_of_a_disk(void **state)
{
    struct fixture *f = *state;
    struct virtio_state saved;

    begin_anew(f);
    assert_int_equal(f->backend->ops->save(f->backend, &saved, NULL), -ENOTSUP); /* it runs */
    f->backend->ops->queue_stop(f->backend, 0);
    assert_int_equal(f->backend->ops->save(f->backend, &saved, NULL), 0);
    assert_int_equal(f->backend->ops->load(f->backend, &saved, NULL), 0);
    saved.length--;
    assert_int_equal(f->backend->ops->load(f->backend, &saved, NULL), -EIO);
    free(saved.bytes);
    begin_anew(f);
    read_sector(f, 1);
}

/* The other process dies: the device needs a reset, and every operation is safe. */
static void peer_dies(void **state)
{
    struct fixture *f = *state;
    struct virtio_features features = {0};
    struct virtqueue_position position;
    uint8_t bytes[8];

    begin_anew(f);
    read_sector(f, 1);
    stop_serving(f);
    wait_for_reset_wanted(f);
    f->backend->ops->config_read(f->backend, 0, bytes, sizeof(bytes));
    assert_int_equal(load_le64(bytes), 0);
    position = f->backend->ops->queue_stop(f->backend, 0);
    assert_int_equal(position.avail, 1); /* as far as it was used */
    f->backend->ops->reset(f->backend);
    assert_int_equal(f->backend->ops->set_features(f->backend, &features), -ENOTCONN);
}

/* It finds the ring broken, and says so. */
static void broken_ring(void **state)
{
    struct fixture *f = *state;

    begin_anew(f);
    read_sector(f, 1);
    ring_set_avail_idx(&f->ring, 1000);
    eventfd_write(f->kick, 1);
    wait_for_reset_wanted(f);
    f->backend->ops->queue_stop(f->backend, 0);
    f->backend->ops->reset(f->backend);
    begin_anew(f);
    read_sector(f, 2);
}

static void note_pages(void *opaque, gpa_t start, uint64_t pages)
{
    bool *marked = opaque;

    for (uint64_t i = 0; i < pages; i++)
        marked[start.value / DIRTY_PAGE_SIZE + i] = true;
}

/* The server answers on the thread that serves rings: so it is done with what came before. */
static void wait_for_server(struct fixture *f)
{
    uint8_t byte;

    f->backend->ops->config_read(f->backend, 0, &byte, 1);
}

/* Pages with data and status, and the used ring's: no others. */
static void take_pages(struct fixture *f, struct dirty_log *log)
{
    const uint64_t expected[] = {f->ring.used, DATA_AT + 4096, DATA_AT + 8192};
    bool marked[MEMORY / DIRTY_PAGE_SIZE] = {false};

    wait_for_server(f);
    assert_int_equal(dirty_log_take(log, note_pages, marked), ARRAY_SIZE(expected));
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_true(marked[expected[i] / DIRTY_PAGE_SIZE]);
}

/* The process marks what it writes, whether it is told before it begins or in the middle. */
static void dirty_pages(void **state)
{
    struct fixture *f = *state;
    const struct virtio_backend_ops *ops = f->backend->ops;
    bool marked[MEMORY / DIRTY_PAGE_SIZE];
    struct dirty_log log;

    assert_int_equal(dirty_log_create(&log, &f->memory, NULL), 0);
    begin_anew(f);
    read_sector(f, 1);
    assert_int_equal(ops->dirty_log(f->backend, &log, NULL), 0);
    wait_for_server(f);
    dirty_log_take(&log, note_pages, marked); /* the ring that started anew */
    read_sector(f, 2);
    take_pages(f, &log);
    read_sector(f, 3);
    take_pages(f, &log);
    assert_int_equal(ops->dirty_log(f->backend, NULL, NULL), 0);
    dirty_log_take(&log, note_pages, marked); /* it may have looked at its ring once more */
    read_sector(f, 4);
    wait_for_server(f);
    assert_int_equal(dirty_log_take(&log, note_pages, marked), 0);

    ops->queue_stop(f->backend, 0);
    ops->reset(f->backend);
    assert_int_equal(ops->dirty_log(f->backend, &log, NULL), 0);
    begin_anew(f);
    wait_for_server(f);
    dirty_log_take(&log, note_pages, marked);
    read_sector(f, 5);
    take_pages(f, &log);
    ops->queue_stop(f->backend, 0);
    assert_int_equal(ops->dirty_log(f->backend, NULL, NULL), 0);
    dirty_log_destroy(&log);
}

/* It is away for some resets of the driver, and serves on when it is back. */
static void peer_returns(void **state)
{
    struct fixture *f = *state;
    struct virtio_features features = {0};

    begin_anew(f);
    read_sector(f, 1);
    stop_serving(f);
    wait_for_reset_wanted(f);
    for (int i = 0; i < 2; i++) {
        f->backend->ops->queue_stop(f->backend, 0);
        f->backend->ops->reset(f->backend);
        assert_true(f->backend->ops->set_features(f->backend, &features) < 0);
    }
    serve(f);
    f->backend->ops->reset(f->backend);
    begin_anew(f);
    read_sector(f, 2);
}

static void refused(uint16_t queues, unsigned flags, const char *reason)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    f->kick = f->events.fd = -1;
    assert_true(create(f, queues, flags, &err) < 0);
    assert_string_equal(err.text, reason);
    release(f);
}

static void too_many_queues(void **state)
{
    (void)state;
    refused(QUEUES + 1, GUEST_MEMORY_SHARED, "it serves 2 queues, not 3");
}

static void memory_not_shared(void **state)
{
    (void)state;
    refused(QUEUES, 0, "the guest's memory must be shared with the process that serves it");
    assert_int_not_equal(fcntl(0, F_GETFD), -1); /* what was not opened is not closed */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data),
        TEST(configuration),
        TEST(stop_and_go),
        TEST(reset),
        TEST(state_of_a_disk),
        cmocka_unit_test_setup_teardown(data, setup_inband, teardown),
        cmocka_unit_test_setup_teardown(stop_and_go, setup_inband, teardown),
        cmocka_unit_test_setup_teardown(broken_ring, setup_inband, teardown),
        TEST(peer_dies),
        TEST(broken_ring),
        TEST(dirty_pages),
        cmocka_unit_test_setup_teardown(peer_returns, setup_listening, teardown),
        cmocka_unit_test(too_many_queues),
        cmocka_unit_test(memory_not_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
