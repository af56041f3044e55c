/*
 * State of a device with a model of ours: a header that says whose it is, and the model's bytes.
 */
#include "virtio/builtin_internal.h"

#include <errno.h>
#include <stdlib.h>

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

int builtin_save(struct virtio_backend *backend, struct virtio_state *out, struct error *err)
{
    struct virtio_builtin *b = builtin_of(backend);
    const struct virtio_model_state *state = b->model->state;
    uint8_t *bytes = calloc(1, STATE_HEADER + state->size);
    struct state_call call = {.builtin = b};

    if (!bytes)
        return error_set(err, ENOMEM, "no memory for a device's state");
    store_le16(bytes + STATE_VERSION, STATE_VERSION_1);
    store_le16(bytes + STATE_ID, b->type->id);
    store_le32(bytes + STATE_SIZE, (uint32_t)state->size);
    call.bytes = bytes + STATE_HEADER;
    loop_call(b->loop, save_on_loop, &call);
    *out = (struct virtio_state){bytes, STATE_HEADER + state->size};
    return 0;
}

int builtin_load(struct virtio_backend *backend, const struct virtio_state *from, struct error *err)
{
    struct virtio_builtin *b = builtin_of(backend);
    const struct virtio_model_state *state = b->model->state;
    struct state_call call = {.builtin = b, .err = err};

    if (from->length != STATE_HEADER + state->size ||
        load_le16(from->bytes + STATE_VERSION) != STATE_VERSION_1 ||
        load_le16(from->bytes + STATE_ID) != b->type->id ||
        load_le32(from->bytes + STATE_SIZE) != state->size)
        return error_set(err, EINVAL, "this is not the state of a %s device", b->type->name);
    call.bytes = from->bytes + STATE_HEADER;
    loop_call(b->loop, load_on_loop, &call);
    return call.ret;
}
