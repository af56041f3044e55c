#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 5.1.3, 5.1.4 */
#define NET_F_MTU      3
#define NET_CONFIG_MTU 10

static struct vhost_user *vhost_user_of(struct virtio_backend *backend)
{
    return container_of(backend, struct vhost_user, backend);
}

/* A vCPU waits for a whole phase, with the device's lock held: so a peer may take as long for all
 * of its requests as for any one, however many queues there are. What the driver does between them
 * is not counted. */
static void enter(struct vhost_user *v, enum vhost_user_phase phase)
{
    if (v->phase != phase)
        v->phase_left_ns = VHOST_USER_PATIENCE_NS;
    v->phase = phase;
    v->deadline_ns = loop_now_ns() + v->phase_left_ns;
}

static void leave(struct vhost_user *v)
{
    uint64_t now = loop_now_ns();

    if (v->deadline_ns)
        v->phase_left_ns = now < v->deadline_ns ? v->deadline_ns - now : 0;
    v->deadline_ns = 0;
}

/* Hold the lock between requests and the loop to the end of the scope. */
static struct vhost_user *hold(struct virtio_backend *backend)
{
    struct vhost_user *v = vhost_user_of(backend);

    pthread_mutex_lock(&v->lock);
    return v;
}

/* The same, without waiting for a peer that is just being looked for. */
static struct vhost_user *hold_soon(struct virtio_backend *backend)
{
    struct vhost_user *v = vhost_user_of(backend);

    vhost_user_lock_soon(v);
    return v;
}

static void let_go(struct vhost_user **v)
{
    leave(*v);
    pthread_mutex_unlock(&(*v)->lock);
}

#define HELD __attribute__((cleanup(let_go))) struct vhost_user

/* Where an error has no other way to go. */
static void complain(const struct vhost_user *v, const struct error *err)
{
    log_limited(LOG_WARN, "vhost-user", "%s: %s", v->backend.name, err->text);
}

/* --- features and configuration --- */

static bool stands_in(const struct vhost_user *v)
{
    return v->options.stand_in && !vhost_user_has(v, VHOST_USER_PROTOCOL_F_CONFIG);
}

static void vhost_user_features(struct virtio_backend *backend, struct virtio_features *out)
{
    const struct vhost_user *v = vhost_user_of(backend);

    *out = v->offered; /* constant */
    if (stands_in(v))
        for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
            out->word[i] =
                (out->word[i] | v->stand_in.added.word[i]) & ~v->stand_in.removed.word[i];
}

static int ask_config(struct vhost_user *v, uint32_t offset, uint8_t *data, uint32_t len,
                      struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_GET_CONFIG, .size = VHOST_USER_CONFIG_HEADER + len},
        .payload.config = {.offset = offset, .size = len},
    };
    int ret = vhost_user_ask(v, &message, err);

    if (ret)
        return ret;
    if (message.header.size != VHOST_USER_CONFIG_HEADER + len)
        return error_set(err, EIO, "it does not tell its configuration");
    memcpy(data, message.payload.config.bytes, len);
    return 0;
}

/* A network card's back end may be told which MTU its driver sees. */
static int tell_mtu(struct vhost_user *v, struct error *err)
{
    uint8_t mtu[2];
    int ret;

    if (v->options.id != VIRTIO_ID_NET || !features_has(&v->negotiated, NET_F_MTU) ||
        !vhost_user_has(v, VHOST_USER_PROTOCOL_F_MTU) ||
        !vhost_user_has(v, VHOST_USER_PROTOCOL_F_CONFIG))
        return 0;
    ret = ask_config(v, NET_CONFIG_MTU, mtu, sizeof(mtu), err);
    return ret ? ret : vhost_user_tell_u64(v, VHOST_USER_NET_SET_MTU, load_le16(mtu), err);
}

int vhost_user_settle_features(struct vhost_user *v, struct error *err)
{
    int ret = vhost_user_set_features(v, err);

    if (!ret)
        ret = tell_mtu(v, err);
    return ret ? ret : vhost_user_inflight_begin(v, err);
}

