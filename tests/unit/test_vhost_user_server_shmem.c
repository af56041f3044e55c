/*
 * Shared memory from a model's file, through the vhost-user server and our own front end, to the
 * guest: a model with a region in one "process", its driver in the other.
 */
#include "base/bytes.h"
#include "tests/driver/fake_platform.h"
#include "transport/shared_memory.h"
#include "transport/vhost_user_server.h"
#include "virtio/builtin.h"
#include "virtio/device.h"
#include "virtio/vhost_user.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TYPE   60
#define REGION 3
#define LENGTH (64 * KIB)
#define PAGE   (4 * KIB)
#define SHOWN  UINT64_C(0x1000000000)
#define MEMORY (1 * MIB)

struct fixture {
    /* The back end. */
    struct loop *served_loop;
    struct guest_memory served;
    struct virtio_backend *model;
    struct vhost_user_server *server;
    int fd;
    uint8_t *memory; /* of `fd` */

    /* The front end. */
    struct loop *loop;
    struct guest_memory guest;
    struct vhost_user_options options;
    struct virtio_device dev;
    struct fake_platform fake;
    struct shared_memory shared;
};

/* --- a model ---------------------------------------------------------------------------------- */

static struct virtio_builtin *builtin;

static int model_create(struct virtio_builtin *b, const void *options, void **out,
                        struct error *err)
{
    (void)options;
    builtin = b;
    *out = b;
    return virtio_builtin_add_shared(b, REGION, LENGTH, err);
}

static void model_destroy(void *model)
{
    (void)model;
}

static void model_features(void *model, struct virtio_features *out)
{
    (void)model, (void)out;
}

static int model_queue_ready(void *model, struct virtqueue *queue)
{
    (void)model, (void)queue;
    return 0;
}

static const struct virtio_model model = {
    .name = "sharing",
    .id = TYPE,
    .create = model_create,
    .destroy = model_destroy,
    .get_features = model_features,
    .queue_ready = model_queue_ready,
};

struct map_call {
    struct virtio_shared_mapping mapping;
    int ret;
};

static void map_on_loop(void *opaque)
{
    struct map_call *call = opaque;

    call->ret = virtio_builtin_shared_map(builtin, &call->mapping, NULL);
}

static void unmap_on_loop(void *opaque)
{
    const struct map_call *call = opaque;

    virtio_builtin_shared_unmap(builtin, call->mapping.id, call->mapping.offset,
                                call->mapping.length);
}

/* `offset` of the region shows the same offset of the file, behind its first page. */
static int map_as(struct fixture *f, uint64_t offset, uint64_t length, int fd, bool writable)
{
    struct map_call call = {.mapping = {.id = REGION,
                                        .offset = offset,
                                        .length = length,
                                        .memory = f->memory + PAGE + offset,
                                        .writable = writable,
                                        .fd = fd,
                                        .fd_offset = PAGE + offset}};

    loop_call(f->served_loop, map_on_loop, &call);
    return call.ret;
}

static int map(struct fixture *f, uint64_t offset, uint64_t length, int fd)
{
    return map_as(f, offset, length, fd, true);
}

static void unmap(struct fixture *f, uint64_t offset, uint64_t length)
{
    struct map_call call = {.mapping = {.id = REGION, .offset = offset, .length = length}};

    loop_call(f->served_loop, unmap_on_loop, &call);
}

/* --- a transport ------------------------------------------------------------------------------ */

static void notify_queue(void *opaque, uint16_t index)
{
    (void)opaque, (void)index;
}

static void notify_config(void *opaque)
{
    (void)opaque;
}

static int shared_map(void *opaque, const struct virtio_shared_mapping *mapping, struct error *err)
{
    return shared_memory_map(&((struct fixture *)opaque)->shared, mapping, err);
}

static void shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    shared_memory_unmap(&((struct fixture *)opaque)->shared, id, offset, length);
}

static const struct virtio_transport_ops transport = {
    .notify_queue = notify_queue,
    .notify_config = notify_config,
    .shared_map = shared_map,
    .shared_unmap = shared_unmap,
};

/* --- the two sides ---------------------------------------------------------------------------- */

static void serve(struct fixture *f, int socket)
{
    struct vhost_user_server_config config = {
        .id = TYPE, .memory = &f->served, .queue_count = 1, .name = "sharing", .socket = socket};

    f->fd = memfd_create("shared", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->fd, PAGE + LENGTH), 0);
    f->memory = mmap(NULL, PAGE + LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    guest_memory_init(&f->served);
    assert_int_equal(loop_create(&f->served_loop, NULL), 0);
    assert_int_equal(
        virtio_builtin_create(&model, NULL, &f->served, f->served_loop, 1, 64, &f->model, NULL), 0);
    features_set(&config.offered, VIRTIO_F_VERSION_1, true);
    config.backend = f->model;
    config.loop = f->served_loop;
    assert_int_equal(vhost_user_server_create(&config, &f->server, NULL), 0);
    assert_int_equal(loop_start_thread(f->served_loop, "server", NULL), 0);
}

