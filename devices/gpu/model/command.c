/*
 * The queues: requests in, answers out.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

enum gpu_queue { GPU_CONTROLQ, GPU_CURSORQ };

#define HEADER sizeof(struct virtio_gpu_ctrl_hdr)
#define NONE   (-1)

/* The name in the specification, of what it takes and gives, and the function. */
#define COMMAND(name, in, out, feature, run)                          \
    {                                                                 \
#name, VIRTIO_GPU_CMD_##name, sizeof(struct virtio_gpu_##in), \
            sizeof(struct virtio_gpu_##out), feature, run             \
    }

static const struct gpu_command control_commands[] = {
    COMMAND(GET_DISPLAY_INFO, ctrl_hdr, resp_display_info, NONE, gpu_get_display_info),
    COMMAND(RESOURCE_CREATE_2D, resource_create_2d, ctrl_hdr, NONE, gpu_resource_create_2d),
    COMMAND(RESOURCE_UNREF, resource_unref, ctrl_hdr, NONE, gpu_resource_unref),
    COMMAND(SET_SCANOUT, set_scanout, ctrl_hdr, NONE, gpu_set_scanout),
    COMMAND(RESOURCE_FLUSH, resource_flush, ctrl_hdr, NONE, gpu_resource_flush),
    COMMAND(TRANSFER_TO_HOST_2D, transfer_to_host_2d, ctrl_hdr, NONE, gpu_transfer_to_host_2d),
    COMMAND(RESOURCE_ATTACH_BACKING, resource_attach_backing, ctrl_hdr, NONE,
            gpu_resource_attach_backing),
    COMMAND(RESOURCE_DETACH_BACKING, resource_detach_backing, ctrl_hdr, NONE,
            gpu_resource_detach_backing),
    COMMAND(GET_CAPSET_INFO, get_capset_info, resp_capset_info, GPU_F_VIRGL, gpu_get_capset_info),
    COMMAND(GET_CAPSET, get_capset, resp_capset, GPU_F_VIRGL, gpu_get_capset),
    COMMAND(GET_EDID, cmd_get_edid, resp_edid, GPU_F_EDID, gpu_get_edid),
    COMMAND(RESOURCE_ASSIGN_UUID, resource_assign_uuid, resp_resource_uuid, GPU_F_RESOURCE_UUID,
            gpu_resource_assign_uuid),
    COMMAND(RESOURCE_CREATE_BLOB, resource_create_blob, ctrl_hdr, GPU_F_RESOURCE_BLOB,
            gpu_resource_create_blob),
    COMMAND(SET_SCANOUT_BLOB, set_scanout_blob, ctrl_hdr, GPU_F_RESOURCE_BLOB,
            gpu_set_scanout_blob),
    COMMAND(CTX_CREATE, ctx_create, ctrl_hdr, GPU_F_VIRGL, gpu_ctx_create),
    COMMAND(CTX_DESTROY, ctx_destroy, ctrl_hdr, GPU_F_VIRGL, gpu_ctx_destroy),
    COMMAND(CTX_ATTACH_RESOURCE, ctx_resource, ctrl_hdr, GPU_F_VIRGL, gpu_ctx_attach_resource),
    COMMAND(CTX_DETACH_RESOURCE, ctx_resource, ctrl_hdr, GPU_F_VIRGL, gpu_ctx_detach_resource),
    COMMAND(RESOURCE_CREATE_3D, resource_create_3d, ctrl_hdr, GPU_F_VIRGL, gpu_resource_create_3d),
    COMMAND(TRANSFER_TO_HOST_3D, transfer_host_3d, ctrl_hdr, GPU_F_VIRGL, gpu_transfer_to_host_3d),
    COMMAND(TRANSFER_FROM_HOST_3D, transfer_host_3d, ctrl_hdr, GPU_F_VIRGL,
            gpu_transfer_from_host_3d),
    COMMAND(SUBMIT_3D, cmd_submit, ctrl_hdr, GPU_F_VIRGL, gpu_submit_3d),
    COMMAND(RESOURCE_MAP_BLOB, resource_map_blob, resp_map_info, GPU_F_RESOURCE_BLOB,
            gpu_resource_map_blob),
    COMMAND(RESOURCE_UNMAP_BLOB, resource_unmap_blob, ctrl_hdr, GPU_F_RESOURCE_BLOB,
            gpu_resource_unmap_blob),
};

/* GPU-19. Drivers leave no room for an answer to them. */
static const struct gpu_command cursor_commands[] = {
    COMMAND(UPDATE_CURSOR, update_cursor, ctrl_hdr, NONE, gpu_update_cursor),
    COMMAND(MOVE_CURSOR, update_cursor, ctrl_hdr, NONE, gpu_move_cursor),
};

static const struct gpu_command *find_command(uint16_t queue, uint32_t type)
{
    const struct gpu_command *commands = queue == GPU_CURSORQ ? cursor_commands : control_commands;
    size_t count =
        queue == GPU_CURSORQ ? ARRAY_SIZE(cursor_commands) : ARRAY_SIZE(control_commands);

    for (size_t i = 0; i < count; i++)
        if (commands[i].type == type)
            return &commands[i];
    return NULL;
}

static uint32_t run(struct gpu *gpu, const struct gpu_command *command, struct gpu_request *request)
{
    const struct virtqueue_buffer *buffer = request->buffer;

    if (!command || (command->feature != NONE && !gpu_has(gpu, (enum gpu_feature)command->feature)))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, NULL,
                          "there is no such command, or its feature was not negotiated");
    if (buffer->readable_bytes < command->in)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, GPU_RULE_FIELDS,
                          "the request is too short");
    if (buffer->writable_bytes && buffer->writable_bytes < command->out)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, GPU_RULE_FIELDS,
                          "there is no room for the answer");
    if (le32toh(request->in.hdr.flags) & VIRTIO_GPU_FLAG_INFO_RING_IDX &&
        gpu_has(gpu, GPU_F_CONTEXT_INIT) && request->in.hdr.ring_idx >= GPU_RINGS)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, GPU_RULE_FIELDS,
                          "a timeline that is none");
    return command->run(gpu, request);
}

