/*
 * Resources: pictures and blobs that the driver names by ids of its choice; and the lists of guest
 * memory behind them.
 *
 * What a guest can make us allocate is counted, and there is a limit to it (`max-hostmem`).
 */
#ifndef DEVICES_GPU_MODEL_RESOURCE_H
#define DEVICES_GPU_MODEL_RESOURCE_H

#include "guest/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct gpu;

/* --- backing ---------------------------------------------------------------------------------- */

struct gpu_extent {
    gpa_t address;
    uint32_t length;
};

/* Each transfer looks through them: no more than 2 GiB has in single pages. */
#define GPU_ENTRIES_MAX (1u << 19)

/* Guest memory, in pieces. Each was in one region of guest memory when it was named; that it still
 * is there is checked at each use, since a front end may take memory away. */
struct gpu_backing {
    struct gpu_extent *extents; /* NULL: there is no backing */
    uint32_t count;
    uint64_t size; /* bytes of all */
};

/* Free its extents, which are counted as host memory; then there is none. */
void gpu_backing_release(struct gpu *gpu, struct gpu_backing *backing);

/* Rows of bytes in a backing, and where they go. All of them are within its size. */
struct gpu_rows {
    uint64_t offset; /* of the first one in the backing */
    uint32_t stride; /* there, bytes */
    uint8_t *out;
    size_t out_stride;
    size_t bytes; /* of one row, at most both strides */
    uint32_t count;
};

/* Copy them; -EFAULT when memory is gone. */
int gpu_backing_read(const struct guest_memory *memory, const struct gpu_backing *backing,
                     const struct gpu_rows *rows);

/* Whether all bytes of the rows are within so many bytes. */
bool gpu_rows_fit(const struct gpu_rows *rows, uint64_t size);

/* Where these bytes are, when they are in one piece for us; else NULL. */
uint8_t *gpu_backing_map(const struct guest_memory *memory, const struct gpu_backing *backing,
                         uint64_t offset, uint64_t length);

/* --- resources -------------------------------------------------------------------------------- */

/* A rectangle of pixels, 4 bytes each, in memory that has rows. */
struct gpu_layout {
    uint32_t width, height;
    uint32_t format; /* VIRTIO_GPU_FORMAT_... */
    uint32_t stride; /* bytes */
    uint64_t offset; /* of the first row, bytes */
};

enum gpu_resource_kind {
    GPU_RESOURCE_IMAGE,   /* RESOURCE_CREATE_2D: pixels in our memory */
    GPU_RESOURCE_TEXTURE, /* the renderer's */
    GPU_RESOURCE_BLOB,    /* bytes, in guest memory or the renderer's */
};

struct gpu_resource {
    uint32_t id; /* not 0 */
    enum gpu_resource_kind kind;
    struct gpu_layout layout; /* of images and textures */
    uint8_t *pixels;          /* of images */
    struct gpu_backing backing;

    bool rendered;     /* the renderer knows it, too */
    struct iovec *iov; /* the backing, which the renderer has borrowed; or NULL */

    uint64_t blob_size;
    bool mapped;                      /* in the region that the driver sees... */
    uint64_t map_offset;              /* ...there */
    uint32_t blob_memory, blob_flags; /* VIRTIO_GPU_BLOB_... */

    bool has_uuid;
    uint8_t uuid[16];

    uint64_t charge;           /* host memory that is counted for it */
    struct gpu_resource *next; /* of those whose ids have the same hash */
};

#define GPU_RESOURCE_BUCKETS 4096
#define GPU_RESOURCES_MAX    65536

struct gpu_resources {
    struct gpu_resource *buckets[GPU_RESOURCE_BUCKETS];
    unsigned count;
    uint64_t hostmem, hostmem_max; /* bytes */
};

struct gpu_resource *gpu_resource_find(struct gpu *gpu, uint32_t id);

/* Enter a resource, which costs that much host memory besides its own structure. NULL: the guest
 * has no more to spend, or there is no more. The id is free. */
struct gpu_resource *gpu_resource_add(struct gpu *gpu, uint32_t id, enum gpu_resource_kind kind,
                                      uint64_t cost);

/* Outputs that show it are switched off. */
void gpu_resource_remove(struct gpu *gpu, struct gpu_resource *resource);
void gpu_resource_remove_all(struct gpu *gpu);

/* The resource has this backing from now on, or none; the backing of before is gone. */
void gpu_resource_set_backing(struct gpu *gpu, struct gpu_resource *resource,
                              const struct gpu_backing *backing);

/* Count host memory; false, and nothing is counted, when it is more than allowed. */
bool gpu_hostmem_take(struct gpu *gpu, uint64_t bytes);
void gpu_hostmem_give(struct gpu *gpu, uint64_t bytes);

#endif
