#include "tests/driver/backend_rig.h"

#include "base/bytes.h"
#include "base/log.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_STEP  UINT64_C(0x10000)
#define TIMEOUT_MS 10000

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    printf("backend_rig: not so: %s\n", what);
    fflush(stdout);
    abort();
}
#define REQUIRE(condition) require(condition, #condition)

static void on_notify(void *opaque, uint16_t index)
{
    struct backend_rig *rig = opaque;

    (void)index;
    eventfd_write(rig->interrupts, 1);
}

static void on_config_changed(void *opaque)
{
    struct backend_rig *rig = opaque;

    atomic_fetch_add(&rig->config_changes, 1);
    eventfd_write(rig->interrupts, 1);
}

static void on_needs_reset(void *opaque)
{
    struct backend_rig *rig = opaque;

    atomic_store(&rig->needs_reset, true);
    eventfd_write(rig->interrupts, 1);
}

static void log_begin(struct backend_rig *rig)
{
    log_threshold = LOG_INFO;
    rig->saved_stderr = dup(STDERR_FILENO);
    rig->log = memfd_create("log", MFD_CLOEXEC);
    dup2(rig->log, STDERR_FILENO);
}

static void log_end(struct backend_rig *rig)
{
    char text[4096];
    ssize_t length;

    dup2(rig->saved_stderr, STDERR_FILENO);
    close(rig->saved_stderr);
    /* What no test asked about may explain its failure. */
    lseek(rig->log, 0, SEEK_SET);
    while ((length = read(rig->log, text, sizeof(text))) > 0)
        (void)!write(STDERR_FILENO, text, (size_t)length);
    close(rig->log);
}

bool backend_rig_logged(struct backend_rig *rig, const char *text)
{
    char log[16384];
    ssize_t length = pread(rig->log, log, sizeof(log) - 1, 0);

    log[MAX(length, 0)] = '\0';
    (void)!write(rig->saved_stderr, log, strlen(log));
    (void)!ftruncate(rig->log, 0);
    lseek(rig->log, 0, SEEK_SET);
    return strstr(log, text);
}

