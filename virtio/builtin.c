#include "virtio/builtin.h"

#include "base/bytes.h"
#include "base/event_signal.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* A queue gets this many buffers handled before the others of its loop get their turn... */
#define TURN_BUFFERS 256
/* ...and is asked this often whether there is more, which saves going back to the loop. */
#define TURN_ROUNDS 4

struct builtin_queue {
    struct virtio_builtin *owner;
    struct virtqueue ring;
    struct virtqueue_setup setup;
    struct loop_fd kick; /* the driver's notifications */
    bool listening;      /* `kick` is on the loop */
    bool lent;           /* the deputy serves it */
    bool broken;         /* and reported */
};

struct virtio_builtin {
    struct virtio_backend backend;
    const struct virtio_model *model;
    void *state;                   /* the model's */
    struct virtio_backend *deputy; /* or NULL */
    struct loop *loop;
    struct virtio_features negotiated;
    struct dirty_log *log; /* of what is written to guest memory, or NULL */
    uint16_t queue_count, queue_size;
    struct builtin_queue queues[];
};

static struct virtio_builtin *builtin_of(struct virtio_backend *backend)
{
    return container_of(backend, struct virtio_builtin, backend);
}

/* --- on the loop: serving queues ------------------------------------------------------------- */

static void queue_stop_listening(struct builtin_queue *queue)
{
    if (queue->listening)
        loop_fd_remove(queue->owner->loop, &queue->kick);
    queue->listening = false;
}

static void queue_broken(struct builtin_queue *queue, int reason)
{
    const struct virtqueue_rule *rule = &queue->ring.broken;
    struct virtio_builtin *b = queue->owner;

    if (queue->broken)
        return;
    queue->broken = true;
    queue_stop_listening(queue);
    if (rule->id)
        log_limited(LOG_WARN, "virtio", "%s: queue %u is broken: %s: %s", b->backend.name,
                    queue->ring.index, rule->id, rule->what);
    else
        log_limited(LOG_WARN, "virtio", "%s: queue %u cannot go on: %s", b->backend.name,
                    queue->ring.index, strerror(-reason));
    b->backend.events.needs_reset(b->backend.events.opaque);
}

static void queue_log_bent(struct builtin_queue *queue)
{
    struct virtqueue_rule *rule = &queue->ring.bent;

    if (!rule->id)
        return;
    log_limited(LOG_INFO, "virtio", "%s: queue %u: %s: %s", queue->owner->backend.name,
                queue->ring.index, rule->id, rule->what);
    *rule = (struct virtqueue_rule){0};
}

/* Let the model work through the queue; true when there is more to do. */
static bool queue_serve(struct builtin_queue *queue)
{
    struct virtio_builtin *b = queue->owner;
    struct virtqueue *ring = &queue->ring;
    bool more;
    int ret;

    virtqueue_disable_kicks(ring);
    ret = b->model->queue_ready(b->state, ring);
    virtqueue_publish(ring);
    queue_log_bent(queue);
    if (ret < 0) {
        queue_broken(queue, ret);
        return false;
    }
    more = ret != VIRTIO_QUEUE_QUIET && virtqueue_enable_kicks(ring);
    return more || virtqueue_budget_spent(ring);
}

static void queue_kicked(struct loop_fd *kick, uint32_t events)
{
    struct builtin_queue *queue = container_of(kick, struct builtin_queue, kick);
    bool more = true;

    (void)events;
    virtqueue_set_budget(&queue->ring, TURN_BUFFERS);
    for (int i = 0; i < TURN_ROUNDS && more && !virtqueue_budget_spent(&queue->ring); i++)
        more = queue_serve(queue);
    virtqueue_set_budget(&queue->ring, UINT64_MAX); /* the model may pop outside of turns, too */
    if (more)
        event_signal(kick->fd);
}

/* --- calls of the device: carried out on the loop -------------------------------------------- */

struct start_call {
    struct virtio_builtin *builtin;
    const struct virtqueue_setup *setup;
    struct virtqueue_position position;
    int kick_fd;
    struct error *err;
    int ret;
};

