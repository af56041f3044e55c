/*
 * A GPU and its pictures in two processes (devices/gpu/vhost_user_gpu_protocol.h): the interface of
 * the module vireo-vhost_user_gpu.so, which has both ends.
 *
 *   - A `source` shows on our display what another process' GPU draws. It is the part of a
 *     vhost-user device that its front end does itself (virtio/vhost_user.h).
 *   - A viewer shows our GPU's pictures on somebody else's display: it is one like a window
 *     (devices/display/display.h), at the other end of the socket that the front end gave.
 *
 * The peer is hostile in both cases. Neither ever waits for it: a source takes what is there, a
 * viewer gathers damage while the socket is full.
 */
#ifndef DEVICES_GPU_VHOST_USER_GPU_H
#define DEVICES_GPU_VHOST_USER_GPU_H

#include "base/error.h"
#include "devices/display/display.h"
#include "virtio/vhost_user.h"

/* All pictures of a source together: four screens of 7680 by 4320. */
#define GPU_SOURCE_PIXELS_MAX (UINT64_C(512) << 20)

struct gpu_vhost_user_module {
    /* A source of pictures for the display: the front end's part of the device that `name`, which
     * is borrowed, names in logs. `outputs` as in struct gpu_options. -EINVAL, -EBUSY: the display
     * has a GPU. Any thread. */
    int (*source_create)(struct display *display, const char *name, const char *outputs,
                         struct vhost_user_front_part **out, struct error *err);

    /* Attach a viewer to the display; it owns `socket`, also after an error, and detaches itself
     * when the front end is gone. On the display's loop. */
    int (*viewer_attach)(struct display *display, int socket, struct error *err);
};

#endif
