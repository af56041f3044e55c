/*
 * Between the files of the viewer that is another process' display.
 *
 *   viewer.c        its life, the socket, and what the display says
 *   viewer_say.c    what is said next on the socket
 *   viewer_hear.c   the front end's answers
 *   viewer_pixels.c pixels on their way out
 */
#ifndef DEVICES_GPU_VHOST_USER_VIEWER_H
#define DEVICES_GPU_VHOST_USER_VIEWER_H

#include "devices/gpu/vhost_user/message.h"
#include "devices/gpu/vhost_user_gpu.h"

struct gpu_viewer_output {
    struct display_picture picture;
    bool shown;
    uint32_t width, height;     /* as SCANOUT has said or will; 0: off */
    bool scanout_due;           /* and has yet to say */
    struct display_rect damage; /* that was not sent; width 0: none */

    /* The pointer; what is due is sent as one message. */
    bool cursor_shown, cursor_due, position_due;
    int32_t x, y;
    uint32_t hot_x, hot_y;
    uint32_t cursor[VHOST_USER_GPU_CURSOR_SIZE * VHOST_USER_GPU_CURSOR_SIZE];
};

/* Pixels behind an UPDATE. What was promised is sent, even if the picture is gone. */
struct gpu_viewer_update {
    const struct gpu_viewer_output *output; /* NULL: gone, zeroes are sent */
    struct display_rect rect;
    uint64_t done, size; /* bytes; equal: nothing is on its way */
    uint8_t *bounce;     /* of GPU_VIEWER_BOUNCE bytes; for pictures that are not XRGB8888 */
};
#define GPU_VIEWER_BOUNCE (256u << 10) /* at least a row of DISPLAY_SIZE_MAX */

struct gpu_viewer {
    struct display_viewer viewer;
    struct loop *loop;
    struct loop_fd socket;
    struct loop_task gone; /* the front end is */
    bool ended;            /* nothing more is said */
    struct gpu_receiver in;
    struct gpu_sender out;
    struct gpu_viewer_update update;

    uint32_t features;    /* of the protocol, that both know */
    uint32_t due;         /* questions to ask: bits of GPU_REQUEST(...) */
    uint32_t awaited;     /* answers that are to come */
    unsigned edid_output; /* the one that GET_EDID asks about */
    bool asked_by_gpu;    /* which waits for them (display_ask) */
    struct virtio_gpu_display_one modes[VIRTIO_GPU_MAX_SCANOUTS]; /* as last heard */
    struct gpu_viewer_output outputs[DISPLAY_OUTPUTS_MAX];
};

/* The bit of a request. */
#define GPU_REQUEST(name) (UINT32_C(1) << VHOST_USER_GPU_##name)

static inline unsigned gpu_viewer_outputs(const struct gpu_viewer *v)
{
    return display_outputs(v->viewer.display);
}

/* --- viewer.c: as in gpu_vhost_user_module --- */

int gpu_viewer_attach(struct display *display, int socket, struct error *err);

/* --- viewer_say.c --- */

/* Say what is due, as far as the socket takes it. */
void gpu_viewer_say(struct gpu_viewer *v);

/* --- viewer_hear.c --- */

/* Hear what is there: 0, or -errno when there is no front end any more, or none that makes sense.
 */
int gpu_viewer_hear(struct gpu_viewer *v);

/* Ask what outputs there are and what they can do. */
void gpu_viewer_ask(struct gpu_viewer *v);

/* --- viewer_pixels.c --- */

/* Promise the output's damage: the message is the caller's to send first. */
void gpu_viewer_begin_update(struct gpu_viewer *v, struct gpu_viewer_output *output);

/* As gpu_send. */
int gpu_viewer_send_pixels(struct gpu_viewer *v);

/* The output shows something else, or nothing, from now on. */
void gpu_viewer_change_picture(struct gpu_viewer *v, struct gpu_viewer_output *output,
                               const struct display_picture *picture);

#endif
