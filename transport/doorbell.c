#include "transport/doorbell.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int doorbells_init(struct doorbells *bells, struct platform *platform, struct virtio_device *dev,
                   const struct doorbell_kind *kind, struct error *err)
{
    memset(bells, 0, sizeof(*bells));
    bells->platform = platform;
    bells->dev = dev;
    bells->kind = *kind;
    bells->kicks = calloc(dev->queue_count + 1u, sizeof(*bells->kicks));
    bells->armed = calloc(dev->queue_count + 1u, sizeof(*bells->armed));
    if (!bells->kicks || !bells->armed) {
        free(bells->kicks);
        free(bells->armed);
        return error_set(err, ENOMEM, "no memory for the queues of %s", dev->name);
    }
    pthread_mutex_init(&bells->lock, NULL);
    return 0;
}

/* What makes a write to the notification register queue `index`'s. */
struct doorbell_match {
    uint64_t address;
    int64_t value;
};

static struct doorbell_match match_of(const struct doorbells *bells, uint16_t index)
{
    uint32_t stride = bells->kind.stride;

    return (struct doorbell_match){bells->address + (uint64_t)stride * index, stride ? -1 : index};
}

/* Under the lock, as the rest below. */
static void doorbell_arm(struct doorbells *bells, uint16_t index)
{
    struct doorbell_match match = match_of(bells, index);
    struct error err = ERROR_INIT;

    if (bells->platform->ops->ioeventfd_add(bells->platform, bells->kind.space, match.address,
                                            bells->kind.length, match.value,
                                            bells->dev->queues[index].kick_fd, &err) < 0) {
        /* Not fatal: notifications go on through the handler, only slower. */
        log_limited(LOG_WARN, "virtio", "%s: queue %u has no ioeventfd: %s", bells->dev->name,
                    index, err.text);
        return;
    }
    bells->armed[index] = true;
}

static void doorbell_disarm(struct doorbells *bells, uint16_t index)
{
    struct doorbell_match match = match_of(bells, index);

    if (!bells->armed[index])
        return;
    bells->platform->ops->ioeventfd_remove(bells->platform, bells->kind.space, match.address,
                                           bells->kind.length, match.value,
                                           bells->dev->queues[index].kick_fd);
    bells->armed[index] = false;
}

static void doorbells_disarm_all(struct doorbells *bells)
{
    for (uint16_t i = 0; i < bells->dev->queue_count; i++)
        doorbell_disarm(bells, i);
}

void doorbells_place(struct doorbells *bells, uint64_t address)
{
    pthread_mutex_lock(&bells->lock);
    bells->placed = true;
    bells->address = address;
    for (uint16_t i = 0; i < bells->dev->queue_count; i++)
        if (bells->kicks[i] == DOORBELL_KICKS)
            doorbell_arm(bells, i);
    pthread_mutex_unlock(&bells->lock);
}

void doorbells_unplace(struct doorbells *bells)
{
    pthread_mutex_lock(&bells->lock);
    doorbells_disarm_all(bells);
    bells->placed = false;
    pthread_mutex_unlock(&bells->lock);
}

/* An ioeventfd would see it. */
static bool value_foreseeable(struct doorbells *bells)
{
    return bells->kind.stride || !virtio_device_negotiated(bells->dev, VIRTIO_F_NOTIFICATION_DATA);
}

void doorbells_ring(struct doorbells *bells, uint16_t index)
{
    if (index < bells->dev->queue_count && value_foreseeable(bells)) {
        pthread_mutex_lock(&bells->lock);
        if (bells->placed && bells->kicks[index] < DOORBELL_KICKS &&
            ++bells->kicks[index] == DOORBELL_KICKS)
            doorbell_arm(bells, index);
        pthread_mutex_unlock(&bells->lock);
    }
    virtio_device_kick(bells->dev, index);
}

void doorbells_quiet(struct doorbells *bells, uint16_t index)
{
    pthread_mutex_lock(&bells->lock);
    doorbell_disarm(bells, index);
    bells->kicks[index] = 0;
    pthread_mutex_unlock(&bells->lock);
}

void doorbells_reset(struct doorbells *bells)
{
    pthread_mutex_lock(&bells->lock);
    doorbells_disarm_all(bells);
    memset(bells->kicks, 0, bells->dev->queue_count);
    pthread_mutex_unlock(&bells->lock);
}

void doorbells_destroy(struct doorbells *bells)
{
    doorbells_unplace(bells);
    pthread_mutex_destroy(&bells->lock);
    free(bells->kicks);
    free(bells->armed);
}
