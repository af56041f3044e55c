#include "tests/driver/gpu_card.h"

#include "base/bytes.h"
#include "tests/driver/loop_turn.h"
#include "tests/driver/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE_SIZE   64
#define RING_STEP    UINT64_C(0x20000)
#define MESSAGES     (GPU_CARD_QUEUES * RING_STEP)
#define MESSAGE_STEP UINT64_C(0x40000) /* first requests, then answers */
#define DATA         (MESSAGES + 2 * MESSAGE_STEP)
#define SERVE_TURNS  6

/* --- the device's events ---------------------------------------------------------------------- */

static void on_notify(void *opaque, uint16_t index)
{
    ((struct gpu_card *)opaque)->interrupts[index]++;
}

static void on_config_changed(void *opaque)
{
    ((struct gpu_card *)opaque)->config_changes++;
}

static void on_needs_reset(void *opaque)
{
    ((struct gpu_card *)opaque)->needs_reset = true;
}

static int on_shared_map(void *opaque, const struct virtio_shared_mapping *mapping,
                         struct error *err)
{
    struct gpu_card *card = opaque;

    if (card->refuse_mappings)
        return error_set(err, EINVAL, "no mappings");
    card->mapping = *mapping;
    card->mappings++;
    return 0;
}

static void on_shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    struct gpu_card *card = opaque;

    (void)id;
    if (card->mappings && card->mapping.offset >= offset && card->mapping.offset - offset < length)
        card->mappings--;
}

/* --- the viewer ------------------------------------------------------------------------------- */

static struct gpu_card_view *view_of(struct display_viewer *viewer, unsigned output)
{
    return &container_of(viewer, struct gpu_card, viewer)->views[output];
}

static void on_show(struct display_viewer *viewer, unsigned output,
                    const struct display_picture *picture)
{
    struct gpu_card_view *view = view_of(viewer, output);

    view->shown = picture;
    if (picture)
        view->picture = *picture;
    view->shows++;
}

static void on_damage(struct display_viewer *viewer, unsigned output,
                      const struct display_rect *rect)
{
    struct gpu_card_view *view = view_of(viewer, output);

    view->damage = *rect;
    view->damages++;
}

static void on_set_cursor(struct display_viewer *viewer, unsigned output,
                          const struct display_cursor *cursor)
{
    struct gpu_card_view *view = view_of(viewer, output);

    view->has_cursor = cursor;
    view->cursors++;
    if (!cursor)
        return;
    if (cursor->width != 64 || cursor->height != 64)
        abort();
    memcpy(view->cursor, cursor->pixels, sizeof(view->cursor));
    view->hot_x = cursor->hot_x;
    view->hot_y = cursor->hot_y;
}

static void on_move_cursor(struct display_viewer *viewer, unsigned output, int32_t x, int32_t y)
{
    view_of(viewer, output)->cursor_x = x;
    view_of(viewer, output)->cursor_y = y;
}

static void on_destroy(struct display_viewer *viewer)
{
    (void)viewer;
}

static const struct display_viewer_ops viewer_ops = {
    .show = on_show,
    .damage = on_damage,
    .set_cursor = on_set_cursor,
    .move_cursor = on_move_cursor,
    .destroy = on_destroy,
};

/* --- life ------------------------------------------------------------------------------------- */

int gpu_card_create(struct gpu_card *card, struct error *err)
{
    const struct virtio_model *model = card->model ? card->model : &gpu_model;
    int ret;

    guest_memory_init(&card->memory);
    if (guest_memory_add(&card->memory, 0, GPU_CARD_MEMORY, 0, NULL) ||
        loop_create(&card->loop, NULL) || display_create(card->loop, "test", &card->display, NULL))
        abort();
    card->options.display = card->display;
    card->viewer.ops = &viewer_ops;
    display_attach_viewer(card->display, &card->viewer);
    ret = virtio_builtin_create(model, &card->options, &card->memory, card->loop, GPU_CARD_QUEUES,
                                QUEUE_SIZE, &card->backend, err);
    if (ret) {
        display_destroy(card->display);
        loop_destroy(card->loop);
        guest_memory_destroy(&card->memory);
        return ret;
    }
    card->backend->name = "gpu0";
    card->backend->events = (struct virtio_device_events){.notify_queue = on_notify,
                                                          .config_changed = on_config_changed,
                                                          .needs_reset = on_needs_reset,
                                                          .shared_map = on_shared_map,
                                                          .shared_unmap = on_shared_unmap,
                                                          .opaque = card};
    for (unsigned i = 0; i < GPU_CARD_QUEUES; i++)
        card->kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return 0;
}

