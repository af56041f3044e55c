/*
 * Shared memory of a vhost-user device (SHMEM): regions the peer has, parts of which it fills with
 * mappings of its files while the device runs.
 *
 * A region is a range of addresses without memory. Each mapping is made over a part of it, and its
 * place is without memory again afterwards. The files are the peer's, which can truncate them at
 * any time: so regions are `guarded`, and only transports touch them.
 *
 * Thread: the loop, but for vhost_user_shmem_open, which comes before all else.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE (4 * KIB)

/* Host address space is plenty, and a guest's for BARs is not. */
#define BYTES_MAX (64 * GIB)

/* Each is a mapping of this process, which may have some ten thousand. */
#define MAPPINGS_MAX 1024

struct shmem_mapping {
    const struct virtio_shared_region *region;
    uint64_t offset, length;
};

struct vhost_user_shmem {
    struct shmem_mapping mappings[MAPPINGS_MAX];
    size_t count;
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
    struct virtio_shared_region *region = &v->shared[v->backend.shared_count];

    if (v->backend.shared_count == ARRAY_SIZE(v->shared))
        return error_set(err, ENOTSUP, "it has more than %zu regions of shared memory",
                         ARRAY_SIZE(v->shared));
    if (length % PAGE || length > BYTES_MAX)
        return error_set(err, ENOTSUP, "it has 0x%llx bytes of shared memory",
                         (unsigned long long)length);
    region->memory =
        mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->memory == MAP_FAILED)
        return error_errno(err, errno, "cannot reserve room for shared memory");
    region->id = id;
    region->guarded = true;
    region->length = length;
    v->backend.shared_count++;
    return 0;
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
    for (unsigned id = 0; id < VHOST_USER_SHMEM_MAX && !ret; id++)
        if (config->sizes[id])
            ret = reserve(v, (uint8_t)id, config->sizes[id], err);
    if (ret || !v->backend.shared_count)
        return ret;
    v->shmem = calloc(1, sizeof(*v->shmem));
    return v->shmem ? 0 : error_set(err, ENOMEM, "no memory for a vhost-user device");
}

void vhost_user_shmem_close(struct vhost_user *v)
{
    for (size_t i = 0; i < v->backend.shared_count; i++)
        munmap(v->shared[i].memory, v->shared[i].length);
    free(v->shmem);
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

static void clear(const struct shmem_mapping *mapping)
{
    mmap((char *)mapping->region->memory + mapping->offset, mapping->length, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

int vhost_user_shmem_map(struct vhost_user *v, const struct vhost_user_mapping *wanted, int fd,
                         struct error *err)
{
    const struct virtio_shared_region *region = region_of(v, wanted);
    int rights = wanted->flags & VHOST_USER_MAPPING_WRITABLE ? PROT_READ | PROT_WRITE : PROT_READ;
    struct shmem_mapping mapping = {region, wanted->shm_offset, wanted->length};

    if (!region || wanted->flags & ~(uint64_t)VHOST_USER_MAPPING_WRITABLE)
        return error_set(err, EINVAL, "SHMEM_MAP of what is not in shared memory %u", wanted->id);
    if (!is_free(v, region, wanted))
        return error_set(err, EEXIST, "SHMEM_MAP over another mapping");
    if (v->shmem->count == MAPPINGS_MAX)
        return error_set(err, ENOSPC, "more than %d mappings of shared memory", MAPPINGS_MAX);
    if (mmap((char *)region->memory + wanted->shm_offset, wanted->length, rights,
             MAP_SHARED | MAP_FIXED, fd, (off_t)wanted->fd_offset) == MAP_FAILED) {
        int code = errno;

        clear(&mapping); /* what was there may be gone already */
        return error_errno(err, code, "cannot map shared memory");
    }
    v->shmem->mappings[v->shmem->count++] = mapping;
    return 0;
}

int vhost_user_shmem_unmap(struct vhost_user *v, const struct vhost_user_mapping *wanted,
                           struct error *err)
{
    const struct virtio_shared_region *region = region_of(v, wanted);

    for (size_t i = 0; region && i < v->shmem->count; i++) {
        struct shmem_mapping *mapping = &v->shmem->mappings[i];

        if (mapping->region != region || mapping->offset != wanted->shm_offset ||
            mapping->length != wanted->length)
            continue;
        clear(mapping);
        *mapping = v->shmem->mappings[--v->shmem->count];
        return 0;
    }
    return error_set(err, EINVAL, "SHMEM_UNMAP of what is not mapped");
}

void vhost_user_shmem_clear(struct vhost_user *v)
{
    while (v->shmem && v->shmem->count)
        clear(&v->shmem->mappings[--v->shmem->count]);
}
