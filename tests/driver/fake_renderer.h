/*
 * A renderer that renders nothing: it remembers what it was asked, does as the test says, and tells
 * that fences are done when the test says so. There is one.
 */
#ifndef TESTS_DRIVER_FAKE_RENDERER_H
#define TESTS_DRIVER_FAKE_RENDERER_H

#include "devices/gpu/renderer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_RENDERER_CONTEXTS 8   /* ids 1 to 7 can be made */
#define FAKE_RENDERER_FENCES   128 /* remembered */
#define FAKE_RENDERER_CAPSET   100 /* bytes; its id is 4, of version 1; byte n of it is n */

struct fake_fence {
    uint32_t context;
    int ring;
    uint64_t fence;
};

struct fake_renderer {
    struct gpu_renderer_options options;
    struct gpu_renderer_events events;
    bool exists;
    bool contexts[FAKE_RENDERER_CONTEXTS];
    unsigned resources, resets;
    unsigned backed, mapped; /* resources */

    int result; /* of every call that may fail, unless it is 0 */

    struct fake_fence fences[FAKE_RENDERER_FENCES];
    unsigned fence_count;

    /* Of the last call of the kind. */
    struct gpu_renderer_texture texture;
    struct gpu_renderer_blob blob;
    struct gpu_renderer_transfer transfer;
    bool to_host;
    uint32_t capset;
    char name[65];
    uint8_t commands[64];
    size_t command_bytes;
    uint32_t attached; /* resource, to a context */
    size_t backing_bytes;

    uint32_t width, height; /* of every resource as a picture */
    void *memory;           /* of every blob that is mapped... */
    size_t memory_size;     /* ...which has so many bytes */
};

extern struct fake_renderer fake_renderer;
extern const struct gpu_renderer_module fake_renderer_module;

/* Report the fence at this place as done. */
void fake_renderer_done(unsigned index);

#endif