static int vhost_user_backend_set_features(struct virtio_backend *backend,
                                           const struct virtio_features *negotiated)
{
    HELD *v = hold(backend);
    struct error err = ERROR_INIT;
    int ret;

    v->phase = VHOST_USER_IDLE; /* it starts anew */
    enter(v, VHOST_USER_STARTS);
    v->negotiated = *negotiated;
    v->features_settled = true;
    vhost_user_inflight_drop(v); /* what it says is of an earlier driver */
    ret = vhost_user_settle_features(v, &err);
    if (ret && vhost_user_waits(v))
        return 0;
    if (ret)
        complain(v, &err);
    return ret;
}

static void vhost_user_config_read(struct virtio_backend *backend, uint32_t offset, void *data,
                                   uint32_t len)
{
    HELD *v = hold(backend);
    struct error err = ERROR_INIT;
    uint32_t end = v->options.config_size;
    uint32_t there = offset < end ? MIN(len, end - offset) : 0;

    memset(data, 0, len);
    if (stands_in(v))
        memcpy(data, v->stand_in.config + (there ? offset : 0), there);
    if (!there || stands_in(v))
        return;
    if (ask_config(v, offset, data, there, &err) == 0)
        memcpy(v->config + offset, data, there);
    else if (vhost_user_waits(v))
        memcpy(data, v->config + offset, there);
    else
        complain(v, &err);
    if (v->options.front_part)
        v->options.front_part->ops->config_read(v->options.front_part, offset, data, there);
}

static void vhost_user_config_write(struct virtio_backend *backend, uint32_t offset,
                                    const void *data, uint32_t len)
{
    HELD *v = hold(backend);
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_SET_CONFIG, .size = VHOST_USER_CONFIG_HEADER + len},
        .payload.config = {.offset = offset, .size = len},
    };
    struct error err = ERROR_INIT;

    if (stands_in(v) || offset > v->options.config_size || len > v->options.config_size - offset)
        return;
    if (v->options.front_part)
        v->options.front_part->ops->config_write(v->options.front_part, offset, data, len);
    memcpy(message.payload.config.bytes, data, len);
    if (vhost_user_tell(v, &message, &err))
        complain(v, &err);
}

/* --- queues --- */

/* Now, or when there is a peer. */
static int begin_queue(struct virtio_backend *backend, uint16_t index, struct error *err)
{
    HELD *v = hold(backend);
    struct vhost_user_queue *queue = &v->queues[index];
    int ret;

    enter(v, VHOST_USER_STARTS);
    queue->begun = !v->lost;
    ret = vhost_user_queue_begin(v, index, err);
    queue->running = !ret || vhost_user_waits(v);
    return queue->running ? 0 : ret;
}

/* It was not started: nobody will stop it. */
static void abandon_queue(struct virtio_backend *backend, uint16_t index)
{
    struct vhost_user *v = vhost_user_of(backend);

    pthread_mutex_lock(&v->lock);
    v->queues[index].running = false;
    virtio_call_disconnect(&v->queues[index].call);
    pthread_mutex_unlock(&v->lock);
    vhost_user_notifier_stop(&v->queues[index]);
    vhost_user_relay_stop(v, index);
}

static int vhost_user_queue_start(struct virtio_backend *backend,
                                  const struct virtqueue_setup *setup,
                                  struct virtqueue_position position, int kick_fd,
                                  struct error *err)
{
    struct vhost_user_queue *queue = &vhost_user_of(backend)->queues[setup->index];
    int ret;

    queue->setup = *setup;
    queue->position = position;
    queue->kick_fd = kick_fd;
    ret = vhost_user_relay_start(queue->owner, setup->index, err);
    if (!ret)
        ret = begin_queue(backend, setup->index, err);
    if (!ret)
        ret = vhost_user_inband_start(queue, err);
    if (!ret)
        vhost_user_relay_go(queue->owner, setup->index);
    else
        abandon_queue(backend, setup->index);
    return ret;
}