static void start_queue(struct gpu_card *card, uint16_t q, bool event_idx)
{
    struct packed_ring *packed = &card->packed_rings[q];
    struct ring *ring = &card->rings[q];
    struct virtqueue_setup setup = {.index = q, .size = QUEUE_SIZE};
    struct virtqueue_position at = {0, 0};

    if (card->packed) {
        packed_ring_init(packed, &card->memory, q * RING_STEP, QUEUE_SIZE, event_idx);
        setup.desc = GPA(packed->desc);
        setup.driver = GPA(packed->driver_event);
        setup.device = GPA(packed->device_event);
        at = (struct virtqueue_position){0x8000, 0x8000}; /* with the wrap counter */
    } else {
        ring_init(ring, &card->memory, q * RING_STEP, QUEUE_SIZE, event_idx);
        setup.desc = GPA(ring->desc);
        setup.driver = GPA(ring->avail);
        setup.device = GPA(ring->used);
    }
    if (card->backend->ops->queue_start(card->backend, &setup, at, card->kicks[q], NULL))
        abort();
}

void gpu_card_start(struct gpu_card *card, const unsigned char *bits, size_t count)
{
    struct virtio_features negotiated = {0};

    features_set(&negotiated, VIRTIO_F_VERSION_1, true);
    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    features_set(&negotiated, VIRTIO_F_RING_PACKED, card->packed);
    for (size_t i = 0; i < count; i++)
        features_set(&negotiated, bits[i], true);
    card->backend->ops->set_features(card->backend, &negotiated);
    card->next = DATA;
    card->config_changes = 0;
    for (uint16_t q = 0; q < GPU_CARD_QUEUES; q++)
        start_queue(card, q, features_has(&negotiated, VIRTIO_F_EVENT_IDX));
    card->running = true;
}

void gpu_card_stop(struct gpu_card *card)
{
    if (!card->running)
        return;
    card->running = false;
    for (uint16_t q = 0; q < GPU_CARD_QUEUES; q++) {
        card->backend->ops->queue_stop(card->backend, q);
        if (card->packed)
            packed_ring_destroy(&card->packed_rings[q]);
        else
            ring_destroy(&card->rings[q]);
    }
    card->backend->ops->reset(card->backend);
}

void gpu_card_destroy(struct gpu_card *card)
{
    gpu_card_stop(card);
    card->backend->ops->destroy(card->backend);
    display_destroy(card->display);
    loop_destroy(card->loop);
    guest_memory_destroy(&card->memory);
    for (unsigned i = 0; i < GPU_CARD_QUEUES; i++)
        close(card->kicks[i]);
}

void gpu_card_serve(struct gpu_card *card)
{
    for (unsigned i = 0; i < SERVE_TURNS; i++)
        loop_run_for(card->loop, 0);
}

/* --- memory and configuration ----------------------------------------------------------------- */

void *gpu_card_at(struct gpu_card *card, uint64_t address, size_t length)
{
    return shared_map(&card->memory, address, MAX(length, (size_t)1));
}

uint64_t gpu_card_alloc(struct gpu_card *card, size_t length)
{
    uint64_t address = card->next;

    card->next = align_up(card->next + length, 4096);
    memset(gpu_card_at(card, address, length), 0, length);
    return address;
}

uint64_t gpu_card_config(struct gpu_card *card, uint32_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    card->backend->ops->config_read(card->backend, offset, bytes, size);
    return load_le64(bytes);
}

void gpu_card_write_config(struct gpu_card *card, uint32_t offset, uint32_t value)
{
    uint8_t bytes[4];

    store_le32(bytes, value);
    card->backend->ops->config_write(card->backend, offset, bytes, sizeof(bytes));
}

/* --- requests --------------------------------------------------------------------------------- */

static int add(struct gpu_card *card, unsigned q, const struct ring_element *e, unsigned count)
{
    int added;

    if (card->packed) {
        added = packed_ring_add(&card->packed_rings[q], e, count, RING_DIRECT);
        packed_ring_publish(&card->packed_rings[q]);
    } else {
        added = ring_add(&card->rings[q], e, count, RING_DIRECT);
        ring_publish(&card->rings[q]);
    }
    if (added < 0)
        abort();
    eventfd_write(card->kicks[q], 1);
    return added;
}

/* The next used buffer's id, or -1. */
static int collect(struct gpu_card *card, unsigned q, uint32_t *length)
{
    struct packed_used packed;
    struct ring_used used;

    if (card->packed) {
        if (!packed_ring_collect(&card->packed_rings[q], &packed))
            return -1;
        *length = packed.length;
        return packed.id;
    }
    if (!ring_collect(&card->rings[q], &used))
        return -1;
    *length = used.length;
    return (int)used.id;
}

