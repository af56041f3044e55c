/*
 * Shared memory of a vhost-user device (SHMEM): regions the peer has, parts of which it fills with
 * mappings of its files while the device runs.
 *
 * A region is a range of our addresses without memory. Each mapping is made over a part of it, and
 * shown to the driver there; its place is without memory again afterwards.
 *
 * The files are the peer's, which can truncate them at any time: a virtio-fs server maps files of
 * its users, which have no seals. A guard (base/memory_guard.h) notices at an access of ours, for
 * which there is reason when a file was changed (base/file_watch.h) or when KVM found nothing there
 * (kvm/memory_slot.c). It replaces the whole region, and with it what is memory of the guest, by
 * zeroes, and the device needs a reset.
 *
 * Thread: the loop, but for vhost_user_shmem_open, which comes before all else.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/file_watch.h"
#include "base/log.h"
#include "base/loop_event.h"
#include "base/memory_guard.h"
#include "base/reservation.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE (4 * KIB)

/* Host address space is plenty, and a guest's for BARs is not. */
#define BYTES_MAX (64 * GIB)

/* Each is a mapping of this process, which may have some ten thousand. */
#define MAPPINGS_MAX 1024

struct shmem_mapping {
    const struct virtio_shared_region *region;
    uint64_t offset, length;
    bool writable;
    int watched;      /* the file's name in `watch`; 0: it cannot shrink */
    uint64_t present; /* bytes the file had when it was mapped; there may be more to come */
};

struct vhost_user_shmem {
    struct shmem_mapping mappings[MAPPINGS_MAX];
    size_t count;

    struct vhost_user *owner;
    uint8_t *memory[VHOST_USER_SHMEM_REGIONS]; /* of each region */
    int guards[VHOST_USER_SHMEM_REGIONS];      /* -1: none */
    struct loop_fd lost;                       /* what they signal */
    struct file_watch watch;
};

/* --- regions ---------------------------------------------------------------------------------- */

static int ask_sizes(struct vhost_user *v, struct vhost_user_message *message, struct error *err)
{
    const struct vhost_user_shmem_config *config = &message->payload.shmem_config;
    size_t sent;
    int ret;

    *message = (struct vhost_user_message){.header = {.request = VHOST_USER_GET_SHMEM_CONFIG}};
    ret = vhost_user_ask(v, message, err);
    if (ret)
        return ret;
    /* Some send as many sizes as there are regions, others always all: the rest of ours are 0. */
    sent = (message->header.size - offsetof(struct vhost_user_shmem_config, sizes)) /
           sizeof(config->sizes[0]);
    if (config->count > VHOST_USER_SHMEM_MAX || sent < config->count)
        return error_set(err, EPROTO, "GET_SHMEM_CONFIG of %u regions in %u bytes", config->count,
                         message->header.size);
    return 0;
}

static int reserve(struct vhost_user *v, uint8_t id, uint64_t length, struct error *err)
{
    size_t index = v->backend.shared_count;
    struct vhost_user_shmem *shmem = v->shmem;

    if (index == ARRAY_SIZE(v->shared))
        return error_set(err, ENOTSUP, "it has more than %zu regions of shared memory",
                         ARRAY_SIZE(v->shared));
    if (length % PAGE || length > BYTES_MAX)
        return error_set(err, ENOTSUP, "it has 0x%llx bytes of shared memory",
                         (unsigned long long)length);
    shmem->memory[index] = reservation_make(0, length);
    if (!shmem->memory[index])
        return error_errno(err, errno, "cannot reserve room for shared memory");
    v->shared[index] = (struct virtio_shared_region){.id = id, .length = length};
    v->backend.shared_count++;
    shmem->guards[index] = memory_guard_add(shmem->memory[index], length, shmem->lost.fd, err);
    return MIN(shmem->guards[index], 0);
}

/* A file lost what was mapped of it, and somebody looked. */
static void memory_lost(struct loop_fd *self, uint32_t events)
{
    struct vhost_user *v = container_of(self, struct vhost_user_shmem, lost)->owner;

    (void)events;
    if (!loop_event_take(self->fd))
        return;
    log_limited(LOG_WARN, "vhost-user", "%s: a file in its shared memory was truncated",
                v->backend.name);
    v->backend.events.needs_reset(v->backend.events.opaque);
}

static uint8_t *memory_of(const struct vhost_user *v, const struct shmem_mapping *mapping)
{
    return v->shmem->memory[mapping->region - v->shared] + mapping->offset;
}

