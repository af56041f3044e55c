/*
 * Both ends of the vhost-user-gpu protocol: a display whose pictures come over a socket (`shown`),
 * at whose other end is another display with a fake GPU (`drawn`), or the test itself (`raw`).
 * Everything on one loop, which the test turns.
 */
#ifndef TESTS_UNIT_VHOST_USER_GPU_FIXTURE_H
#define TESTS_UNIT_VHOST_USER_GPU_FIXTURE_H

#include "base/bytes.h"
#include "devices/display/display.h"
#include "devices/gpu/foreign.h"
#include "devices/gpu/vhost_user_gpu.h"
#include "devices/gpu/vhost_user_gpu_protocol.h"
#include "tests/driver/fake_gpu.h"
#include "tests/driver/loop_turn.h"
#include "tests/unit/build_directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

#define WAIT_NS UINT64_C(5000000000)

struct gpu_rig {
    struct loop *loop;
    const struct gpu_vhost_user_module *module;
    struct display *shown;
    struct vhost_user_front_part *part; /* of `shown` */
    struct virtio_backend backend;      /* whose device hears of changes */
    unsigned config_changes;

    struct display *drawn; /* or... */
    struct fake_gpu gpu;
    int raw; /* ...the back end's end of the socket; -1: `drawn` has it */

    /* What a viewer of `shown` has heard. */
    struct display_viewer viewer;
    bool attached;
    unsigned shows, damages, cursors, moves;
    struct display_rect damage; /* the last */
    struct display_cursor cursor;
    bool has_cursor;
    int32_t x, y;
};

static inline struct gpu_rig *rig_of(struct display_viewer *viewer)
{
    return container_of(viewer, struct gpu_rig, viewer);
}

static inline void rig_show(struct display_viewer *viewer, unsigned output,
                            const struct display_picture *picture)
{
    (void)output;
    (void)picture;
    rig_of(viewer)->shows++;
}

static inline void rig_damage(struct display_viewer *viewer, unsigned output,
                              const struct display_rect *rect)
{
    (void)output;
    rig_of(viewer)->damages++;
    rig_of(viewer)->damage = *rect;
}

static inline void rig_set_cursor(struct display_viewer *viewer, unsigned output,
                                  const struct display_cursor *cursor)
{
    struct gpu_rig *rig = rig_of(viewer);

    (void)output;
    rig->cursors++;
    rig->has_cursor = cursor;
    if (cursor)
        rig->cursor = *cursor;
}

static inline void rig_move_cursor(struct display_viewer *viewer, unsigned output, int32_t x,
                                   int32_t y)
{
    (void)output;
    rig_of(viewer)->moves++;
    rig_of(viewer)->x = x;
    rig_of(viewer)->y = y;
}

static inline void rig_detached(struct display_viewer *viewer)
{
    rig_of(viewer)->attached = false;
}

static const struct display_viewer_ops rig_viewer_ops = {
    .show = rig_show,
    .damage = rig_damage,
    .set_cursor = rig_set_cursor,
    .move_cursor = rig_move_cursor,
    .destroy = rig_detached,
};

static const struct display_viewer_ops rig_viewer_of_dmabufs_ops = {
    .kinds = 1 << DISPLAY_DMABUF,
    .show = rig_show,
    .damage = rig_damage,
    .destroy = rig_detached,
};

static inline void rig_config_changed(void *opaque)
{
    ((struct gpu_rig *)opaque)->config_changes++;
}

/* --- the loop --- */

static inline void rig_turn(struct gpu_rig *rig, uint64_t ns)
{
    loop_run_for(rig->loop, ns);
}