#define SLOT 4096

void gpu_card_post(struct gpu_card *card, unsigned slot, const void *request, size_t length)
{
    const struct ring_element e[] = {
        {MESSAGES + (uint64_t)slot * SLOT, (uint32_t)length, false},
        {MESSAGES + MESSAGE_STEP + (uint64_t)slot * SLOT, GPU_CARD_ROOM, true},
    };

    memcpy(gpu_card_at(card, e[0].address, length), request, length);
    card->posted[slot] = add(card, 0, e, 2);
    gpu_card_serve(card);
}

uint32_t gpu_card_answer(struct gpu_card *card, unsigned slot)
{
    uint32_t length;
    int id;

    while ((id = collect(card, 0, &length)) >= 0)
        for (unsigned i = 0; i < ARRAY_SIZE(card->posted); i++)
            if (card->posted[i] == id)
                card->posted[i] = -1;
    if (card->posted[slot] >= 0)
        return 0;
    return load_le32(gpu_card_at(card, MESSAGES + MESSAGE_STEP + (uint64_t)slot * SLOT, 4));
}

uint32_t gpu_card_ask(struct gpu_card *card, unsigned queue, const void *request, size_t length,
                      void *answer, size_t room, uint32_t *got)
{
    const struct ring_element e[] = {{MESSAGES, (uint32_t)length, false},
                                     {MESSAGES + MESSAGE_STEP, (uint32_t)room, true}};
    uint32_t used = 0;

    memcpy(gpu_card_at(card, MESSAGES, length), request, length);
    memset(gpu_card_at(card, MESSAGES + MESSAGE_STEP, room), 0xee, room);
    add(card, queue, length ? e : e + 1, (length ? 1 : 0) + (room ? 1 : 0));
    gpu_card_serve(card);
    if (collect(card, queue, &used) < 0)
        return 0;
    if (got)
        *got = used;
    memcpy(answer, gpu_card_at(card, MESSAGES + MESSAGE_STEP, room), MIN((size_t)used, room));
    return used >= 4 ? load_le32(answer) : 0;
}

uint32_t gpu_card_command(struct gpu_card *card, const void *request, size_t length)
{
    struct virtio_gpu_ctrl_hdr answer;

    return gpu_card_ask(card, 0, request, length, &answer, sizeof(answer), NULL);
}

uint32_t gpu_card_create_2d(struct gpu_card *card, uint32_t id, uint32_t format, uint32_t width,
                            uint32_t height)
{
    const struct virtio_gpu_resource_create_2d request = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
        .resource_id = id,
        .format = format,
        .width = width,
        .height = height,
    };

    return gpu_card_command(card, &request, sizeof(request));
}

uint32_t gpu_card_attach(struct gpu_card *card, uint32_t id,
                         const struct virtio_gpu_mem_entry *entries, uint32_t count)
{
    size_t bytes = sizeof(struct virtio_gpu_resource_attach_backing) + count * sizeof(*entries);
    struct virtio_gpu_resource_attach_backing *request = calloc(1, bytes);
    uint32_t type;

    request->hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING;
    request->resource_id = id;
    request->nr_entries = count;
    memcpy(request + 1, entries, count * sizeof(*entries));
    type = gpu_card_command(card, request, bytes);
    free(request);
    return type;
}

uint32_t gpu_card_resource(struct gpu_card *card, uint32_t type, uint32_t id)
{
    const struct virtio_gpu_resource_unref request = {.hdr.type = type, .resource_id = id};

    return gpu_card_command(card, &request, sizeof(request));
}

uint32_t gpu_card_transfer(struct gpu_card *card, uint32_t id, struct virtio_gpu_rect rect,
                           uint64_t offset)
{
    const struct virtio_gpu_transfer_to_host_2d request = {
        .hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
        .r = rect,
        .offset = offset,
        .resource_id = id,
    };

    return gpu_card_command(card, &request, sizeof(request));
}

uint32_t gpu_card_set_scanout(struct gpu_card *card, uint32_t scanout, uint32_t id,
                              struct virtio_gpu_rect rect)
{
    const struct virtio_gpu_set_scanout request = {
        .hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT,
        .r = rect,
        .scanout_id = scanout,
        .resource_id = id,
    };

    return gpu_card_command(card, &request, sizeof(request));
}

uint32_t gpu_card_flush(struct gpu_card *card, uint32_t id, struct virtio_gpu_rect rect)
{
    const struct virtio_gpu_resource_flush request = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH,
        .r = rect,
        .resource_id = id,
    };

    return gpu_card_command(card, &request, sizeof(request));
}
