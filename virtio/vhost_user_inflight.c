/*
 * The peer's record of buffers in flight (INFLIGHT_SHMFD, virtio/inflight.h). We keep its memory
 * for a peer that comes after this one, and never map it: what we need of it is read from the file,
 * which a peer may shorten at any time. It has to be one in memory (a memfd, or of tmpfs), since
 * others can keep a reader waiting (FUSE).
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void vhost_user_inflight_drop(struct vhost_user *v)
{
    if (v->inflight_fd >= 0)
        close(v->inflight_fd);
    v->inflight_fd = -1;
}

static bool in_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

static int get(struct vhost_user *v, struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_GET_INFLIGHT_FD,
                   .size = sizeof(struct vhost_user_inflight)},
        .payload.inflight = {.queue_count = v->queue_count, .queue_size = v->options.queue_size},
    };
    int ret = vhost_user_ask(v, &message, err);

    if (ret)
        return ret;
    v->inflight = message.payload.inflight;
    v->inflight_fd = vhost_user_take_fd(&message, 0);
    vhost_user_close_fds(&message);
    if (v->inflight.mmap_size == 0) /* it cannot, and goes on without */
        vhost_user_inflight_drop(v);
    if (v->inflight_fd < 0 || in_memory(v->inflight_fd))
        return 0;
    log_limited(LOG_WARN, "vhost-user",
                "%s: its record of requests in flight is not in memory, and not used",
                v->backend.name);
    vhost_user_inflight_drop(v);
    return 0;
}

int vhost_user_inflight_begin(struct vhost_user *v, struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_SET_INFLIGHT_FD,
                   .size = sizeof(struct vhost_user_inflight)},
        .fd_count = 1,
    };
    int ret = 0;

    if (!vhost_user_has(v, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)) {
        vhost_user_inflight_drop(v);
        return 0;
    }
    if (v->inflight_fd < 0)
        ret = get(v, err);
    if (ret || v->inflight_fd < 0)
        return ret;
    message.payload.inflight = v->inflight;
    message.payload.inflight.queue_count = v->queue_count;
    message.payload.inflight.queue_size = v->options.queue_size;
    message.fds[0] = v->inflight_fd;
    return vhost_user_tell(v, &message, err);
}

/* A packed ring has no index that says how far it was used: the record does. */
static int packed_position(const struct vhost_user *v, struct vhost_user_queue *queue,
                           struct error *err)
{
    size_t region = inflight_region_size(true, v->options.queue_size);
    struct inflight_packed head;
    uint16_t used;

    if (pread(v->inflight_fd, &head, sizeof(head),
              (off_t)(v->inflight.mmap_offset + region * queue->index)) != sizeof(head))
        return error_set(err, EIO, "the record of requests in flight is too short");
    if (head.version == 0) /* the queue stands where it was started */
        return 0;
    used = head.used.old_idx | (head.used.old_wrap ? 1 << 15 : 0);
    queue->position = (struct virtqueue_position){used, used};
    return 0;
}

/* How far the driver has made buffers available; device and driver area begin alike. */
static int read_index(const struct vhost_user *v, gpa_t area, uint16_t *out)
{
    const uint16_t *index =
        guest_memory_map(v->backend.memory, GPA(area.value + 2), sizeof(*index));

    if (!index || area.value % sizeof(*index))
        return -EFAULT;
    *out = le16toh(__atomic_load_n(index, __ATOMIC_ACQUIRE));
    return 0;
}

void vhost_user_queue_note_loss(struct vhost_user *v, struct vhost_user_queue *queue)
{
    if (read_index(v, queue->setup.driver, &queue->avail_at_loss))
        queue->avail_at_loss = 0;
}

int vhost_user_queue_catch_up(struct vhost_user *v, struct vhost_user_queue *queue, bool recorded,
                              struct error *err)
{
    bool packed = features_has(&v->negotiated, VIRTIO_F_RING_PACKED);
    uint16_t used;

    if (packed && recorded)
        return packed_position(v, queue, err);
    if (packed)
        return error_set(err, ENOTSUP,
                         "queue %u is packed, and no record was kept of where it stood",
                         queue->index);
    if (read_index(v, queue->setup.device, &used))
        return error_set(err, EFAULT, "queue %u is not in guest memory", queue->index);
    if (!recorded && used != queue->avail_at_loss &&
        !features_has(&v->negotiated, VIRTIO_F_IN_ORDER))
        return error_set(err, ENOTSUP,
                         "requests of queue %u were in flight, and no record was kept of them",
                         queue->index);
    queue->position = (struct virtqueue_position){used, used};
    return 0;
}
