/*
 * A disk served by a process that is killed again and again, at any moment, while a driver has many
 * requests in flight: each is done exactly once for the driver, none fails, and what was written is
 * what is read. With a process that keeps no record of what is in flight, we do.
 */
#include "base/bytes.h"
#include "base/unix_socket.h"
#include "devices/blk/blk.h"
#include "tests/driver/back_end_events.h"
#include "tests/driver/packed_ring.h"
#include "transport/vhost_user_server.h"
#include "virtio/vhost_user.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY     (4 * MIB)
#define SLOTS      16 /* requests at a time */
#define SLOT_AT(i) (2 * MIB + (uint64_t)(i)*16 * KIB)
#define DATA       512 /* offsets in a slot's memory: a header, the data, the status */
#define STATUS     8192
#define BLOCK      4096
#define QUEUE_SIZE 64
#define CONFIG     60
#define KILLS      50
#define PATIENCE   20000 /* ms without any progress */

struct slot {
    bool busy, reading;
    uint32_t id;
    uint64_t sequence; /* what the block holds, or is to hold */
};

enum server { SPLIT, PACKED, STORAGE_DAEMON };

struct fixture {
    enum server server;
    bool packed;
    char path[64], image[64];
    int image_fd, kick, done; /* `done`: the end of all killing */
    pid_t killer;
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;
    struct ring ring;
    struct packed_ring packed_ring;
    struct slot slots[SLOTS];
    uint64_t completed;
    struct back_end_events events;
};

/* --- the process, and the one that kills it --------------------------------------------------- */

static struct virtio_features features(bool packed)
{
    struct virtio_features f = {0};

    features_set(&f, VIRTIO_F_VERSION_1, true);
    features_set(&f, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&f, VIRTIO_F_RING_PACKED, packed);
    return f;
}

/* One that nobody here wrote. */
static void serve_storage_daemon(const struct fixture *f)
{
    char disk[128], export[192];

    snprintf(disk, sizeof(disk), "driver=file,node-name=disk,filename=%s", f->image);
    snprintf(export, sizeof(export),
             "type=vhost-user-blk,id=e,node-name=disk,writable=on,addr.type=unix,addr.path=%s",
             f->path);
    execlp("qemu-storage-daemon", "qemu-storage-daemon", "--blockdev", disk, "--export", export,
           NULL);
    _exit(1);
}

static void serve(const struct fixture *f)
{
    struct blk_options options = {0};
    struct guest_memory memory;
    struct virtio_backend *disk;
    struct vhost_user_server *server;
    struct vhost_user_server_config config = {
        .memory = &memory, .queue_count = 1, .name = "disk", .listening = true};

    guest_memory_init(&memory);
    if (asprintf(&options.path, "/proc/self/fd/%d", f->image_fd) < 0 ||
        loop_create(&config.loop, NULL) ||
        virtio_builtin_create(&blk_model, &options, &memory, config.loop, 1, QUEUE_SIZE, &disk,
                              NULL))
        _exit(1);
    config.backend = disk;
    config.offered = features(f->packed);
    config.socket = unix_socket_listen(f->path, NULL);
    if (config.socket < 0 || vhost_user_server_create(&config, &server, NULL))
        _exit(1);
    loop_run(config.loop);
}

