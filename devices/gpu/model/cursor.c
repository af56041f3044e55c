/* The pointer (5.7.6.10). */
#include "devices/gpu/model/cursor.h"

#include "base/bytes.h"
#include "devices/gpu/model/render.h"
#include "devices/gpu/model/state.h"

#define OK     VIRTIO_GPU_RESP_OK_NODATA
#define PIXELS (GPU_CURSOR_SIZE * GPU_CURSOR_SIZE)
#define ROW    (GPU_CURSOR_SIZE * GPU_BYTES_PER_PIXEL)

/* A pixel as DRM_FORMAT_ARGB8888. `p` is what the format's bytes are as a little-endian number. */
static uint32_t to_argb(uint32_t format, uint32_t p)
{
    switch (format) {
    case VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM:
    case VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM:
        return __builtin_bswap32(p);
    case VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM:
    case VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM:
        return (p & 0xff00ff00) | (p & 0xff) << 16 | (p >> 16 & 0xff);
    case VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM:
    case VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM:
        return p >> 8 | p << 24;
    default:
        return p;
    }
}

static bool has_alpha(uint32_t format)
{
    return format != VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM &&
           format != VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM &&
           format != VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM && format != VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM;
}

/* DRV-GPU-06. What is in a blob is not said: B8G8R8A8, as of all cursors of Linux. So is what the
 * renderer reads. */
static int read_image(struct gpu *gpu, const struct gpu_resource *resource, uint32_t *pixels)
{
    const struct gpu_rows rows = {0, ROW, (uint8_t *)pixels, ROW, ROW, GPU_CURSOR_SIZE};
    const struct display_rect whole = {0, 0, GPU_CURSOR_SIZE, GPU_CURSOR_SIZE};

    if (resource->kind == GPU_RESOURCE_BLOB)
        return gpu_rows_fit(&rows, resource->blob_size)
                   ? gpu_backing_read(gpu->memory, &resource->backing, &rows)
                   : -1;
    if (resource->layout.width != GPU_CURSOR_SIZE || resource->layout.height != GPU_CURSOR_SIZE)
        return -1;
    if (resource->kind == GPU_RESOURCE_TEXTURE)
        return gpu_texture_read(gpu, resource, &whole, pixels, ROW);
    memcpy(pixels, resource->pixels, sizeof(*pixels) * PIXELS);
    return 0;
}

static uint32_t set_image(struct gpu *gpu, struct gpu_request *request, unsigned index)
{
    const struct virtio_gpu_update_cursor *in = &request->in.cursor;
    uint32_t code = OK, pixels[PIXELS], format, opaque;
    struct gpu_resource *resource =
        gpu_request_resource(gpu, request, le32toh(in->resource_id), &code);
    struct gpu_cursor *cursor = &gpu->cursors[index];
    struct display_cursor shown = {GPU_CURSOR_SIZE, GPU_CURSOR_SIZE, le32toh(in->hot_x),
                                   le32toh(in->hot_y), cursor->pixels};

    if (!resource)
        return code;
    if (read_image(gpu, resource, pixels))
        return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "DRV-GPU-06",
                          "a pointer that is not 64 by 64 pixels");
    format = resource->kind == GPU_RESOURCE_IMAGE ? resource->layout.format
                                                  : (uint32_t)VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM;
    opaque = has_alpha(resource->layout.format) ? 0 : 0xff000000;
    for (unsigned i = 0; i < PIXELS; i++)
        cursor->pixels[i] = to_argb(format, le32toh(pixels[i])) | opaque;
    shown.hot_x = MIN(shown.hot_x, GPU_CURSOR_SIZE - 1u);
    shown.hot_y = MIN(shown.hot_y, GPU_CURSOR_SIZE - 1u);
    display_set_cursor(gpu->display, index, &shown);
    return OK;
}

static uint32_t check_scanout(struct gpu *gpu, struct gpu_request *request)
{
    if (le32toh(request->in.cursor.pos.scanout_id) < gpu->output_count)
        return OK;
    return gpu_refuse(request, VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID, GPU_RULE_FIELDS,
                      "there is no such scanout");
}

/* It may be left or above of the output: then the driver's numbers are negative. */
uint32_t gpu_move_cursor(struct gpu *gpu, struct gpu_request *request)
{
    const struct virtio_gpu_cursor_pos *pos = &request->in.cursor.pos;
    uint32_t code = check_scanout(gpu, request);

    if (code == OK)
        display_move_cursor(gpu->display, le32toh(pos->scanout_id), (int32_t)le32toh(pos->x),
                            (int32_t)le32toh(pos->y));
    return code;
}

uint32_t gpu_update_cursor(struct gpu *gpu, struct gpu_request *request)
{
    unsigned index = le32toh(request->in.cursor.pos.scanout_id);
    uint32_t code = check_scanout(gpu, request);

    if (code != OK)
        return code;
    if (request->in.cursor.resource_id)
        code = set_image(gpu, request, index);
    else
        display_set_cursor(gpu->display, index, NULL);
    return code == OK ? gpu_move_cursor(gpu, request) : code;
}
