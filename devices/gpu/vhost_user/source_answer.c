#include "devices/gpu/vhost_user/source.h"

#include "base/bytes.h"
#include "devices/gpu/model/edid.h"

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

/* Side by side, from the left to the right. */
void gpu_source_answer_display_info(struct gpu_source *source)
{
    struct virtio_gpu_resp_display_info info = {
        .hdr.type = htole32(VIRTIO_GPU_RESP_OK_DISPLAY_INFO),
    };
    uint32_t x = 0;

    for (unsigned i = 0; i < source->output_count; i++) {
        const struct gpu_output *output = &source->outputs[i].wanted;

        info.pmodes[i].enabled = htole32(output->width && output->height);
        info.pmodes[i].r.x = htole32(x);
        info.pmodes[i].r.width = htole32(output->width);
        info.pmodes[i].r.height = htole32(output->height);
        x += output->width;
    }
    answer(source, VHOST_USER_GPU_GET_DISPLAY_INFO, &info, sizeof(info));
}

static uint32_t make_edid(const struct gpu_output *output, uint32_t id, uint8_t *out)
{
    const struct edid_monitor monitor = {
        .width = output->width,
        .height = output->height,
        .refresh = output->refresh,
        .width_mm = output->width_mm,
        .height_mm = output->height_mm,
        .serial = id + 1,
    };

    return (uint32_t)edid_make(&monitor, out);
}

void gpu_source_answer_edid(struct gpu_source *source, uint32_t id)
{
    struct virtio_gpu_resp_edid edid = {.hdr.type = htole32(VIRTIO_GPU_RESP_OK_EDID)};

    if (id >= source->output_count) /* the driver's mistake, and it waits */
        edid.hdr.type = htole32(VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
    else if (source->outputs[id].wanted.width && source->outputs[id].wanted.height)
        edid.size = htole32(make_edid(&source->outputs[id].wanted, id, edid.edid));
    answer(source, VHOST_USER_GPU_GET_EDID, &edid, sizeof(edid));
}

void gpu_source_answer_update(struct gpu_source *source)
{
    answer(source, VHOST_USER_GPU_DMABUF_UPDATE, NULL, 0);
}
