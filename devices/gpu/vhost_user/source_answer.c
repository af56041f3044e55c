#include "devices/gpu/vhost_user/source.h"

#include "base/bytes.h"

#define PROTOCOL_FEATURES \
    (BIT(VHOST_USER_GPU_PROTOCOL_F_EDID) | BIT(VHOST_USER_GPU_PROTOCOL_F_DMABUF2))

static void answer(struct gpu_source *source, enum vhost_user_gpu_request request,
                   const void *payload, size_t size)
{
    gpu_sender_begin(&source->answer, request, size, 0);
    source->answer.message.header.flags = VHOST_USER_GPU_FLAG_REPLY;
    if (size)
        memcpy(&source->answer.message.payload, payload, size);
}

void gpu_source_answer_features(struct gpu_source *source)
{
    const uint64_t features = PROTOCOL_FEATURES;

    answer(source, VHOST_USER_GPU_GET_PROTOCOL_FEATURES, &features, sizeof(features));
}

void gpu_source_answer_display_info(struct gpu_source *source)
{
    struct virtio_gpu_resp_display_info info = {
        .hdr.type = htole32(VIRTIO_GPU_RESP_OK_DISPLAY_INFO),
    };
    uint32_t x = 0;

    for (unsigned i = 0; i < source->output_count; i++)
        gpu_output_describe(&source->outputs[i].wanted, &x, &info.pmodes[i]);
    answer(source, VHOST_USER_GPU_GET_DISPLAY_INFO, &info, sizeof(info));
}

void gpu_source_answer_edid(struct gpu_source *source, uint32_t id)
{
    struct virtio_gpu_resp_edid edid = {.hdr.type = htole32(VIRTIO_GPU_RESP_OK_EDID)};

    if (id < source->output_count)
        edid.size = htole32((uint32_t)gpu_output_edid(&source->outputs[id].wanted, id, edid.edid));
    else /* the driver's mistake, and it waits */
        edid.hdr.type = htole32(VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
    answer(source, VHOST_USER_GPU_GET_EDID, &edid, sizeof(edid));
}

void gpu_source_answer_update(struct gpu_source *source)
{
    answer(source, VHOST_USER_GPU_DMABUF_UPDATE, NULL, 0);
}