static void start_lent(struct start_call *call, struct builtin_queue *queue)
{
    struct virtio_backend *deputy = call->builtin->deputy;

    call->ret =
        deputy->ops->queue_start(deputy, call->setup, call->position, call->kick_fd, call->err);
    queue->lent = call->ret == 0;
}

static void start_on_loop(void *arg)
{
    struct start_call *call = arg;
    struct virtio_builtin *b = call->builtin;
    struct builtin_queue *queue = &b->queues[call->setup->index];

    queue->setup = *call->setup;
    if (b->deputy && b->model->queue_lent(b->state, call->setup->index)) {
        start_lent(call, queue);
        return;
    }
    queue->ring.log = b->log;
    call->ret = virtqueue_start(&queue->ring, b->backend.memory, call->setup, &b->negotiated,
                                call->position, call->err);
    if (call->ret)
        return;
    /* By its edge: so it need not be read, which is one system call in four for a small disk
     * request. Its counter has room for a kick each nanosecond for centuries. */
    queue->kick = (struct loop_fd){call->kick_fd, EPOLLIN | EPOLLET, queue_kicked};
    call->ret = loop_fd_add(b->loop, &queue->kick, call->err);
    if (call->ret) {
        virtqueue_stop(&queue->ring);
        return;
    }
    queue->listening = true;
    queue->broken = false;
}

/* For models that decide themselves when the driver is interrupted. */
static void notify_model(void *opaque, uint16_t index)
{
    struct virtio_builtin *b = opaque;

    b->model->queue_notify(b->state, &b->queues[index].ring);
}

static int builtin_queue_start(struct virtio_backend *backend, const struct virtqueue_setup *setup,
                               struct virtqueue_position position, int kick_fd, struct error *err)
{
    struct start_call call = {builtin_of(backend), setup, position, kick_fd, err, 0};
    struct virtqueue *ring = &call.builtin->queues[setup->index].ring;

    ring->record =
        backend->records ? backend->records[setup->index] : (struct virtqueue_record){NULL, 0};
    /* Straight to the device: one call less for each interrupt. */
    ring->notify = backend->events.notify_queue;
    ring->notify_opaque = backend->events.opaque;
    if (call.builtin->model->queue_notify) {
        ring->notify = notify_model;
        ring->notify_opaque = call.builtin;
    }
    loop_call(call.builtin->loop, start_on_loop, &call);
    return call.ret;
}

struct stop_call {
    struct builtin_queue *queue;
    struct virtqueue_position position;
};

static void stop_on_loop(void *arg)
{
    struct stop_call *call = arg;
    struct builtin_queue *queue = call->queue;
    struct virtio_builtin *b = queue->owner;

    if (queue->lent) {
        call->position = b->deputy->ops->queue_stop(b->deputy, (uint16_t)(queue - b->queues));
        queue->lent = false;
        return;
    }
    queue_stop_listening(queue);
    if (b->model->queue_drain)
        b->model->queue_drain(b->state, &queue->ring);
    virtqueue_publish(&queue->ring);
    call->position = virtqueue_stop(&queue->ring);
}

static struct virtqueue_position builtin_queue_stop(struct virtio_backend *backend, uint16_t index)
{
    struct virtio_builtin *b = builtin_of(backend);
    struct stop_call call = {.queue = &b->queues[index]};

    loop_call(b->loop, stop_on_loop, &call);
    return call.position;
}

struct features_call {
    struct virtio_builtin *builtin;
    int ret;
};

static void set_features_on_loop(void *arg)
{
    struct features_call *call = arg;
    struct virtio_builtin *b = call->builtin;

    if (b->model->set_features)
        b->model->set_features(b->state, &b->negotiated);
    if (!b->deputy)
        return;
    /* Known from virtio_device_init on, and not needed before. */
    b->deputy->name = b->backend.name;
    b->deputy->events = b->backend.events;
    call->ret = b->deputy->ops->set_features(b->deputy, &b->negotiated);
}

static int builtin_set_features(struct virtio_backend *backend,
                                const struct virtio_features *negotiated)
{
    struct features_call call = {.builtin = builtin_of(backend)};

    /* No queue runs: the loop does not look at it. */
    call.builtin->negotiated = *negotiated;
    loop_call(call.builtin->loop, set_features_on_loop, &call);
    return call.ret;
}