/* A file that was made shorter lost its end: looking there has the guard notice. */
static void file_changed(struct file_watch *watch)
{
    const struct vhost_user_shmem *shmem = container_of(watch, struct vhost_user_shmem, watch);

    for (size_t i = 0; i < shmem->count; i++) {
        const struct shmem_mapping *mapping = &shmem->mappings[i];
        const volatile uint8_t *memory = memory_of(shmem->owner, mapping);

        if (mapping->watched && mapping->present)
            (void)memory[mapping->present - 1];
    }
}

static int create(struct vhost_user *v, struct error *err)
{
    struct vhost_user_shmem *shmem = calloc(1, sizeof(*shmem));
    int ret;

    if (!shmem)
        return error_set(err, ENOMEM, "no memory for a vhost-user device");
    shmem->owner = v;
    for (size_t i = 0; i < ARRAY_SIZE(shmem->guards); i++)
        shmem->guards[i] = -1;
    shmem->watch.inotify.fd = -1;
    v->shmem = shmem;
    ret = loop_event_open(v->loop, &shmem->lost, memory_lost, err);
    return ret ? ret : file_watch_open(v->loop, &shmem->watch, file_changed, err);
}

/* Of a peer that is there again: the driver has seen the regions. */
static int compare(const struct vhost_user *v, const struct vhost_user_shmem_config *config,
                   struct error *err)
{
    uint64_t before[VHOST_USER_SHMEM_MAX] = {0};

    for (size_t i = 0; i < v->backend.shared_count; i++)
        before[v->shared[i].id] = v->shared[i].length;
    if (memcmp(before, config->sizes, sizeof(before)) != 0)
        return error_set(err, ENOTSUP, "it has other shared memory than before");
    return 0;
}

static bool has_shmem(const struct vhost_user *v)
{
    return vhost_user_has(v, VHOST_USER_PROTOCOL_F_SHMEM);
}

int vhost_user_shmem_open(struct vhost_user *v, struct error *err)
{
    struct vhost_user_message message = {0};
    const struct vhost_user_shmem_config *config = &message.payload.shmem_config;
    int ret = has_shmem(v) ? ask_sizes(v, &message, err) : 0;

    if (ret)
        return ret;
    if (v->connected_before)
        return compare(v, config, err);
    v->backend.shared = v->shared;
    for (unsigned id = 0; id < VHOST_USER_SHMEM_MAX && !ret; id++) {
        if (!config->sizes[id])
            continue;
        ret = v->shmem ? 0 : create(v, err);
        if (!ret)
            ret = reserve(v, (uint8_t)id, config->sizes[id], err);
    }
    return ret;
}

void vhost_user_shmem_close(struct vhost_user *v)
{
    if (!v->shmem)
        return;
    for (size_t i = 0; i < v->backend.shared_count; i++) {
        if (v->shmem->guards[i] >= 0)
            memory_guard_remove(v->shmem->guards[i]);
        munmap(v->shmem->memory[i], v->shared[i].length);
    }
    file_watch_close(v->loop, &v->shmem->watch);
    loop_fd_close(v->loop, &v->shmem->lost);
    free(v->shmem);
    v->shmem = NULL;
}

/* --- mappings --------------------------------------------------------------------------------- */

static const struct virtio_shared_region *region_of(const struct vhost_user *v,
                                                    const struct vhost_user_mapping *wanted)
{
    for (size_t i = 0; i < v->backend.shared_count; i++) {
        const struct virtio_shared_region *region = &v->shared[i];

        if (region->id == wanted->id && wanted->length && wanted->length <= region->length &&
            wanted->shm_offset <= region->length - wanted->length &&
            (wanted->shm_offset | wanted->length | wanted->fd_offset) % PAGE == 0)
            return region;
    }
    return NULL;
}

static bool is_free(const struct vhost_user *v, const struct virtio_shared_region *region,
                    const struct vhost_user_mapping *wanted)
{
    for (size_t i = 0; i < v->shmem->count; i++) {
        const struct shmem_mapping *mapping = &v->shmem->mappings[i];

        if (mapping->region == region && wanted->shm_offset < mapping->offset + mapping->length &&
            mapping->offset < wanted->shm_offset + wanted->length)
            return false;
    }
    return true;
}

