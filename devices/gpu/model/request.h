/*
 * One request of the driver: copied once, checked, carried out, answered.
 *
 * A command's function finds the request in `in`, of as many bytes as its row of the table says,
 * and returns what it is answered: VIRTIO_GPU_RESP_... An error means that nothing has changed
 * (GPU-20), and is returned through gpu_refuse, which keeps the reason for the log.
 */
#ifndef DEVICES_GPU_MODEL_REQUEST_H
#define DEVICES_GPU_MODEL_REQUEST_H

#include "devices/display/display.h"
#include "devices/gpu/model/protocol.h"
#include "devices/gpu/model/resource.h"
#include "virtio/virtqueue.h"

#include <stddef.h>
#include <stdint.h>

struct gpu;

struct gpu_request {
    const struct virtqueue_buffer *buffer; /* for what follows the structure */
    union gpu_message in;
    union gpu_answer out; /* without its header; zeroed */

    size_t more; /* bytes of the answer that are written already, behind `out` */

    /* Why it is refused: a literal, and the driver's rule that was broken; or NULL. */
    const char *rule, *reason;
};

struct gpu_command {
    const char *name;
    uint32_t type;
    uint16_t in, out; /* bytes of the request, without what may follow, and of its answer */
    int feature;      /* enum gpu_feature that has to be negotiated; -1: none */
    uint32_t (*run)(struct gpu *gpu, struct gpu_request *request);
};

static inline uint32_t gpu_refuse(struct gpu_request *request, uint32_t code, const char *rule,
                                  const char *reason)
{
    request->rule = rule;
    request->reason = reason;
    return code;
}

/* A rule of drivers that is not about one thing: ids, rectangles, sizes. */
#define GPU_RULE_FIELDS "DRV-GPU-05"

/* Both queues: the model's queue_ready. */
int gpu_queue_ready(void *model, struct virtqueue *queue);

/* A request may wait until it is known what outputs there are (display_ask): it is, as of
 * display_source_ops; or the queue is drained. */
void gpu_display_answered(void *opaque);
void gpu_finish_asking(struct gpu *gpu, const struct virtqueue *queue);

/* --- commands.c ------------------------------------------------------------------------------- */

uint32_t gpu_resource_create_2d(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_unref(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_attach_backing(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_detach_backing(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_flush(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_resource_assign_uuid(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_transfer_to_host_2d(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_set_scanout(struct gpu *gpu, struct gpu_request *request);

struct display_rect gpu_rect_of(const struct virtio_gpu_rect *rect);

uint32_t gpu_refuse_memory(struct gpu_request *request);

/* Whether a new resource may have this id: VIRTIO_GPU_RESP_OK_NODATA, or the refusal. */
uint32_t gpu_request_new_id(struct gpu *gpu, struct gpu_request *request, uint32_t id);

/* The resource of this id, or NULL and the refusal in *code. */
struct gpu_resource *gpu_request_resource(struct gpu *gpu, struct gpu_request *request, uint32_t id,
                                          uint32_t *code);

/* The resource of this id, to be shown on the scanout of this index. NULL: *code is the answer, be
 * it a refusal, or that nothing is shown there from now on, as id 0 asks for. */
struct gpu_resource *gpu_request_shown(struct gpu *gpu, struct gpu_request *request, uint32_t index,
                                       uint32_t id, uint32_t *code);

/* Take `count` struct virtio_gpu_mem_entry that begin at byte `at` of the request as a backing, of
 * malloc'ed extents that are counted as host memory. VIRTIO_GPU_RESP_OK_NODATA, or a refusal. */
uint32_t gpu_request_backing(struct gpu *gpu, struct gpu_request *request, size_t at,
                             uint32_t count, struct gpu_backing *out);

/* --- output.c --------------------------------------------------------------------------------- */

uint32_t gpu_get_display_info(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_get_edid(struct gpu *gpu, struct gpu_request *request);

/* --- blob.c ----------------------------------------------------------------------------------- */

uint32_t gpu_resource_create_blob(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_set_scanout_blob(struct gpu *gpu, struct gpu_request *request);

/* --- cursor.c --------------------------------------------------------------------------------- */

uint32_t gpu_update_cursor(struct gpu *gpu, struct gpu_request *request);
uint32_t gpu_move_cursor(struct gpu *gpu, struct gpu_request *request);

#endif