struct model_start_call {
    struct virtio_builtin *builtin;
    struct error *err;
    int ret;
};

static void model_start_on_loop(void *arg)
{
    struct model_start_call *call = arg;

    call->ret = call->builtin->model->start(call->builtin->state, call->err);
}

static int builtin_start(struct virtio_backend *backend, struct error *err)
{
    struct model_start_call call = {.builtin = builtin_of(backend), .err = err};

    if (call.builtin->model->start)
        loop_call(call.builtin->loop, model_start_on_loop, &call);
    return call.ret;
}

struct command_call {
    struct virtio_builtin *builtin;
    const struct virtio_command *command;
    const char *argument;
    struct error *err;
    int ret;
};

static void command_on_loop(void *arg)
{
    struct command_call *call = arg;

    call->ret = call->command->run(call->builtin->state, call->argument, call->err);
}

static int builtin_command(struct virtio_backend *backend, const char *name, const char *argument,
                           struct error *err)
{
    struct command_call call = {.builtin = builtin_of(backend), .argument = argument, .err = err};
    const struct virtio_model *model = call.builtin->model;

    for (size_t i = 0; i < model->command_count; i++)
        if (strcmp(model->commands[i].name, name) == 0)
            call.command = &model->commands[i];
    if (!call.command)
        return error_set(err, ENOENT, "%s devices have no command '%s'", model->name, name);
    if (!call.command->metavar && argument[0])
        return error_set(err, EINVAL, "%s takes no argument", name);
    if (call.command->metavar && !argument[0])
        return error_set(err, EINVAL, "%s needs its %s", name, call.command->metavar);
    loop_call(call.builtin->loop, command_on_loop, &call);
    return call.ret;
}

static void reset_on_loop(void *arg)
{
    struct virtio_builtin *b = arg;

    if (b->deputy)
        b->deputy->ops->reset(b->deputy);
    if (b->model->reset)
        b->model->reset(b->state);
}

static void builtin_reset(struct virtio_backend *backend)
{
    struct virtio_builtin *b = builtin_of(backend);

    b->negotiated = (struct virtio_features){0};
    loop_call(b->loop, reset_on_loop, b);
}

struct log_call {
    struct virtio_builtin *builtin;
    struct dirty_log *log;
    struct error *err;
    int ret;
};

/* A ring learns of a log when it starts; what was in flight is done by then. One that is broken
 * writes nothing new. */
static void restart(struct builtin_queue *queue)
{
    struct stop_call stop = {.queue = queue};
    struct error err = ERROR_INIT;
    struct start_call start = {queue->owner, &queue->setup, {0}, queue->kick.fd, &err, 0};

    stop_on_loop(&stop);
    start.position = stop.position;
    start_on_loop(&start);
    if (start.ret)
        queue_broken(queue, start.ret);
    else
        event_signal(queue->kick.fd); /* there may be buffers already */
}

static void log_on_loop(void *arg)
{
    struct log_call *call = arg;
    struct virtio_builtin *b = call->builtin;

    if (b->deputy)
        call->ret = b->deputy->ops->dirty_log(b->deputy, call->log, call->err);
    if (call->ret)
        return;
    b->log = call->log;
    for (uint16_t i = 0; i < b->queue_count; i++) {
        struct builtin_queue *queue = &b->queues[i];

        if (!b->log)
            virtqueue_stop_logging(&queue->ring);
        else if (queue->listening)
            restart(queue);
        else if (queue->broken && queue->ring.format && b->model->queue_drain)
            b->model->queue_drain(b->state, &queue->ring);
    }
}

static int builtin_dirty_log(struct virtio_backend *backend, struct dirty_log *log,
                             struct error *err)
{
    struct log_call call = {builtin_of(backend), log, err, 0};

    loop_call(call.builtin->loop, log_on_loop, &call);
    return call.ret;
}

/* --- state: a header that says whose it is, and the model's bytes --- */

