#include "tests/driver/toy_device.h"

#include "base/bytes.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

static struct toy_backend *toy_of(struct virtio_backend *b)
{
    return container_of(b, struct toy_backend, backend);
}

static void toy_features(struct virtio_backend *b, struct virtio_features *out)
{
    (void)b;
    memset(out, 0, sizeof(*out));
    features_set(out, 0, true);
    features_set(out, 5, true);
    features_set(out, 66, true);
}

static int toy_set_features(struct virtio_backend *b, const struct virtio_features *negotiated)
{
    toy_of(b)->negotiated = *negotiated;
    toy_of(b)->feature_sets++;
    return 0;
}

static void toy_config_read(struct virtio_backend *b, uint32_t offset, void *data, uint32_t len)
{
    uint8_t *bytes = data;

    for (uint32_t i = 0; i < len; i++)
        bytes[i] = offset + i < TOY_CONFIG_SIZE ? toy_of(b)->config[offset + i] : 0;
}

static void toy_config_write(struct virtio_backend *b, uint32_t offset, const void *data,
                             uint32_t len)
{
    const uint8_t *bytes = data;

    for (uint32_t i = 0; i < len && offset + i < TOY_CONFIG_SIZE; i++)
        toy_of(b)->config[offset + i] = bytes[i];
}

static int toy_queue_start(struct virtio_backend *b, const struct virtqueue_setup *setup,
                           struct virtqueue_position position, int kick_fd, struct error *err)
{
    (void)position;
    (void)kick_fd;
    (void)err;
    toy_of(b)->setups[setup->index] = *setup;
    toy_of(b)->running[setup->index] = true;
    toy_of(b)->starts++;
    return 0;
}

static struct virtqueue_position toy_queue_stop(struct virtio_backend *b, uint16_t index)
{
    toy_of(b)->running[index] = false;
    toy_of(b)->stops++;
    return (struct virtqueue_position){0};
}

static void toy_reset(struct virtio_backend *b)
{
    toy_of(b)->resets++;
}

static void toy_destroy(struct virtio_backend *b)
{
    free(toy_of(b));
}

static const struct virtio_backend_ops toy_ops = {
    .name = "toy",
    .features = toy_features,
    .set_features = toy_set_features,
    .config_read = toy_config_read,
    .config_write = toy_config_write,
    .queue_start = toy_queue_start,
    .queue_stop = toy_queue_stop,
    .reset = toy_reset,
    .destroy = toy_destroy,
};

int toy_device_init(struct toy_device *toy, uint16_t id, uint16_t queues, struct error *err)
{
    return toy_device_init_with(toy, id, queues, TOY_QUEUE_SIZE, &(struct virtio_features){0}, err);
}

void toy_share_memory(struct toy_device *toy)
{
    toy->shared = (struct virtio_shared_region){.id = TOY_SHARED_ID, .length = TOY_SHARED_SIZE};
    toy->dev.shared = &toy->shared;
    toy->dev.shared_count = 1;
    toy->shared_memory = aligned_alloc(4096, TOY_SHARED_SIZE);
    memset(toy->shared_memory, 0, TOY_SHARED_SIZE);
}

int toy_map(struct toy_device *toy, uint64_t offset, uint64_t length, bool writable,
            struct error *err)
{
    struct virtio_device_events *events = &toy->backend->backend.events;
    const struct virtio_shared_mapping mapping = {.id = TOY_SHARED_ID,
                                                  .offset = offset,
                                                  .length = length,
                                                  .memory = toy->shared_memory + offset,
                                                  .writable = writable,
                                                  .fd = -1};

    return events->shared_map(events->opaque, &mapping, err);
}

void toy_unmap(struct toy_device *toy, uint64_t offset, uint64_t length)
{
    struct virtio_device_events *events = &toy->backend->backend.events;

    events->shared_unmap(events->opaque, TOY_SHARED_ID, offset, length);
}

int toy_notify_page(struct toy_device *toy, uint16_t index, void *page, struct error *err)
{
    struct virtio_device_events *events = &toy->backend->backend.events;

    return events->queue_notify_page(events->opaque, index, page, err);
}

int toy_device_init_with(struct toy_device *toy, uint16_t id, uint16_t queues, uint16_t queue_size,
                         const struct virtio_features *wanted, struct error *err)
{
    static const struct virtio_features none;
    int ret;

    if (queues > TOY_QUEUES_MAX)
        return error_set(err, EINVAL, "a toy has at most %d queues", TOY_QUEUES_MAX);
    memset(toy, 0, sizeof(*toy));
    toy->backend = calloc(1, sizeof(*toy->backend));
    if (!toy->backend)
        return error_set(err, ENOMEM, "no memory for a toy");
    for (unsigned i = 0; i < TOY_CONFIG_SIZE; i++)
        toy->backend->config[i] = (uint8_t)(0xa0 + i);
    guest_memory_init(&toy->memory);
    ret = guest_memory_add(&toy->memory, 0, MIB, 0, err);
    if (ret) {
        free(toy->backend);
        return ret;
    }
    toy->backend->backend.ops = &toy_ops;
    toy->backend->backend.memory = &toy->memory;
    ret = virtio_device_init(&toy->dev, id, "toy", &toy->backend->backend, queues, queue_size,
                             wanted, &none, err);
    if (ret)
        guest_memory_destroy(&toy->memory);
    return ret;
}

void toy_device_destroy(struct toy_device *toy)
{
    virtio_device_destroy(&toy->dev);
    free(toy->shared_memory);
    guest_memory_destroy(&toy->memory);
}

uint64_t toy_take_kicks(struct toy_device *toy, uint16_t index)
{
    struct pollfd poller = {.fd = toy->dev.queues[index].kick_fd, .events = POLLIN};
    eventfd_t kicks = 0;

    if (poll(&poller, 1, 0) == 1)
        (void)eventfd_read(poller.fd, &kicks);
    return kicks;
}

void toy_used(struct toy_device *toy, uint16_t index)
{
    struct virtio_device_events *events = &toy->backend->backend.events;

    events->notify_queue(events->opaque, index);
}

void toy_config_changed(struct toy_device *toy)
{
    struct virtio_device_events *events = &toy->backend->backend.events;

    events->config_changed(events->opaque);
}

void toy_needs_reset(struct toy_device *toy)
{
    struct virtio_device_events *events = &toy->backend->backend.events;

    events->needs_reset(events->opaque);
}
