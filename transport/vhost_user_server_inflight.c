/*
 * The record of buffers in flight (virtio/inflight.h): memory that we make and the front end keeps,
 * to give it to whoever serves the device after us.
 */
#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "virtio/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int make_file(uint64_t size, struct error *err)
{
    int fd = memfd_create("vhost-user-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return error_errno(err, errno, "cannot make a record of buffers in flight");
    if (ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int ret = error_errno(err, errno, "cannot make a record of buffers in flight");

        close(fd);
        return ret;
    }
    return fd;
}

/* All zeroes: each region is fresh. */
void server_inflight_get(struct vhost_user_server *server, struct vhost_user_message *message)
{
    struct vhost_user_inflight *inflight = &message->payload.inflight;
    struct error err = ERROR_INIT;
    int fd = -1;

    inflight->mmap_size = inflight->mmap_offset = 0;
    message->header.size = sizeof(*inflight);
    if (inflight->queue_size > 0 && inflight->queue_size <= VIRTQUEUE_SIZE_MAX &&
        inflight->queue_count > 0 && inflight->queue_count <= server->config.queue_count) {
        uint64_t size = inflight->queue_count * (uint64_t)inflight_region_size(
                                                    server_is_packed(server), inflight->queue_size);

        fd = make_file(size, &err);
        if (fd >= 0)
            inflight->mmap_size = size;
    }
    if (fd >= 0)
        message->fds[message->fd_count++] = fd;
}

void server_inflight_clear(struct vhost_user_server *server)
{
    struct server_inflight *inflight = &server->inflight;

    for (uint16_t i = 0; i < server->config.queue_count; i++)
        server->records[i] = (struct virtqueue_record){0};
    if (inflight->bytes)
        guarded_map_destroy(&inflight->map);
    *inflight = (struct server_inflight){0};
}

static int map_file(struct vhost_user_server *server, const struct vhost_user_inflight *told,
                    int fd, struct error *err)
{
    uint64_t length = told->mmap_offset + told->mmap_size;
    struct guarded_map map;
    int ret;

    if (told->mmap_size == 0 || length < told->mmap_size || told->queue_size == 0 ||
        told->mmap_offset % INFLIGHT_ALIGNMENT)
        return error_set(err, EINVAL, "a record of buffers in flight that wraps or is empty");
    ret = guarded_map_create(&map, fd, length, server->lost.fd, err);
    if (ret)
        return ret;
    server->inflight = (struct server_inflight){
        .map = map,
        .bytes = (uint8_t *)map.base + told->mmap_offset,
        .size = told->mmap_size,
        .queue_count = told->queue_count,
        .queue_size = told->queue_size,
    };
    return 0;
}

int server_inflight_set(struct vhost_user_server *server, struct vhost_user_message *message,
                        struct error *err)
{
    int fd = vhost_user_take_fd(message, 0), ret;

    server_vrings_stop(server);
    server_inflight_clear(server);
    ret = map_file(server, &message->payload.inflight, fd, err);
    close(fd);
    return ret ? ret : server_vrings_update(server, err);
}

int server_inflight_record(const struct vhost_user_server *server, uint16_t index,
                           struct virtqueue_record *out, struct error *err)
{
    const struct server_inflight *inflight = &server->inflight;
    size_t size = inflight_region_size(server_is_packed(server), inflight->queue_size);

    *out = (struct virtqueue_record){NULL, 0};
    if (!inflight->bytes)
        return 0;
    if (index >= inflight->queue_count || (index + 1) * (uint64_t)size > inflight->size)
        return error_set(err, EINVAL, "no record of buffers in flight for queue %u", index);
    out->region = inflight->bytes + index * size;
    out->entry_count = inflight->queue_size;
    return 0;
}

void server_inflight_settle(struct vhost_user_server *server, uint16_t index)
{
    struct virtqueue_record *record = &server->records[index];

    /* Features may have come since that lay it out in another way. */
    if (record->region && server_inflight_record(server, index, record, NULL) == 0 &&
        !inflight_any(record->region, server_is_packed(server), record->entry_count))
        inflight_set_fresh(record->region);
}