enum state_header { STATE_VERSION = 0, STATE_ID = 2, STATE_SIZE = 4, STATE_HEADER = 8 };
#define STATE_VERSION_1 1

struct state_call {
    struct virtio_builtin *builtin;
    uint8_t *bytes;
    struct error *err;
    int ret;
};

static void save_on_loop(void *arg)
{
    struct state_call *call = arg;
    const struct virtio_model_state *state = call->builtin->model->state;

    if (state->size)
        state->save(call->builtin->state, call->bytes);
}

static void load_on_loop(void *arg)
{
    struct state_call *call = arg;
    const struct virtio_model_state *state = call->builtin->model->state;

    if (state->size)
        call->ret = state->load(call->builtin->state, call->bytes, call->err);
}

static int builtin_save(struct virtio_backend *backend, struct virtio_state *out, struct error *err)
{
    struct virtio_builtin *b = builtin_of(backend);
    const struct virtio_model_state *state = b->model->state;
    uint8_t *bytes = calloc(1, STATE_HEADER + state->size);
    struct state_call call = {.builtin = b};

    if (!bytes)
        return error_set(err, ENOMEM, "no memory for a device's state");
    store_le16(bytes + STATE_VERSION, STATE_VERSION_1);
    store_le16(bytes + STATE_ID, b->model->id);
    store_le32(bytes + STATE_SIZE, (uint32_t)state->size);
    call.bytes = bytes + STATE_HEADER;
    loop_call(b->loop, save_on_loop, &call);
    *out = (struct virtio_state){bytes, STATE_HEADER + state->size};
    return 0;
}

static int builtin_load(struct virtio_backend *backend, const struct virtio_state *from,
                        struct error *err)
{
    struct virtio_builtin *b = builtin_of(backend);
    const struct virtio_model_state *state = b->model->state;
    struct state_call call = {.builtin = b, .err = err};

    if (from->length != STATE_HEADER + state->size ||
        load_le16(from->bytes + STATE_VERSION) != STATE_VERSION_1 ||
        load_le16(from->bytes + STATE_ID) != b->model->id ||
        load_le32(from->bytes + STATE_SIZE) != state->size)
        return error_set(err, EINVAL, "this is not the state of a %s device", b->model->name);
    call.bytes = from->bytes + STATE_HEADER;
    loop_call(b->loop, load_on_loop, &call);
    return call.ret;
}

static void destroy_on_loop(void *arg)
{
    struct virtio_builtin *b = arg;

    b->model->destroy(b->state);
    if (b->deputy)
        b->deputy->ops->destroy(b->deputy);
}

static void builtin_destroy(struct virtio_backend *backend)
{
    struct virtio_builtin *b = builtin_of(backend);

    loop_call(b->loop, destroy_on_loop, b);
    free(b);
}

/* --- calls of the device that need no loop --------------------------------------------------- */

static void builtin_features(struct virtio_backend *backend, struct virtio_features *out)
{
    struct virtio_builtin *b = builtin_of(backend);

    struct virtio_features lent;

    *out = (struct virtio_features){0};
    b->model->get_features(b->state, out);
    if (!b->deputy)
        return;
    b->deputy->ops->features(b->deputy, &lent);
    for (unsigned bit = VIRTIO_F_INDIRECT_DESC; bit <= VIRTIO_F_RING_RESET; bit++)
        features_set(out, bit, features_has(&lent, bit));
}

static void builtin_config_read(struct virtio_backend *backend, uint32_t offset, void *data,
                                uint32_t len)
{
    struct virtio_builtin *b = builtin_of(backend);

    if (b->model->config_read)
        b->model->config_read(b->state, offset, data, len);
    else
        memset(data, 0, len);
}

static void builtin_config_write(struct virtio_backend *backend, uint32_t offset, const void *data,
                                 uint32_t len)
{
    struct virtio_builtin *b = builtin_of(backend);

    if (b->model->config_write)
        b->model->config_write(b->state, offset, data, len);
}