/* A peer that is gone has stopped, too. */
static void end_queue(struct virtio_backend *backend, uint16_t index)
{
    HELD *v = hold_soon(backend);
    struct vhost_user_queue *queue = &v->queues[index];
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_GET_VRING_BASE,
                   .size = sizeof(struct vhost_user_vring_state)},
        .payload.state = {.index = index},
    };
    struct error err = ERROR_INIT;

    enter(v, VHOST_USER_STOPS);
    queue->running = false;
    (void)vhost_user_tell_state(v, VHOST_USER_SET_VRING_ENABLE, index, 0, &err);
    if (vhost_user_ask(v, &message, &err) == 0)
        queue->position = virtqueue_position_of_base(
            message.payload.state.num, features_has(&v->negotiated, VIRTIO_F_RING_PACKED));
    else if (queue->begun)
        (void)vhost_user_queue_catch_up(v, queue, v->inflight_fd >= 0, &err);
    virtio_call_disconnect(&queue->call);
}

static struct virtqueue_position vhost_user_queue_stop(struct virtio_backend *backend,
                                                       uint16_t index)
{
    struct vhost_user *v = vhost_user_of(backend);

    vhost_user_inband_stop(&v->queues[index]);
    vhost_user_notifier_stop(&v->queues[index]);
    end_queue(backend, index);
    vhost_user_relay_stop(v, index);
    return v->queues[index].position;
}

/* --- state --- */

static int vhost_user_save(struct virtio_backend *backend, struct virtio_state *out,
                           struct error *err)
{
    HELD *v = hold(backend);

    return vhost_user_save_state(v, out, err);
}

static int vhost_user_load(struct virtio_backend *backend, const struct virtio_state *state,
                           struct error *err)
{
    HELD *v = hold(backend);

    return vhost_user_load_state(v, state, err);
}

static int vhost_user_dirty_log(struct virtio_backend *backend, struct dirty_log *log,
                                struct error *err)
{
    HELD *v = hold(backend);

    return vhost_user_set_log(v, log, err);
}

/* --- life --- */

static void close_on_loop(void *arg)
{
    vhost_user_reconnect_destroy(vhost_user_of(arg));
    HELD *v = hold(arg);

    loop_task_cancel(v->loop, &v->status_task);
    vhost_user_queues_destroy(v);
    vhost_user_relay_close(v);
    vhost_user_close(v);
    vhost_user_shmem_close(v);
    vhost_user_notifiers_close(v);
}

/* A peer that was lost is looked for: a driver that resets the device wants to use it. */
static void reset_on_loop(void *arg)
{
    vhost_user_reconnect_cancel(vhost_user_of(arg));
    HELD *v = hold(arg);
    struct error err = ERROR_INIT;

    v->given_up = false;
    loop_task_cancel(v->loop, &v->status_task);
    vhost_user_queues_drain(v);
    vhost_user_notifiers_clear(v);
    vhost_user_shmem_clear(v);
    if (!v->lost)
        return;
    vhost_user_close(v);
    if (v->reconnect.enabled)
        vhost_user_reconnect_begin(v);
    else if (vhost_user_connect(v, &err) || vhost_user_watch(v, &err))
        complain(v, &err);
}

/* By the request for it, by the status, or, with a peer that knows neither, by having stopped its
 * queues. */
static void reset_peer(struct virtio_backend *backend)
{
    HELD *v = hold_soon(backend);
    struct vhost_user_message message = {.header = {.request = VHOST_USER_RESET_DEVICE}};
    struct error err = ERROR_INIT;

    enter(v, VHOST_USER_STOPS);
    v->negotiated = (struct virtio_features){0};
    v->features_settled = false;
    v->status = 0;
    vhost_user_inflight_drop(v);
    if (!v->lost && vhost_user_has(v, VHOST_USER_PROTOCOL_F_RESET_DEVICE))
        (void)vhost_user_tell(v, &message, &err);
    else if (!v->lost && vhost_user_has(v, VHOST_USER_PROTOCOL_F_STATUS))
        (void)vhost_user_tell_u64(v, VHOST_USER_SET_STATUS, 0, &err);
    v->phase = VHOST_USER_IDLE;
}

static void vhost_user_reset(struct virtio_backend *backend)
{
    const struct vhost_user *v = vhost_user_of(backend);

    reset_peer(backend);
    if (v->options.front_part)
        v->options.front_part->ops->reset(v->options.front_part);
    loop_call(v->loop, reset_on_loop, backend);
}