/* Serves from a process of its own, KILLS times, and once more until it is killed itself. */
static void kill_and_kill(const struct fixture *f, int done)
{
    const uint64_t one = 1;

    const unsigned start_us = f->server == STORAGE_DAEMON ? 60000 : 2000;

    srand(42);
    for (int i = 0;; i++) {
        pid_t child = fork();

        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (f->server == STORAGE_DAEMON)
                serve_storage_daemon(f);
            serve(f);
        }
        if (i == KILLS) {
            (void)!write(done, &one, sizeof(one));
            waitpid(child, NULL, 0);
            _exit(1); /* nobody killed that one */
        }
        usleep(start_us + (unsigned)rand() % 40000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

static void start_killer(struct fixture *f)
{
    f->killer = fork();
    assert_true(f->killer >= 0);
    if (f->killer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        kill_and_kill(f, f->done);
    }
}

/* --- the device ------------------------------------------------------------------------------- */

/* The process may be dead when we come for the first time. */
static void connect_first(struct fixture *f)
{
    const struct vhost_user_options options = {
        .path = f->path,
        .fd = -1,
        .reconnect_s = 1,
        .queue_count = 1,
        .queue_size = QUEUE_SIZE,
        .config_size = CONFIG,
        .relay = f->server == STORAGE_DAEMON,
    };
    struct error err = ERROR_INIT;

    for (int i = 0; i < 5000; i++) {
        if (vhost_user_create(&options, &f->memory, f->loop, &f->backend, &err) == 0)
            return;
        usleep(1000);
    }
    fail_msg("%s", err.text);
}

static void start(struct fixture *f)
{
    struct virtio_features all;
    struct virtqueue_setup setup = {.size = QUEUE_SIZE};
    struct error err = ERROR_INIT;

    back_end_events_init(&f->events, f->backend);
    f->backend->name = "disk0";
    assert_int_equal(loop_start_thread(f->loop, "front", NULL), 0);
    f->backend->ops->features(f->backend, &all);
    assert_true(features_has(&all, VIRTIO_F_RING_PACKED) == f->packed);
    assert_int_equal(f->backend->ops->set_features(f->backend, &all), 0);
    if (f->packed) {
        packed_ring_init(&f->packed_ring, &f->memory, 0, QUEUE_SIZE, false);
        setup.desc = GPA(f->packed_ring.desc);
        setup.driver = GPA(f->packed_ring.driver_event);
        setup.device = GPA(f->packed_ring.device_event);
    } else {
        ring_init(&f->ring, &f->memory, 0, QUEUE_SIZE, false);
        setup.desc = GPA(f->ring.desc);
        setup.driver = GPA(f->ring.avail);
        setup.device = GPA(f->ring.used);
    }
    if (f->backend->ops->queue_start(f->backend, &setup, virtqueue_position_first(&all), f->kick,
                                     &err))
        fail_msg("%s", err.text);
}

static struct fixture *create(enum server server)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->server = server;
    f->packed = server == PACKED;
    snprintf(f->path, sizeof(f->path), "/tmp/vireo-killed-%d-%d", getpid(), server);
    snprintf(f->image, sizeof(f->image), "/tmp/vireo-killed-%d.img", getpid());
    f->image_fd = server == STORAGE_DAEMON ? open(f->image, O_RDWR | O_CREAT | O_TRUNC, 0600)
                                           : memfd_create("image", 0);
    assert_int_equal(ftruncate(f->image_fd, SLOTS * BLOCK), 0);
    f->kick = eventfd(0, EFD_NONBLOCK);
    f->done = eventfd(0, EFD_NONBLOCK);
    start_killer(f);
    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MEMORY, GUEST_MEMORY_SHARED, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    connect_first(f);
    start(f);
    return f;
}

static void destroy(struct fixture *f)
{
    f->backend->ops->queue_stop(f->backend, 0);
    f->backend->ops->destroy(f->backend);
    loop_join_thread(f->loop);
    loop_destroy(f->loop);
    kill(f->killer, SIGKILL);
    waitpid(f->killer, NULL, 0);
    guest_memory_destroy(&f->memory);
    if (f->packed)
        packed_ring_destroy(&f->packed_ring);
    else
        ring_destroy(&f->ring);
    close(f->image_fd);
    close(f->kick);
    back_end_events_destroy(&f->events);
    close(f->done);
    unlink(f->path);
    unlink(f->image);
    free(f);
}

/* --- the driver ------------------------------------------------------------------------------- */

static uint8_t *memory_of(struct fixture *f, unsigned slot, uint64_t offset)
{
    return guest_memory_map(&f->memory, GPA(SLOT_AT(slot) + offset), 1);
}

/* Each word of a block says what and where it is. */
static uint64_t word_of(unsigned slot, uint64_t sequence, unsigned i)
{
    return sequence << 32 | slot << 16 | i;
}

static void submit(struct fixture *f, unsigned i)
{
    struct slot *slot = &f->slots[i];
    const struct ring_element e[] = {{SLOT_AT(i), 16, false},
                                     {SLOT_AT(i) + DATA, BLOCK, slot->reading},
                                     {SLOT_AT(i) + STATUS, 1, true}};
    enum ring_style style = i % 2 ? RING_TABLE : RING_DIRECT;
    uint8_t *header = memory_of(f, i, 0), *data = memory_of(f, i, DATA);
    int id;

    store_le32(header, slot->reading ? 0 : 1);
    store_le64(header + 8, i * BLOCK / 512);
    for (unsigned w = 0; w < BLOCK / 8; w++)
        store_le64(data + w * 8, slot->reading ? 0 : word_of(i, slot->sequence, w));
    *memory_of(f, i, STATUS) = 0xff;
    id =
        f->packed ? packed_ring_add(&f->packed_ring, e, 3, style) : ring_add(&f->ring, e, 3, style);
    assert_true(id >= 0);
    slot->id = (uint32_t)id;
    slot->busy = true;
    if (f->packed)
        packed_ring_publish(&f->packed_ring);
    else
        ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
}

/* A request is done: its block is read back after it was written, and written anew after that. */
static void complete(struct fixture *f, uint32_t id)
{
    unsigned i = 0;

    while (i < SLOTS && !(f->slots[i].busy && f->slots[i].id == id))
        i++;
    assert_true(i < SLOTS); /* one that is not out is used a second time */
    assert_int_equal(*memory_of(f, i, STATUS), 0);
    for (unsigned w = 0; w < BLOCK / 8 && f->slots[i].reading; w++)
        assert_int_equal(load_le64(memory_of(f, i, DATA) + w * 8),
                         word_of(i, f->slots[i].sequence, w));
    f->slots[i].busy = false;
    f->slots[i].reading = !f->slots[i].reading;
    f->slots[i].sequence += !f->slots[i].reading;
    f->completed++;
}

static bool collect(struct fixture *f, uint32_t *id)
{
    struct packed_used packed;
    struct ring_used used;

    if (f->packed) {
        if (!packed_ring_collect(&f->packed_ring, &packed))
            return false;
        *id = packed.id;
        return true;
    }
    if (!ring_collect(&f->ring, &used))
        return false;
    *id = used.id;
    return true;
}

/* Wait for an interrupt, and complete what is there. */
static void progress(struct fixture *f)
{
    uint32_t id;

    if (!back_end_events_wait(&f->events, PATIENCE))
        fail_msg("no interrupt after %llu requests", (unsigned long long)f->completed);
    while (collect(f, &id))
        complete(f, id);
    assert_int_equal(atomic_load(&f->events.needs_reset), 0);
}

static unsigned busy(const struct fixture *f)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SLOTS; i++)
        count += f->slots[i].busy;
    return count;
}

static void killed_while_busy(enum server server)
{
    struct fixture *f = create(server);
    eventfd_t all;

    while (eventfd_read(f->done, &all) < 0) {
        for (unsigned i = 0; i < SLOTS; i++)
            if (!f->slots[i].busy)
                submit(f, i);
        progress(f);
    }
    while (busy(f))
        progress(f);
    print_message("%llu requests\n", (unsigned long long)f->completed);
    assert_true(f->completed > KILLS);
    destroy(f);
}

static void split(void **state)
{
    (void)state;
    killed_while_busy(SPLIT);
}

static void packed(void **state)
{
    (void)state;
    killed_while_busy(PACKED);
}

static void storage_daemon(void **state)
{
    (void)state;
    if (system("command -v qemu-storage-daemon > /dev/null") != 0)
        skip();
    killed_while_busy(STORAGE_DAEMON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split),
        cmocka_unit_test(packed),
        cmocka_unit_test(storage_daemon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
