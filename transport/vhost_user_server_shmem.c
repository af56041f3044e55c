/*
 * Shared memory of the device (SHMEM): what the back end maps, the front end is asked to map, too.
 *
 * The protocol takes back only whole mappings, so that they are remembered here. A reset is the end
 * of all of them without a word: the front end, which may be waiting for that, drops them itself.
 */
#include "transport/vhost_user_server_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define MAPPINGS_MAX 1024 /* as many as our own front end takes */

void server_shmem_config(const struct vhost_user_server *server, struct vhost_user_message *message)
{
    const struct virtio_backend *backend = server->config.backend;
    struct vhost_user_shmem_config *config = &message->payload.shmem_config;

    *config = (struct vhost_user_shmem_config){.count = (uint32_t)backend->shared_count};
    for (size_t i = 0; i < backend->shared_count; i++)
        config->sizes[backend->shared[i].id] = backend->shared[i].length;
    message->header.size = sizeof(*config);
}

static int make_room(struct server_shmem *shmem, struct error *err)
{
    if (!shmem->mappings)
        shmem->mappings = calloc(MAPPINGS_MAX, sizeof(shmem->mappings[0]));
    if (!shmem->mappings)
        return error_set(err, ENOMEM, "no memory for mappings of shared memory");
    if (shmem->count == MAPPINGS_MAX)
        return error_set(err, ENOSPC, "more than %d mappings of shared memory", MAPPINGS_MAX);
    return 0;
}

int server_shmem_map(struct vhost_user_server *server, const struct virtio_shared_mapping *wanted,
                     struct error *err)
{
    struct server_shmem *shmem = &server->shmem;
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_BACKEND_SHMEM_MAP,
                   .size = sizeof(message.payload.mapping)},
        .payload.mapping = {.id = wanted->id,
                            .fd_offset = wanted->fd_offset,
                            .shm_offset = wanted->offset,
                            .length = wanted->length,
                            .flags = wanted->writable ? VHOST_USER_MAPPING_WRITABLE : 0},
        .fds = {wanted->fd},
        .fd_count = 1,
    };
    int ret;

    if (wanted->fd < 0)
        return error_set(err, ENOTSUP, "the front end cannot be shown memory of no file");
    ret = make_room(shmem, err);
    if (!ret)
        ret = server_channel_ask(server, &message, err);
    if (!ret)
        shmem->mappings[shmem->count++] = message.payload.mapping;
    return ret;
}

static void unmap(struct vhost_user_server *server, const struct vhost_user_mapping *mapping)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_BACKEND_SHMEM_UNMAP,
                   .size = sizeof(message.payload.mapping)},
        .payload.mapping = *mapping,
    };
    struct error err = ERROR_INIT;

    message.payload.mapping.fd_offset = message.payload.mapping.flags = 0;
    if (server_channel_ask(server, &message, &err))
        log_limited(LOG_WARN, "vhost-user", "%s: shared memory stays mapped: %s",
                    server->config.name, err.text);
}

void server_shmem_unmap(struct vhost_user_server *server, uint8_t id, uint64_t offset,
                        uint64_t length)
{
    struct server_shmem *shmem = &server->shmem;
    size_t kept = 0;

    for (size_t i = 0; i < shmem->count; i++) {
        const struct vhost_user_mapping *mapping = &shmem->mappings[i];

        if (mapping->id == id && mapping->shm_offset >= offset && mapping->length <= length &&
            mapping->shm_offset - offset <= length - mapping->length)
            unmap(server, mapping);
        else
            shmem->mappings[kept++] = *mapping;
    }
    shmem->count = kept;
}

void server_shmem_forget(struct vhost_user_server *server)
{
    free(server->shmem.mappings);
    server->shmem = (struct server_shmem){0};
}