static int vhost_user_start(struct virtio_backend *backend, struct error *err)
{
    const struct vhost_user_process *process = vhost_user_of(backend)->options.process;

    return process ? process->start(process->opaque, err) : 0;
}

static int vhost_user_command(struct virtio_backend *backend, const char *name,
                              const char *argument, struct error *err)
{
    const struct vhost_user_process *process = vhost_user_of(backend)->options.process;
    struct vhost_user_front_part *part = vhost_user_of(backend)->options.front_part;
    int ret = part ? part->ops->command(part, name, argument, err) : -ENOENT;

    if (ret != -ENOENT)
        return ret;
    if (!process)
        return error_set(err, ENOENT, "%s takes no commands", backend->name);
    return process->command(process->opaque, name, argument, err);
}

static void vhost_user_destroy(struct virtio_backend *backend)
{
    struct vhost_user *v = vhost_user_of(backend);

    loop_call(v->loop, close_on_loop, backend);
    if (v->options.fd >= 0)
        close(v->options.fd);
    vhost_user_inflight_drop(v);
    pthread_mutex_destroy(&v->lock);
    free(v->path);
    free(v);
}

static const struct virtio_backend_ops vhost_user_ops = {
    .name = "vhost-user",
    .features = vhost_user_features,
    .set_features = vhost_user_backend_set_features,
    .config_read = vhost_user_config_read,
    .config_write = vhost_user_config_write,
    .queue_start = vhost_user_queue_start,
    .queue_stop = vhost_user_queue_stop,
    .start = vhost_user_start,
    .command = vhost_user_command,
    .save = vhost_user_save,
    .load = vhost_user_load,
    .reset = vhost_user_reset,
    .dirty_log = vhost_user_dirty_log,
    .destroy = vhost_user_destroy,
};

static int check_memory(const struct guest_memory *memory, struct error *err)
{
    for (size_t i = 0; i < memory->count; i++)
        if (memory->regions[i].fd < 0)
            return error_set(err, EINVAL,
                             "the guest's memory must be shared with the process that serves it");
    return 0;
}

static int vhost_user_open(struct vhost_user *v, struct error *err)
{
    int ret = vhost_user_queues_create(v, err);

    if (!ret)
        ret = check_memory(v->backend.memory, err);
    if (ret)
        return ret;
    if (v->options.path && !v->path)
        return error_set(err, ENOMEM, "no memory for a vhost-user device");
    ret = vhost_user_notifiers_open(v, err);
    if (!ret)
        ret = vhost_user_reconnect_init(v, err);
    if (ret)
        return ret;
    pthread_mutex_lock(&v->lock);
    ret = vhost_user_connect(v, err);
    if (!ret)
        ret = vhost_user_watch(v, err);
    pthread_mutex_unlock(&v->lock);
    return ret;
}

int vhost_user_create(const struct vhost_user_options *options, const struct guest_memory *memory,
                      struct loop *loop, struct virtio_backend **out, struct error *err)
{
    struct vhost_user *v =
        calloc(1, sizeof(*v) + options->queue_count * sizeof(struct vhost_user_queue));
    int ret;

    if (!v)
        return error_set(err, ENOMEM, "no memory for a vhost-user device");
    v->backend = (struct virtio_backend){
        .ops = &vhost_user_ops,
        .memory = memory,
        .feature_names = options->feature_names,
        .feature_count = options->feature_count,
        .foreign = true,
        .name = "vhost-user",
    };
    v->options = *options;
    v->options.notify_pages &= !options->relay && !options->inband;
    v->path = options->path ? strdup(options->path) : NULL;
    if (options->stand_in)
        v->stand_in = *options->stand_in;
    if (options->front_part)
        options->front_part->backend = &v->backend;
    v->loop = loop;
    v->queue_count = options->queue_count;
    v->socket.fd = v->backend_socket.fd = v->inflight_fd = v->reconnect.listener.fd = -1;
    v->status_task.run = vhost_user_check_status;
    pthread_mutex_init(&v->lock, NULL);
    ret = vhost_user_open(v, err);
    if (ret) {
        vhost_user_destroy(&v->backend);
        return ret;
    }
    *out = &v->backend;
    return 0;
}