int backend_rig_init(struct backend_rig *rig, const struct virtio_model *model, const void *options,
                     uint16_t queue_count, struct error *err)
{
    int ret;

    *rig = (struct backend_rig){.queue_count = queue_count};
    guest_memory_init(&rig->memory);
    REQUIRE(guest_memory_add(&rig->memory, 0, BACKEND_RIG_DATA(BACKEND_RIG_QUEUES), 0, NULL) == 0);
    REQUIRE(loop_create(&rig->loop, NULL) == 0);
    ret = virtio_builtin_create(model, options, &rig->memory, rig->loop, queue_count,
                                BACKEND_RIG_QUEUE_SIZE, &rig->backend, err);
    if (ret) {
        loop_destroy(rig->loop);
        guest_memory_destroy(&rig->memory);
        return ret;
    }
    rig->backend->name = "dev0";
    rig->backend->events = (struct virtio_device_events){.notify_queue = on_notify,
                                                         .config_changed = on_config_changed,
                                                         .needs_reset = on_needs_reset,
                                                         .opaque = rig};
    rig->interrupts = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (uint16_t q = 0; q < queue_count; q++)
        rig->kicks[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log_begin(rig);
    REQUIRE(loop_start_thread(rig->loop, "model", NULL) == 0);
    REQUIRE(rig->backend->ops->start(rig->backend, NULL) == 0);
    return 0;
}

void backend_rig_run(struct backend_rig *rig, const unsigned char *bits, size_t count)
{
    struct virtio_features negotiated = {0};
    struct error err = ERROR_INIT;

    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    for (size_t i = 0; i < count; i++)
        features_set(&negotiated, bits[i], true);
    REQUIRE(rig->backend->ops->set_features(rig->backend, &negotiated) == 0);
    for (uint16_t q = 0; q < rig->queue_count; q++) {
        struct ring *ring = &rig->rings[q];

        ring_init(ring, &rig->memory, q * RING_STEP, BACKEND_RIG_QUEUE_SIZE,
                  features_has(&negotiated, VIRTIO_F_EVENT_IDX));
        struct virtqueue_setup setup = {q, BACKEND_RIG_QUEUE_SIZE, GPA(ring->desc),
                                        GPA(ring->avail), GPA(ring->used)};
        if (rig->backend->ops->queue_start(rig->backend, &setup, (struct virtqueue_position){0, 0},
                                           rig->kicks[q], &err) < 0)
            require(false, err.text);
    }
    rig->running = true;
}

void backend_rig_stop(struct backend_rig *rig)
{
    if (!rig->running)
        return;
    rig->running = false;
    for (uint16_t q = 0; q < rig->queue_count; q++) {
        struct virtqueue_position at = rig->backend->ops->queue_stop(rig->backend, q);

        REQUIRE(at.avail == at.used);
        ring_destroy(&rig->rings[q]);
    }
    rig->backend->ops->reset(rig->backend);
    atomic_store(&rig->needs_reset, false);
}

void backend_rig_disown(struct backend_rig *rig)
{
    rig->backend = NULL;
}

void backend_rig_destroy(struct backend_rig *rig)
{
    backend_rig_stop(rig);
    if (rig->backend)
        rig->backend->ops->destroy(rig->backend);
    loop_join_thread(rig->loop);
    loop_destroy(rig->loop);
    guest_memory_destroy(&rig->memory);
    for (uint16_t q = 0; q < rig->queue_count; q++)
        close(rig->kicks[q]);
    close(rig->interrupts);
    log_end(rig);
}

void *backend_rig_host(struct backend_rig *rig, uint64_t address)
{
    return guest_memory_map(&rig->memory, GPA(address), 1);
}

void backend_rig_add(struct backend_rig *rig, uint16_t q, const struct ring_element *elements,
                     unsigned count)
{
    REQUIRE(ring_add(&rig->rings[q], elements, count, count > 1 ? RING_TABLE : RING_DIRECT) >= 0);
}

void backend_rig_add_one(struct backend_rig *rig, uint16_t q, uint64_t address, uint32_t length,
                         bool writable)
{
    const struct ring_element element = {address, length, writable};

    backend_rig_add(rig, q, &element, 1);
}

void backend_rig_kick(struct backend_rig *rig, uint16_t q)
{
    ring_publish(&rig->rings[q]);
    eventfd_write(rig->kicks[q], 1);
}

static void wait_event(struct backend_rig *rig)
{
    struct pollfd p = {.fd = rig->interrupts, .events = POLLIN};
    eventfd_t count;

    if (poll(&p, 1, TIMEOUT_MS) != 1)
        require(false, "the device does something");
    eventfd_read(rig->interrupts, &count);
    REQUIRE(!atomic_load(&rig->needs_reset));
}

struct ring_used backend_rig_collect(struct backend_rig *rig, uint16_t q)
{
    struct ring_used used;

    while (!ring_collect(&rig->rings[q], &used))
        wait_event(rig);
    return used;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Kicks and posted tasks come in one turn of the loop, what they post in the next. */
void backend_rig_settle(struct backend_rig *rig)
{
    for (int i = 0; i < 5; i++) {
        usleep(2000);
        loop_call(rig->loop, nothing, NULL);
    }
}

void backend_rig_assert_none(struct backend_rig *rig, uint16_t q)
{
    struct ring_used used;

    backend_rig_settle(rig);
    REQUIRE(!ring_collect(&rig->rings[q], &used));
}

void backend_rig_wait(atomic_int *value, int wanted)
{
    for (int i = 0; i < TIMEOUT_MS && atomic_load(value) < wanted; i++)
        usleep(1000);
    REQUIRE(atomic_load(value) >= wanted);
}