/* Turn the loop until this is so. */
#define RIG_UNTIL(rig, condition)                                         \
    do {                                                                  \
        for (uint64_t rig_end = loop_now_ns() + WAIT_NS; !(condition);) { \
            if (loop_now_ns() > rig_end)                                  \
                fail_msg("%s", #condition);                               \
            rig_turn(rig, 1000000);                                       \
        }                                                                 \
    } while (0)

/* --- life --- */

static inline void rig_view(struct gpu_rig *rig, const struct display_viewer_ops *ops)
{
    rig->viewer.ops = ops;
    rig->attached = true;
    display_attach_viewer(rig->shown, &rig->viewer);
}

static inline struct gpu_rig *rig_open(const char *outputs)
{
    struct gpu_rig *rig = calloc(1, sizeof(*rig));
    struct error err = ERROR_INIT;

    build_directory();
    assert_non_null(rig);
    rig->raw = -1;
    assert_int_equal(gpu_vhost_user_load(&rig->module, &err), 0);
    assert_int_equal(loop_create(&rig->loop, NULL), 0);
    assert_int_equal(display_create(rig->loop, "front", &rig->shown, NULL), 0);
    assert_int_equal(rig->module->source_create(rig->shown, "gpu0", outputs, &rig->part, &err), 0);
    rig->backend.events.config_changed = rig_config_changed;
    rig->backend.events.opaque = rig;
    rig->part->backend = &rig->backend;
    rig_view(rig, &rig_viewer_ops);
    return rig;
}

/* The test is the back end. */
static inline struct gpu_rig *rig_open_raw(const char *outputs)
{
    struct gpu_rig *rig = rig_open(outputs);

    rig->raw = rig->part->ops->socket(rig->part, NULL);
    assert_true(rig->raw >= 0);
    rig_turn(rig, 1000000);
    return rig;
}

static inline void rig_draw(struct gpu_rig *rig, unsigned outputs)
{
    assert_int_equal(display_create(rig->loop, "back", &rig->drawn, NULL), 0);
    assert_int_equal(fake_gpu_attach(&rig->gpu, rig->drawn, outputs), 0);
}

static inline void rig_connect(struct gpu_rig *rig)
{
    int fd = rig->part->ops->socket(rig->part, NULL);

    assert_true(fd >= 0);
    assert_int_equal(rig->module->viewer_attach(rig->drawn, fd, NULL), 0);
}

/* A fake GPU is. */
static inline struct gpu_rig *rig_open_drawn(const char *outputs, unsigned count)
{
    struct gpu_rig *rig = rig_open(outputs);

    rig_draw(rig, count);
    rig_connect(rig);
    return rig;
}

static inline void rig_close(struct gpu_rig *rig)
{
    if (rig->drawn) {
        fake_gpu_detach(&rig->gpu);
        display_destroy(rig->drawn);
    }
    if (rig->raw >= 0)
        close(rig->raw);
    rig->part->ops->destroy(rig->part);
    display_destroy(rig->shown);
    assert_false(rig->attached);
    loop_destroy(rig->loop);
    free(rig);
}

/* --- pictures --- */

/* The colour of a pixel that is shown, of a picture that is XRGB8888. */
static inline uint32_t rig_pixel(const struct gpu_rig *rig, unsigned output, uint32_t x, uint32_t y)
{
    const struct display_picture *picture = display_picture(rig->shown, output);

    return load_le32(picture->pixels + (size_t)y * picture->stride + 4 * (size_t)x) & 0xffffff;
}

/* Whether the rectangle has the colours of the fake GPU's seed. */
static inline bool rig_has(const struct gpu_rig *rig, unsigned output,
                           const struct display_rect *rect, uint32_t seed)
{
    const struct display_picture *picture = display_picture(rig->shown, output);

    if (!picture || picture->kind != DISPLAY_PIXELS || picture->width < rect->x + rect->width ||
        picture->height < rect->y + rect->height)
        return false;
    for (uint32_t y = rect->y; y < rect->y + rect->height; y++)
        for (uint32_t x = rect->x; x < rect->x + rect->width; x++)
            if (rig_pixel(rig, output, x, y) != fake_gpu_colour(x, y, seed))
                return false;
    return true;
}

#endif
