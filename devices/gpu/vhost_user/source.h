/*
 * Between the files of a source: somebody else's GPU on our display.
 *
 *   source.c         its life, the socket, and what is asked of and told to viewers
 *   source_config.c  the part of the device's configuration that is the front end's
 *   source_answer.c  what the back end asks
 *   source_show.c    pictures and pointers that it sends
 *   source_dmabuf.c  pictures that it shares
 */
#ifndef DEVICES_GPU_VHOST_USER_SOURCE_H
#define DEVICES_GPU_VHOST_USER_SOURCE_H

#include "base/bytes.h"
#include "base/memory_guard.h"
#include "devices/gpu/model/output.h"
#include "devices/gpu/vhost_user/message.h"
#include "devices/gpu/vhost_user_gpu.h"

#include <stdatomic.h>

/* A buffer that is shared with us. */
struct gpu_source_dmabuf {
    int fd; /* -1: there is none */
    struct vhost_user_gpu_dmabuf_scanout layout;
    uint64_t modifier;
    bool mapped, tried;
    struct guarded_map map;
};

struct gpu_source_output {
    struct gpu_source *source;

    struct gpu_output wanted; /* what viewers would like; 0 by 0: its plug is pulled */

    /* What is shown, from `pixels` or the dmabuf. */
    struct display_picture picture;
    bool shown;
    void *pixels; /* ours, of pixels_size bytes; NULL: none */
    size_t pixels_size;
    struct gpu_source_dmabuf dmabuf;

    /* The pointer. */
    bool has_cursor, cursor_hidden;
    uint32_t hot_x, hot_y;
    uint32_t cursor[VHOST_USER_GPU_CURSOR_SIZE * VHOST_USER_GPU_CURSOR_SIZE];
};

/* Pixels of an UPDATE on their way in. */
struct gpu_source_update {
    struct gpu_source_output *output; /* NULL: they are dropped */
    struct display_rect rect;
    uint64_t done, size; /* bytes; equal: there is none */
};

struct gpu_source {
    struct vhost_user_front_part part;
    struct display *display;
    struct loop *loop; /* the display's: all below is its own, but for what is atomic */
    const char *name;
    unsigned output_count;

    atomic_uint events_read; /* GPU configuration, 5.7.4 */
    atomic_int next_socket;  /* of a new connection; -1: none */
    struct loop_task next_task, reset_task;

    struct loop_fd socket; /* .fd -1: there is no back end */
    struct gpu_receiver in;
    struct gpu_sender answer;
    struct gpu_source_update update;

    struct loop_fd lost; /* an eventfd: a buffer was taken away while it was mapped */
    size_t pixels_size;  /* of all outputs */
    struct gpu_source_output outputs[];
};

static inline struct gpu_source *gpu_source_of(struct vhost_user_front_part *part)
{
    return container_of(part, struct gpu_source, part);
}

/* --- source.c: as in gpu_vhost_user_module --- */

int gpu_source_create(struct display *display, const char *name, const char *outputs,
                      struct vhost_user_front_part **out, struct error *err);

/* --- source_config.c: any thread --- */

void gpu_source_config_read(struct vhost_user_front_part *part, uint32_t offset, void *data,
                            uint32_t len);
void gpu_source_config_write(struct vhost_user_front_part *part, uint32_t offset, const void *data,
                             uint32_t len);

/* The driver has to look at outputs anew. */
void gpu_source_tell_display(struct gpu_source *source);

/* --- source_answer.c --- */

void gpu_source_answer_features(struct gpu_source *source);
void gpu_source_answer_display_info(struct gpu_source *source);
void gpu_source_answer_edid(struct gpu_source *source, uint32_t id);
void gpu_source_answer_update(struct gpu_source *source);

/* --- source_show.c --- */

/* The output of this id; NULL, which is logged, when there is none. */
struct gpu_source_output *gpu_source_output(struct gpu_source *source, uint32_t id);

void gpu_source_scanout(struct gpu_source *source, const struct vhost_user_gpu_scanout *scanout);
void gpu_source_cursor(struct gpu_source *source, const struct vhost_user_gpu_message *message);

/* An UPDATE whose pixels follow: 1, or -EPROTO. Then, those that are there: 1 when they were the
 * last, 0, or -errno. */
int gpu_source_update_begin(struct gpu_source *source, const struct vhost_user_gpu_message *m);
int gpu_source_update_receive(struct gpu_source *source);

/* Nothing and no pointer. */
void gpu_source_blank(struct gpu_source_output *output);

/* Pixels of our own for a picture of this size, shown from now on; false: there are none. */
bool gpu_source_show_pixels(struct gpu_source_output *output, uint32_t width, uint32_t height,
                            uint32_t fourcc);

/* --- source_dmabuf.c --- */

/* Takes the descriptor. */
void gpu_source_dmabuf_scanout(struct gpu_source *source,
                               const struct vhost_user_gpu_dmabuf_scanout *layout,
                               uint64_t modifier, int fd);
void gpu_source_dmabuf_update(struct gpu_source *source,
                              const struct vhost_user_gpu_update *update);
void gpu_source_dmabuf_release(struct gpu_source_output *output);

/* A viewer came: one that may not know dmabufs. */
void gpu_source_dmabuf_refresh(struct gpu_source_output *output);

#endif