static const struct virtio_backend_ops builtin_ops = {
    .name = "built-in",
    .features = builtin_features,
    .set_features = builtin_set_features,
    .config_read = builtin_config_read,
    .config_write = builtin_config_write,
    .start = builtin_start,
    .command = builtin_command,
    .queue_start = builtin_queue_start,
    .queue_stop = builtin_queue_stop,
    .save = builtin_save,
    .load = builtin_load,
    .reset = builtin_reset,
    .dirty_log = builtin_dirty_log,
    .destroy = builtin_destroy,
};

static int create(const struct virtio_model *model, bool vhost, const void *options,
                  const struct guest_memory *memory, struct loop *loop, uint16_t queue_count,
                  uint16_t queue_size, struct virtio_backend **out, struct error *err)
{
    struct virtio_builtin *b = calloc(1, sizeof(*b) + queue_count * sizeof(b->queues[0]));
    int ret;

    if (!b)
        return error_set(err, ENOMEM, "no memory for a %s device", model->name);
    b->backend = (struct virtio_backend){
        .ops = &builtin_ops,
        .name = model->name,
        .memory = memory,
        .feature_names = model->features,
        .feature_count = model->feature_count,
        .saves = model->state,
    };
    b->model = model;
    b->loop = loop;
    b->queue_count = queue_count;
    b->queue_size = queue_size;
    for (uint16_t i = 0; i < queue_count; i++)
        b->queues[i].owner = b;
    ret = (vhost ? model->create_vhost : model->create)(b, options, &b->state, err);
    if (ret) {
        if (b->deputy)
            b->deputy->ops->destroy(b->deputy);
        free(b);
        return ret;
    }
    *out = &b->backend;
    return 0;
}

int virtio_builtin_create(const struct virtio_model *model, const void *options,
                          const struct guest_memory *memory, struct loop *loop,
                          uint16_t queue_count, uint16_t queue_size, struct virtio_backend **out,
                          struct error *err)
{
    return create(model, false, options, memory, loop, queue_count, queue_size, out, err);
}

int virtio_builtin_create_vhost(const struct virtio_model *model, const void *options,
                                const struct guest_memory *memory, struct loop *loop,
                                uint16_t queue_count, uint16_t queue_size,
                                struct virtio_backend **out, struct error *err)
{
    return create(model, true, options, memory, loop, queue_count, queue_size, out, err);
}

/* --- for models ------------------------------------------------------------------------------ */

void virtio_builtin_set_deputy(struct virtio_builtin *b, struct virtio_backend *deputy)
{
    b->deputy = deputy;
    b->backend.foreign = true;
}

struct loop *virtio_builtin_loop(struct virtio_builtin *b)
{
    return b->loop;
}

const struct guest_memory *virtio_builtin_memory(const struct virtio_builtin *b)
{
    return b->backend.memory;
}

const char *virtio_builtin_name(const struct virtio_builtin *b)
{
    return b->backend.name;
}

uint16_t virtio_builtin_queue_count(const struct virtio_builtin *b)
{
    return b->queue_count;
}

uint16_t virtio_builtin_queue_size(const struct virtio_builtin *b)
{
    return b->queue_size;
}

void virtio_builtin_config_changed(struct virtio_builtin *b)
{
    b->backend.events.config_changed(b->backend.events.opaque);
}

struct virtqueue *virtio_builtin_queue(struct virtio_builtin *b, uint16_t index)
{
    return b->queues[index].listening ? &b->queues[index].ring : NULL;
}

bool virtio_builtin_queue_runs(const struct virtio_builtin *b, uint16_t index)
{
    return b->queues[index].listening || b->queues[index].lent;
}

void virtio_builtin_notify(struct virtio_builtin *b, struct virtqueue *queue)
{
    b->backend.events.notify_queue(b->backend.events.opaque, queue->index);
}

void virtio_builtin_kick(struct virtio_builtin *b, struct virtqueue *queue)
{
    struct builtin_queue *kicked = container_of(queue, struct builtin_queue, ring);

    (void)b;
    if (kicked->listening)
        event_signal(kicked->kick.fd);
}

void virtio_builtin_broken(struct virtio_builtin *b, struct virtqueue *queue)
{
    (void)b;
    queue_broken(container_of(queue, struct builtin_queue, ring), -EIO);
}
