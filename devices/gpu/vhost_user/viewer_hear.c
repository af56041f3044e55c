#include "devices/gpu/vhost_user/viewer.h"

#include "base/bytes.h"
#include "devices/gpu/model/edid.h"

#include <errno.h>

#define SIZES (GPU_REQUEST(GET_DISPLAY_INFO) | GPU_REQUEST(GET_EDID))

/* E-EDID 1.4: of the first detailed timing, low bytes and both high nibbles. */
#define EDID_WIDTH_MM  66
#define EDID_HEIGHT_MM 67
#define EDID_MM_HIGH   68

void gpu_viewer_ask(struct gpu_viewer *v)
{
    v->due |= GPU_REQUEST(GET_DISPLAY_INFO);
}

static void resize(struct gpu_viewer *v, unsigned output, uint32_t width_mm, uint32_t height_mm)
{
    const struct virtio_gpu_display_one *mode = &v->modes[output];
    bool on = le32toh(mode->enabled);

    display_resize(v->viewer.display, output, on ? le32toh(mode->r.width) : 0,
                   on ? le32toh(mode->r.height) : 0, width_mm, height_mm);
}

/* All is known that was asked for. */
static void settle(struct gpu_viewer *v)
{
    if (v->asked_by_gpu && !((v->due | v->awaited) & SIZES)) {
        v->asked_by_gpu = false;
        display_answered(v->viewer.display);
    }
}

/* Monitors that are there describe themselves, if the front end can say how. */
static void ask_edid(struct gpu_viewer *v)
{
    while (v->edid_output < gpu_viewer_outputs(v) && !le32toh(v->modes[v->edid_output].enabled))
        v->edid_output++;
    if (v->edid_output < gpu_viewer_outputs(v))
        v->due |= GPU_REQUEST(GET_EDID);
}

static void hear_display_info(struct gpu_viewer *v)
{
    memcpy(v->modes, v->in.message.payload.display_info.pmodes, sizeof(v->modes));
    v->edid_output = 0;
    if (v->features & BIT(VHOST_USER_GPU_PROTOCOL_F_EDID)) {
        for (unsigned i = 0; i < gpu_viewer_outputs(v); i++)
            if (!le32toh(v->modes[i].enabled))
                resize(v, i, 0, 0);
        ask_edid(v);
    } else {
        for (unsigned i = 0; i < gpu_viewer_outputs(v); i++)
            resize(v, i, 0, 0);
    }
}

/* Only how large it is; the rest the model says itself. */
static void hear_edid(struct gpu_viewer *v)
{
    struct virtio_gpu_resp_edid answer;
    const uint8_t *edid = answer.edid;
    uint32_t width_mm = 0, height_mm = 0;

    memcpy(&answer, &v->in.message.payload.edid, sizeof(answer));
    if (le32toh(answer.hdr.type) == VIRTIO_GPU_RESP_OK_EDID && le32toh(answer.size) >= EDID_BLOCK) {
        width_mm = edid[EDID_WIDTH_MM] | (edid[EDID_MM_HIGH] & 0xf0u) << 4;
        height_mm = edid[EDID_HEIGHT_MM] | (edid[EDID_MM_HIGH] & 0x0fu) << 8;
    }
    if (v->edid_output < gpu_viewer_outputs(v))
        resize(v, v->edid_output, width_mm, height_mm);
    v->edid_output++;
    ask_edid(v);
}

static void hear_features(struct gpu_viewer *v)
{
    v->features = (uint32_t)v->in.message.payload.u64 &
                  (BIT(VHOST_USER_GPU_PROTOCOL_F_EDID) | BIT(VHOST_USER_GPU_PROTOCOL_F_DMABUF2));
    v->due |= GPU_REQUEST(SET_PROTOCOL_FEATURES) | GPU_REQUEST(GET_DISPLAY_INFO);
}

static void take_answer(struct gpu_viewer *v)
{
    switch (v->in.message.header.request) {
    case VHOST_USER_GPU_GET_PROTOCOL_FEATURES:
        hear_features(v);
        break;
    case VHOST_USER_GPU_GET_DISPLAY_INFO:
        hear_display_info(v);
        break;
    case VHOST_USER_GPU_GET_EDID:
        hear_edid(v);
        break;
    default: /* DMABUF_UPDATE: the next may follow */
        break;
    }
}

int gpu_viewer_hear(struct gpu_viewer *v)
{
    int ret;

    while ((ret = gpu_receive(v->socket.fd, &v->in, true)) == 1) {
        uint32_t bit = UINT32_C(1) << v->in.message.header.request;

        if (!(v->awaited & bit))
            return -EPROTO;
        v->awaited &= ~bit;
        take_answer(v);
        settle(v);
        gpu_receiver_next(&v->in);
    }
    return ret;
}
