/*
 * virtio-gpu (specification 5.7): pictures for the machine's display.
 *
 * The table of the type is here, in gpu.c; the model itself is the module vireo-gpu.so
 * (devices/gpu/model/), and what 3D needs is another one (devices/gpu/renderer.h).
 */
#ifndef DEVICES_GPU_GPU_H
#define DEVICES_GPU_GPU_H

#include "virtio/builtin.h"

#include <stdbool.h>
#include <stdint.h>

struct gpu_options {
    char *outputs;           /* "WxH[@HZ][+...]" */
    uint64_t max_hostmem;    /* bytes that the guest may have us allocate; 0: the default */
    bool virgl;              /* 3D, without which there is nothing of the next three: */
    bool venus, drm;         /* capsets beyond VIRGL and VIRGL2 */
    char *rendernode;        /* a path; NULL: none */
    uint64_t hostmem;        /* bytes of the region that host blobs are mapped in; 0: none */
    bool all_outputs;        /* there are DISPLAY_OUTPUTS_MAX, of which others are unplugged */
    struct display *display; /* NULL: nobody looks */
};

/* 5.7.3 */
enum gpu_feature {
    GPU_F_VIRGL = 0,
    GPU_F_EDID = 1,
    GPU_F_RESOURCE_UUID = 2,
    GPU_F_RESOURCE_BLOB = 3,
    GPU_F_CONTEXT_INIT = 4,
    GPU_F_BLOB_ALIGNMENT = 5,
};

/* 5.7.4 Device configuration layout */
enum gpu_config {
    GPU_CONFIG_EVENTS_READ = 0,
    GPU_CONFIG_EVENTS_CLEAR = 4,
    GPU_CONFIG_NUM_SCANOUTS = 8,
    GPU_CONFIG_NUM_CAPSETS = 12,
    GPU_CONFIG_BLOB_ALIGNMENT = 16,
    GPU_CONFIG_SIZE = 20,
};

extern const struct virtio_model gpu_model;

#endif