static void connect_front(struct fixture *f, int socket)
{
    static const struct virtio_features none;
    struct virtio_backend *backend;

    f->options =
        (struct vhost_user_options){.id = TYPE, .queue_count = 1, .queue_size = 64, .fd = socket};
    fake_platform_init(&f->fake);
    shared_memory_init(&f->shared, &f->fake.platform, &f->dev);
    shared_memory_place(&f->shared, SHOWN);
    guest_memory_init(&f->guest);
    assert_int_equal(guest_memory_add(&f->guest, 0, MEMORY, GUEST_MEMORY_SHARED, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    assert_int_equal(vhost_user_create(&f->options, &f->guest, f->loop, &backend, NULL), 0);
    assert_int_equal(virtio_device_init(&f->dev, TYPE, "dev0", backend, 1, 64, &none, &none, NULL),
                     0);
    virtio_device_attach(&f->dev, &transport, f);
    assert_int_equal(loop_start_thread(f->loop, "front", NULL), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    serve(f, pair[0]);
    connect_front(f, pair[1]);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    virtio_device_destroy(&f->dev);
    loop_join_thread(f->loop);
    loop_destroy(f->loop);
    shared_memory_destroy(&f->shared);
    fake_platform_destroy(&f->fake);
    guest_memory_destroy(&f->guest);
    loop_join_thread(f->served_loop);
    vhost_user_server_destroy(f->server);
    f->model->ops->destroy(f->model);
    loop_destroy(f->served_loop);
    munmap(f->memory, PAGE + LENGTH);
    close(f->fd);
    free(f);
    return 0;
}

static uint8_t *memory_at(struct fixture *f, uint64_t offset)
{
    return fake_memory_at(&f->fake, SHOWN + offset, 4, true);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void reaches_the_guest(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->dev.shared_count, 1);
    assert_int_equal(f->dev.shared[0].id, REGION);
    assert_int_equal(f->dev.shared[0].length, LENGTH);
    assert_null(memory_at(f, PAGE));
    memcpy(f->memory + PAGE + PAGE, "abcd", 4);
    assert_int_equal(map(f, PAGE, 2 * PAGE, f->fd), 0);
    assert_memory_equal(memory_at(f, PAGE), "abcd", 4);
    memcpy(memory_at(f, 2 * PAGE), "efgh", 4);
    assert_memory_equal(f->memory + PAGE + 2 * PAGE, "efgh", 4);
    assert_null(memory_at(f, 0));
    unmap(f, PAGE, 2 * PAGE);
    assert_null(memory_at(f, PAGE));
}

static void read_only(void **state)
{
    struct fixture *f = *state;

    memcpy(f->memory + PAGE, "abcd", 4);
    assert_int_equal(map_as(f, 0, PAGE, f->fd, false), 0);
    assert_memory_equal(fake_memory_at(&f->fake, SHOWN, 4, false), "abcd", 4);
    assert_null(memory_at(f, 0)); /* to write to */
}

static void several_at_once(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < LENGTH; i += PAGE)
        assert_int_equal(map(f, i, PAGE, f->fd), 0);
    assert_int_equal(map(f, 0, PAGE, f->fd), -EINVAL); /* the front end refuses */
    unmap(f, PAGE, 2 * PAGE);
    assert_non_null(memory_at(f, 0));
    assert_null(memory_at(f, PAGE));
    assert_null(memory_at(f, 2 * PAGE));
    assert_non_null(memory_at(f, 3 * PAGE));
    assert_int_equal(map(f, PAGE, PAGE, f->fd), 0);
}

/* Nobody else can map it. */
static void memory_of_no_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0, PAGE, -1), -ENOTSUP);
    assert_null(memory_at(f, 0));
}

/* A reset is the end of what is mapped, on both sides. */
static void reset(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0, PAGE, f->fd), 0);
    virtio_device_set_status(&f->dev, VIRTIO_STATUS_ACKNOWLEDGE);
    virtio_device_set_status(&f->dev, 0);
    assert_null(memory_at(f, 0));
    assert_int_equal(map(f, 0, PAGE, f->fd), 0);
    assert_non_null(memory_at(f, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reaches_the_guest), TEST(read_only), TEST(several_at_once),
        TEST(memory_of_no_file), TEST(reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
