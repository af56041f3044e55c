#include "virtio/builtin_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- calls of the device: carried out on the loop --------------------------------------------- */

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
    int (*run)(void *model, const char *argument, struct error *err);
    const char *argument;
    struct error *err;
    int ret;
};

static void command_on_loop(void *arg)
{
    struct command_call *call = arg;

    call->ret = call->run(call->builtin->state, call->argument, call->err);
}

static int builtin_command(struct virtio_backend *backend, const char *name, const char *argument,
                           struct error *err)
{
    struct command_call call = {.builtin = builtin_of(backend), .argument = argument, .err = err};
    const struct virtio_model *type = call.builtin->type;
    size_t i = 0;

    while (i < type->command_count && strcmp(type->commands[i].name, name) != 0)
        i++;
    if (i == type->command_count)
        return error_set(err, ENOENT, "%s devices have no command '%s'", type->name, name);
    if (!type->commands[i].metavar && argument[0])
        return error_set(err, EINVAL, "%s takes no argument", name);
    if (type->commands[i].metavar && !argument[0])
        return error_set(err, EINVAL, "%s needs its %s", name, type->commands[i].metavar);
    call.run = call.builtin->model->commands[i].run;
    loop_call(call.builtin->loop, command_on_loop, &call);
    return call.ret;
}

static void reset_on_loop(void *arg)
{
    struct virtio_builtin *b = arg;

    builtin_shared_clear(b);
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

struct memory_call {
    struct virtio_builtin *builtin;
    bool done;
};

static void memory_changes_on_loop(void *arg)
{
    struct memory_call *call = arg;

    call->builtin->model->memory_changes(call->builtin->state, call->done);
}

static void builtin_memory_changes(struct virtio_backend *backend, bool done)
{
    struct memory_call call = {builtin_of(backend), done};

    if (call.builtin->model->memory_changes)
        loop_call(call.builtin->loop, memory_changes_on_loop, &call);
}

/* --- calls of the device that need no loop ---------------------------------------------------- */

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

/* --- life ------------------------------------------------------------------------------------- */

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
    module_unload(&b->module);
    free(b);
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
    .memory_changes = builtin_memory_changes,
    .destroy = builtin_destroy,
};

bool virtio_model_exists(const struct virtio_model *model)
{
    return model->create || model->module;
}

/* Find the code, and have it make the model's state. */
static int create_model(struct virtio_builtin *b, bool vhost, const void *options,
                        struct error *err)
{
    int ret = b->type->module ? module_load(&b->module, b->type->module, err) : 0;

    if (ret)
        return ret;
    b->model = b->module.table ? b->module.table : b->type;
    b->backend.saves = b->model->state;
    ret = (vhost ? b->model->create_vhost : b->model->create)(b, options, &b->state, err);
    if (ret && b->deputy)
        b->deputy->ops->destroy(b->deputy);
    if (ret)
        module_unload(&b->module);
    return ret;
}

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
    };
    b->type = model;
    b->loop = loop;
    b->queue_count = queue_count;
    b->queue_size = queue_size;
    for (uint16_t i = 0; i < queue_count; i++)
        b->queues[i].owner = b;
    ret = create_model(b, vhost, options, err);
    if (ret) {
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

/* --- for models ------------------------------------------------------------------------------- */

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
