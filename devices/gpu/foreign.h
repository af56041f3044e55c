/*
 * A GPU that another process serves: its options, and the module that brings its pictures to our
 * display, or those of a GPU of ours to somebody else's.
 */
#ifndef DEVICES_GPU_FOREIGN_H
#define DEVICES_GPU_FOREIGN_H

#include "base/error.h"
#include "virtio/foreign.h"

struct display;
struct gpu_vhost_user_module;

extern const struct virtio_foreign_type gpu_foreign;

/* The module of both ends (devices/gpu/vhost_user_gpu.h), which stays. Main thread. */
int gpu_vhost_user_load(const struct gpu_vhost_user_module **out, struct error *err);

/* As of virtio_model. A front end has the screens, and says how many. */
int gpu_show_elsewhere(void *options, struct error *err);
int gpu_attach_front_end(struct display *display, int socket, struct error *err);

#endif
