/*
 * A virtio-gpu device between a viewer that only remembers and a test that plays the driver, all on
 * the test's thread: the device's loop runs when the test says so. Both ring formats.
 *
 *     struct gpu_card card = {.options.outputs = "640x480", .packed = true};
 *     gpu_card_create(&card, &err);
 *     gpu_card_start(&card, bits, ARRAY_SIZE(bits));
 *     address = gpu_card_alloc(&card, bytes);
 *     gpu_card_create_2d(&card, 1, format, 640, 480);
 *     gpu_card_attach(&card, 1, &entry, 1);
 *     ...
 *     gpu_card_destroy(&card);
 *
 * Commands return the type of what they were answered, 0 for none.
 */
#ifndef TESTS_DRIVER_GPU_CARD_H
#define TESTS_DRIVER_GPU_CARD_H

#include "devices/display/display.h"
#include "devices/gpu/gpu.h"
#include "tests/driver/packed_ring.h"
#include "tests/driver/ring.h"
#include "virtio/builtin.h"

#include <linux/virtio_gpu.h>

#define GPU_CARD_QUEUES 2
#define GPU_CARD_ROOM   2048 /* bytes for the answer to what is posted */
#define GPU_CARD_MEMORY (UINT64_C(64) << 20)

/* What the viewer was told. */
struct gpu_card_view {
    bool shown;
    struct display_picture picture;
    unsigned shows, damages;
    struct display_rect damage; /* the last one */
    bool has_cursor;
    uint32_t cursor[64 * 64];
    uint32_t hot_x, hot_y;
    int32_t cursor_x, cursor_y;
    unsigned cursors; /* images */
};

struct gpu_card {
    struct gpu_options options;       /* set before gpu_card_create */
    bool packed;                      /* so are these... */
    const struct virtio_model *model; /* ...NULL: gpu_model */
    struct guest_memory memory;
    struct loop *loop;
    struct display *display;
    struct display_viewer viewer;
    struct gpu_card_view views[DISPLAY_OUTPUTS_MAX];
    struct virtio_backend *backend;

    bool running;
    struct ring rings[GPU_CARD_QUEUES];
    struct packed_ring packed_rings[GPU_CARD_QUEUES];
    int kicks[GPU_CARD_QUEUES];
    unsigned interrupts[GPU_CARD_QUEUES], config_changes;
    bool needs_reset;
    uint64_t next;  /* guest address not used yet */
    int posted[16]; /* ids of the buffers that are in flight, by slot; -1: none */

    struct virtio_shared_mapping mapping; /* the last one in shared memory */
    unsigned mappings;                    /* that are there */
    bool refuse_mappings;
};

/* -EINVAL and others as from the model; then there is nothing to destroy. */
int gpu_card_create(struct gpu_card *card, struct error *err);
void gpu_card_destroy(struct gpu_card *card);

/* Negotiate VERSION_1, INDIRECT_DESC and these bits, and start the queues. */
void gpu_card_start(struct gpu_card *card, const unsigned char *bits, size_t count);

/* The driver's reset. */
void gpu_card_stop(struct gpu_card *card);

/* Let the device work until it has nothing to do. */
void gpu_card_serve(struct gpu_card *card);

/* Guest memory: so many bytes, zeroed, from a multiple of 4096 on; and where they are for us. */
uint64_t gpu_card_alloc(struct gpu_card *card, size_t length);
void *gpu_card_at(struct gpu_card *card, uint64_t address, size_t length);

uint64_t gpu_card_config(struct gpu_card *card, uint32_t offset, unsigned size);
void gpu_card_write_config(struct gpu_card *card, uint32_t offset, uint32_t value);

/* Ask, wait, and read the answer: `room` bytes are offered for it. *got: how many were used. */
uint32_t gpu_card_ask(struct gpu_card *card, unsigned queue, const void *request, size_t length,
                      void *answer, size_t room, uint32_t *got);

/* gpu_card_ask on the controlq, for requests that are answered with a header only. */
uint32_t gpu_card_command(struct gpu_card *card, const void *request, size_t length);

/* Ask on the controlq, serve, and wait for nothing: `slot`, 0 to 15, is where the request and its
 * answer are. gpu_card_answer: the type of the answer, 0 while there is none. */
void gpu_card_post(struct gpu_card *card, unsigned slot, const void *request, size_t length);
uint32_t gpu_card_answer(struct gpu_card *card, unsigned slot);

uint32_t gpu_card_create_2d(struct gpu_card *card, uint32_t id, uint32_t format, uint32_t width,
                            uint32_t height);
uint32_t gpu_card_attach(struct gpu_card *card, uint32_t id,
                         const struct virtio_gpu_mem_entry *entries, uint32_t count);
uint32_t gpu_card_resource(struct gpu_card *card, uint32_t type, uint32_t id); /* UNREF, DETACH */
uint32_t gpu_card_transfer(struct gpu_card *card, uint32_t id, struct virtio_gpu_rect rect,
                           uint64_t offset);
uint32_t gpu_card_set_scanout(struct gpu_card *card, uint32_t scanout, uint32_t id,
                              struct virtio_gpu_rect rect);
uint32_t gpu_card_flush(struct gpu_card *card, uint32_t id, struct virtio_gpu_rect rect);

#endif
