/*
 * What driver and device say to each other (specification 5.7.6): the kernel's header, what it
 * lacks, and that all of it has the sizes of the specification (GPU-05, GPU-11, GPU-12).
 */
#ifndef DEVICES_GPU_MODEL_PROTOCOL_H
#define DEVICES_GPU_MODEL_PROTOCOL_H

#include <linux/virtio_gpu.h>

#define GPU_RINGS           64 /* ring_idx is below it */
#define GPU_CURSOR_SIZE     64 /* 5.7.6.10: pixels, width and height */
#define GPU_BLOB_ALIGNMENT  4096
#define GPU_BYTES_PER_PIXEL 4 /* of all formats */

/* Everything that may be in a request before entries or 3D commands. */
union gpu_message {
    struct virtio_gpu_ctrl_hdr hdr;
    struct virtio_gpu_resource_create_2d create_2d;
    struct virtio_gpu_resource_unref unref;
    struct virtio_gpu_set_scanout set_scanout;
    struct virtio_gpu_resource_flush flush;
    struct virtio_gpu_transfer_to_host_2d transfer_2d;
    struct virtio_gpu_resource_attach_backing attach_backing;
    struct virtio_gpu_resource_detach_backing detach_backing;
    struct virtio_gpu_get_capset_info get_capset_info;
    struct virtio_gpu_get_capset get_capset;
    struct virtio_gpu_cmd_get_edid get_edid;
    struct virtio_gpu_resource_assign_uuid assign_uuid;
    struct virtio_gpu_resource_create_blob create_blob;
    struct virtio_gpu_set_scanout_blob set_scanout_blob;
    struct virtio_gpu_ctx_create ctx_create;
    struct virtio_gpu_ctx_resource ctx_resource;
    struct virtio_gpu_resource_create_3d create_3d;
    struct virtio_gpu_transfer_host_3d transfer_3d;
    struct virtio_gpu_cmd_submit submit;
    struct virtio_gpu_resource_map_blob map_blob;
    struct virtio_gpu_resource_unmap_blob unmap_blob;
    struct virtio_gpu_update_cursor cursor;
};

union gpu_answer {
    struct virtio_gpu_ctrl_hdr hdr;
    struct virtio_gpu_resp_display_info display_info;
    struct virtio_gpu_resp_edid edid;
    struct virtio_gpu_resp_capset_info capset_info;
    struct virtio_gpu_resp_resource_uuid uuid;
    struct virtio_gpu_resp_map_info map_info;
};

#define GPU_SIZE(type, size) _Static_assert(sizeof(struct virtio_gpu_##type) == (size), #type)

GPU_SIZE(ctrl_hdr, 24);
GPU_SIZE(mem_entry, 16);
GPU_SIZE(resource_create_2d, 40);
GPU_SIZE(resource_unref, 32);
GPU_SIZE(set_scanout, 48);
GPU_SIZE(resource_flush, 48);
GPU_SIZE(transfer_to_host_2d, 56);
GPU_SIZE(resource_attach_backing, 32);
GPU_SIZE(resource_detach_backing, 32);
GPU_SIZE(get_capset_info, 32);
GPU_SIZE(get_capset, 32);
GPU_SIZE(cmd_get_edid, 32);
GPU_SIZE(resource_assign_uuid, 32);
GPU_SIZE(resource_create_blob, 56);
GPU_SIZE(set_scanout_blob, 96);
GPU_SIZE(ctx_create, 96);
GPU_SIZE(ctx_resource, 32);
GPU_SIZE(resource_create_3d, 72);
GPU_SIZE(transfer_host_3d, 72);
GPU_SIZE(cmd_submit, 32);
GPU_SIZE(resource_map_blob, 40);
GPU_SIZE(resource_unmap_blob, 32);
GPU_SIZE(update_cursor, 56);
GPU_SIZE(resp_display_info, 408);
GPU_SIZE(resp_edid, 1056);
GPU_SIZE(resp_capset_info, 40);
GPU_SIZE(resp_resource_uuid, 40);
GPU_SIZE(resp_map_info, 32);

#endif
