/* The outputs as the guest sees them. */
#include "devices/gpu/model/output.h"

#include "base/bytes.h"
#include "devices/gpu/model/edid.h"
#include "devices/gpu/model/request.h"
#include "devices/gpu/model/state.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* --- one output ------------------------------------------------------------------------------- */

static bool is_plugged(const struct gpu_output *output)
{
    return output->width && output->height;
}

void gpu_output_describe(const struct gpu_output *output, uint32_t *x,
                         struct virtio_gpu_display_one *out)
{
    if (!is_plugged(output))
        return;
    out->r.x = htole32(*x);
    out->r.width = htole32(output->width);
    out->r.height = htole32(output->height);
    out->enabled = htole32(1);
    *x += output->width;
}

size_t gpu_output_edid(const struct gpu_output *output, unsigned index, uint8_t *out)
{
    const struct edid_monitor monitor = {
        .width = output->width,
        .height = output->height,
        .refresh = output->refresh,
        .width_mm = output->width_mm,
        .height_mm = output->height_mm,
        .serial = index + 1,
    };

    return is_plugged(output) ? edid_make(&monitor, out) : 0;
}

/* --- options and commands --------------------------------------------------------------------- */

/* A number of at most five digits, at *text, which is moved behind it. */
static bool take_number(const char **text, uint32_t *out)
{
    const char *p = *text;

    *out = 0;
    while (isdigit((unsigned char)*p) && p < *text + 5)
        *out = *out * 10 + (uint32_t)(*p++ - '0');
    if (p == *text || isdigit((unsigned char)*p))
        return false;
    *text = p;
    return true;
}

static bool take_size(const char **text, uint32_t *width, uint32_t *height)
{
    if (!take_number(text, width) || *(*text)++ != 'x' || !take_number(text, height))
        return false;
    return *width <= DISPLAY_SIZE_MAX && *height <= DISPLAY_SIZE_MAX;
}

static bool take_output(const char **text, struct gpu_output *out)
{
    *out = (struct gpu_output){.refresh = GPU_REFRESH_DEFAULT};
    if (!take_size(text, &out->width, &out->height) || !out->width || !out->height)
        return false;
    if (**text != '@')
        return true;
    (*text)++;
    return take_number(text, &out->refresh) && out->refresh >= GPU_REFRESH_MIN &&
           out->refresh <= GPU_REFRESH_MAX;
}

int gpu_outputs_parse(const char *text, struct gpu_output *outputs, unsigned *count,
                      struct error *err)
{
    const char *p = text;

    for (*count = 0; *count < DISPLAY_OUTPUTS_MAX;) {
        if (!take_output(&p, &outputs[(*count)++]))
            return error_set(err, EINVAL,
                             "outputs: '%s' is not like 1920x1080 or 1280x800@75+1024x768, of at "
                             "most %u pixels, and of %u to %u Hz",
                             text, DISPLAY_SIZE_MAX, GPU_REFRESH_MIN, GPU_REFRESH_MAX);
        if (!*p)
            return 0;
        if (*p++ != '+')
            return error_set(err, EINVAL, "outputs: '%s' has something behind a size", text);
    }
    return error_set(err, EINVAL, "outputs: at most %u", DISPLAY_OUTPUTS_MAX);
}

int gpu_output_parse_resize(const char *argument, unsigned count, struct gpu_resize *out,
                            struct error *err)
{
    const char *p = argument;

    out->output = 0;
    if (strchr(argument, ':') && (!take_number(&p, &out->output) || *p++ != ':'))
        return error_set(err, EINVAL, "resize: '%s' does not begin with an output's number",
                         argument);
    if (out->output >= count)
        return error_set(err, EINVAL, "resize: outputs are 0 to %u", count - 1);
    if (!take_size(&p, &out->width, &out->height) || *p || !out->width != !out->height)
        return error_set(err, EINVAL, "resize: '%s' is not like 1920x1080, of at most %u pixels",
                         argument, DISPLAY_SIZE_MAX);
    return 0;
}

int gpu_output_command(void *model, const char *argument, struct error *err)
{
    struct gpu *gpu = model;
    struct gpu_resize to;
    int ret = gpu_output_parse_resize(argument, gpu->output_count, &to, err);

    if (!ret)
        gpu_output_resize(gpu, to.output, to.width, to.height, 0, 0);
    return ret;
}

/* GPU-04 */
void gpu_output_resize(void *opaque, unsigned output, uint32_t width, uint32_t height,
                       uint32_t width_mm, uint32_t height_mm)
{
    struct gpu *gpu = opaque;
    struct gpu_output *o = &gpu->outputs[output];

    if (o->width == width && o->height == height)
        return;
    o->width = width;
    o->height = height;
    o->width_mm = width_mm;
    o->height_mm = height_mm;
    atomic_fetch_or(&gpu->events, VIRTIO_GPU_EVENT_DISPLAY);
    virtio_builtin_config_changed(gpu->builtin);
}

/* --- what the driver asks --------------------------------------------------------------------- */

uint32_t gpu_get_display_info(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t x = 0;

    for (unsigned i = 0; i < gpu->output_count; i++)
        gpu_output_describe(&gpu->outputs[i], &x, &request->out.display_info.pmodes[i]);
    return VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
}

uint32_t gpu_get_edid(struct gpu *gpu, struct gpu_request *request)
{
    uint32_t index = le32toh(request->in.get_edid.scanout);
    struct virtio_gpu_resp_edid *out = &request->out.edid;

    if (index >= gpu->output_count)
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID, GPU_RULE_FIELDS,
                          "there is no such scanout");
    out->size = htole32((uint32_t)gpu_output_edid(&gpu->outputs[index], index, out->edid));
    return VIRTIO_GPU_RESP_OK_EDID;
}