static int show(struct vhost_user *v, const struct shmem_mapping *mapping, struct error *err)
{
    const struct virtio_device_events *device = &v->backend.events;
    const struct virtio_shared_mapping shown = {
        .id = mapping->region->id,
        .offset = mapping->offset,
        .length = mapping->length,
        .memory = memory_of(v, mapping),
        .writable = mapping->writable,
        .fd = -1,
    };

    if (!device->shared_map)
        return error_set(err, ENOTSUP, "SHMEM_MAP before there is a driver");
    return device->shared_map(device->opaque, &shown, err);
}

/* The driver's accesses are over before the memory goes. */
static void hide(struct vhost_user *v, const struct virtio_shared_region *region, uint64_t offset,
                 uint64_t length)
{
    const struct virtio_device_events *device = &v->backend.events;

    if (device->shared_unmap)
        device->shared_unmap(device->opaque, region->id, offset, length);
    reservation_clear(v->shmem->memory[region - v->shared] + offset, length);
}

/* Its file, unless another mapping is of the same. */
static void forget_file(struct vhost_user *v, int watched)
{
    for (size_t i = 0; i < v->shmem->count; i++)
        if (v->shmem->mappings[i].watched == watched)
            return;
    file_watch_remove(&v->shmem->watch, watched);
}

/* A server of files may map more than there is of one. */
static uint64_t present_of(int fd, uint64_t offset, uint64_t length)
{
    struct stat status;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return length;
    return (uint64_t)status.st_size > offset ? MIN(length, (uint64_t)status.st_size - offset) : 0;
}

/* All that the driver needs to see it. */
static int establish(struct vhost_user *v, struct shmem_mapping *mapping, int fd,
                     uint64_t fd_offset, struct error *err)
{
    const struct vhost_user_file file = {"SHMEM_MAP", fd, fd_offset, mapping->length,
                                         mapping->writable};
    int ret = vhost_user_file_map(&file, memory_of(v, mapping), err);

    if (ret)
        return ret;
    ret = mapping->watched = file_watch_add(&v->shmem->watch, fd, err);
    mapping->present = present_of(fd, fd_offset, mapping->length);
    if (ret >= 0)
        ret = show(v, mapping, err);
    if (!ret)
        return 0;
    reservation_clear(memory_of(v, mapping), mapping->length);
    if (mapping->watched > 0)
        forget_file(v, mapping->watched);
    return ret;
}

int vhost_user_shmem_map(struct vhost_user *v, const struct vhost_user_mapping *wanted, int fd,
                         struct error *err)
{
    struct shmem_mapping mapping = {region_of(v, wanted),
                                    wanted->shm_offset,
                                    wanted->length,
                                    wanted->flags & VHOST_USER_MAPPING_WRITABLE,
                                    0,
                                    0};
    int ret;

    if (!mapping.region || wanted->flags & ~(uint64_t)VHOST_USER_MAPPING_WRITABLE)
        return error_set(err, EINVAL, "SHMEM_MAP of what is not in shared memory %u", wanted->id);
    if (!is_free(v, mapping.region, wanted))
        return error_set(err, EEXIST, "SHMEM_MAP over another mapping");
    if (v->shmem->count == MAPPINGS_MAX)
        return error_set(err, ENOSPC, "more than %d mappings of shared memory", MAPPINGS_MAX);
    ret = establish(v, &mapping, fd, wanted->fd_offset, err);
    if (!ret)
        v->shmem->mappings[v->shmem->count++] = mapping;
    return ret;
}

int vhost_user_shmem_unmap(struct vhost_user *v, const struct vhost_user_mapping *wanted,
                           struct error *err)
{
    const struct virtio_shared_region *region = region_of(v, wanted);
    int watched;

    for (size_t i = 0; region && i < v->shmem->count; i++) {
        struct shmem_mapping *mapping = &v->shmem->mappings[i];

        if (mapping->region != region || mapping->offset != wanted->shm_offset ||
            mapping->length != wanted->length)
            continue;
        hide(v, region, mapping->offset, mapping->length);
        watched = mapping->watched;
        *mapping = v->shmem->mappings[--v->shmem->count];
        if (watched)
            forget_file(v, watched);
        return 0;
    }
    return error_set(err, EINVAL, "SHMEM_UNMAP of what is not mapped");
}

void vhost_user_shmem_clear(struct vhost_user *v)
{
    if (!v->shmem)
        return;
    while (v->shmem->count) {
        int watched = v->shmem->mappings[--v->shmem->count].watched;

        if (watched)
            forget_file(v, watched);
    }
    for (size_t i = 0; i < v->backend.shared_count; i++)
        hide(v, &v->shared[i], 0, v->shared[i].length);
}