static void log_refusal(const struct gpu *gpu, const struct gpu_command *command,
                        const struct gpu_request *request)
{
    log_limited(LOG_INFO, "gpu", "%s: %s%scommand 0x%x%s%s: %s", virtio_builtin_name(gpu->builtin),
                request->rule ? request->rule : "", request->rule ? ": " : "",
                le32toh(request->in.hdr.type), command ? " " : "", command ? command->name : "",
                request->reason);
}

/* GPU-06: an answer says which fence it is. */
static uint32_t write_answer(struct gpu_request *request, uint32_t type, size_t bytes)
{
    const struct virtio_gpu_ctrl_hdr *asked = &request->in.hdr;
    struct virtio_gpu_ctrl_hdr *hdr = &request->out.hdr;

    hdr->type = htole32(type);
    if (le32toh(asked->flags) & VIRTIO_GPU_FLAG_FENCE) {
        hdr->flags = asked->flags & htole32(VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX);
        hdr->fence_id = asked->fence_id;
        hdr->ctx_id = asked->ctx_id;
        hdr->ring_idx = asked->ring_idx;
    }
    return (uint32_t)(virtqueue_write(request->buffer, 0, &request->out, bytes) + request->more);
}

/* The type of the answer to a request, carried out. */
static uint32_t carry_out(struct gpu *gpu, const struct virtqueue *queue,
                          const struct gpu_command *command, struct gpu_request *request)
{
    if (queue->index == GPU_CONTROLQ && request->buffer->writable_bytes < HEADER)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_UNSPEC, GPU_RULE_FIELDS,
                          "there is no room for an answer");
    return run(gpu, command, request);
}

/* What outputs there are may be for somebody else to say, who is asked first: the request, and the
 * queue, waits for that. */
static bool ask_first(struct gpu *gpu, struct virtqueue *queue, struct virtqueue_buffer *buffer,
                      const struct gpu_request *request)
{
    uint32_t type = le32toh(request->in.hdr.type);

    if ((type != VIRTIO_GPU_CMD_GET_DISPLAY_INFO && type != VIRTIO_GPU_CMD_GET_EDID) ||
        !display_ask(gpu->display))
        return false;
    gpu->asking = (struct gpu_asking){queue, buffer};
    return true;
}

static void serve(struct gpu *gpu, struct virtqueue *queue, struct virtqueue_buffer *buffer,
                  bool asked)
{
    struct gpu_request request = {.buffer = buffer};
    size_t got = virtqueue_read(buffer, 0, &request.in, sizeof(request.in));
    const struct gpu_command *command =
        got < HEADER ? NULL : find_command(queue->index, le32toh(request.in.hdr.type));
    uint32_t type, written = 0;

    if (!asked && queue->index == GPU_CONTROLQ && ask_first(gpu, queue, buffer, &request))
        return;
    type = carry_out(gpu, queue, command, &request);
    if (request.reason)
        log_refusal(gpu, command, &request);
    if (buffer->writable_bytes >= HEADER)
        written = write_answer(&request, type, request.reason ? HEADER : command->out);
    if (!request.reason && gpu_fence_hold(gpu, queue, buffer, &request.in.hdr, written))
        return;
    virtqueue_push(queue, buffer, written);
}

int gpu_queue_ready(void *model, struct virtqueue *queue)
{
    const struct gpu *gpu = model;
    struct virtqueue_buffer *buffer;
    int ret = 0;

    while (gpu->asking.queue != queue && (ret = virtqueue_pop(queue, &buffer)) > 0)
        serve(model, queue, buffer, false);
    return gpu->asking.queue == queue ? VIRTIO_QUEUE_QUIET : ret;
}

static void serve_asking(struct gpu *gpu)
{
    const struct gpu_asking asking = gpu->asking;

    gpu->asking = (struct gpu_asking){0};
    serve(gpu, asking.queue, asking.buffer, true);
}

void gpu_display_answered(void *opaque)
{
    struct gpu *gpu = opaque;
    struct virtqueue *queue = gpu->asking.queue;

    if (!queue)
        return;
    serve_asking(gpu);
    virtio_builtin_kick(gpu->builtin, queue);
}

void gpu_finish_asking(struct gpu *gpu, const struct virtqueue *queue)
{
    if (gpu->asking.queue == queue)
        serve_asking(gpu);
}
