/*
 * virtio-gpu with random commands: sizes, ids, rectangles, formats, backing lists, with and without
 * 3D (whose renderer renders nothing, and refuses at random).
 *
 * Rings are sound here (fuzz_virtqueue breaks those). Checked besides what sanitizers see: all that
 * is shown can be read, every request is answered once its fence is done, and after a reset nothing
 * is left of what was made.
 *
 * Input: a byte (bit 0: 3D, bit 1: packed ring), then for each request the command, its words, how
 * long it is, and what the renderer thinks of it.
 */
#include "tests/driver/gpu_card.h"
#include "tests/driver/gpu_modules.h"
#include "tests/fuzz/input.h"

#include "base/log.h"

#define SLOTS     16
#define WORDS_MAX 48

static const uint32_t commands[] = {
    VIRTIO_GPU_CMD_GET_DISPLAY_INFO,
    VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
    VIRTIO_GPU_CMD_RESOURCE_UNREF,
    VIRTIO_GPU_CMD_SET_SCANOUT,
    VIRTIO_GPU_CMD_RESOURCE_FLUSH,
    VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
    VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING,
    VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING,
    VIRTIO_GPU_CMD_GET_CAPSET_INFO,
    VIRTIO_GPU_CMD_GET_CAPSET,
    VIRTIO_GPU_CMD_GET_EDID,
    VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID,
    VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
    VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
    VIRTIO_GPU_CMD_CTX_CREATE,
    VIRTIO_GPU_CMD_CTX_DESTROY,
    VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE,
    VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE,
    VIRTIO_GPU_CMD_RESOURCE_CREATE_3D,
    VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D,
    VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D,
    VIRTIO_GPU_CMD_SUBMIT_3D,
    VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB,
    VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB,
    VIRTIO_GPU_CMD_UPDATE_CURSOR,
    VIRTIO_GPU_CMD_MOVE_CURSOR,
};

static const unsigned char bits[] = {GPU_F_EDID,           GPU_F_RESOURCE_UUID, GPU_F_RESOURCE_BLOB,
                                     GPU_F_BLOB_ALIGNMENT, GPU_F_VIRGL,         GPU_F_CONTEXT_INIT};
#define BITS_2D 4

static char outputs[] = "64x64+32x32";
static uint8_t host_pages[8192] __attribute__((aligned(4096)));
static struct gpu_card cards[2] = {
    {.options = {.outputs = outputs, .max_hostmem = 1 << 20}},
    {.options = {.outputs = outputs, .max_hostmem = 1 << 20, .virgl = true, .hostmem = 1 << 16}},
};

/* Small numbers, addresses of pages, or what is near to a limit. */
static uint32_t word(struct input *in)
{
    static const uint32_t special[] = {
        UINT32_MAX, UINT32_MAX - 1, INT32_MAX, 1u << 31, 67, 68, 121, 134, 0, 256};
    uint8_t byte = take(in);

    if (byte < 128)
        return byte;
    if (byte < 240)
        return (byte - 128) * 4096u;
    return special[(byte - 240) % ARRAY_SIZE(special)];
}

/* Read the corners of each row. */
static void look_at_pictures(const struct gpu_card *card)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct display_picture *p = &card->views[i].picture;

        for (uint32_t y = 0; card->views[i].shown && y < p->height; y++) {
            const volatile uint8_t *row = p->pixels + (size_t)y * p->stride;

            (void)row[0];
            (void)row[p->width * 4 - 1];
        }
    }
}

static void finish_fences(struct gpu_card *card)
{
    for (unsigned i = 0; i < fake_renderer.fence_count; i++)
        fake_renderer_done(i);
    fake_renderer.fence_count = 0;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        gpu_card_answer(card, slot);
        REQUIRE(card->posted[slot] < 0);
    }
}

static void step(struct gpu_card *card, struct input *in, unsigned slot)
{
    static const int results[] = {0, 0, 0, 0, 0, -EINVAL, -ENOMEM, -ENOENT};
    union {
        struct virtio_gpu_ctrl_hdr hdr;
        uint32_t words[WORDS_MAX];
    } request = {0};
    unsigned count = sizeof(request.hdr) / 4 + take(in) % (WORDS_MAX - 6);
    uint8_t answer[GPU_CARD_ROOM];

    request.hdr.type = commands[take(in) % ARRAY_SIZE(commands)];
    request.hdr.flags = take(in) & 3;
    request.hdr.ctx_id = take(in) % 10;
    request.hdr.ring_idx = take(in) % 80;
    fake_renderer.result = results[take(in) % ARRAY_SIZE(results)];
    for (unsigned i = sizeof(request.hdr) / 4; i < count; i++)
        request.words[i] = word(in);
    if (request.hdr.type >= VIRTIO_GPU_CMD_UPDATE_CURSOR && request.hdr.type < 0x1000) {
        request.hdr.flags = 0;
        REQUIRE(gpu_card_ask(card, 1, &request, count * 4, answer, sizeof(answer), NULL));
    } else {
        gpu_card_post(card, slot, &request, count * 4);
    }
    if (slot == SLOTS - 1)
        finish_fences(card);
    look_at_pictures(card);
}

static void create_cards(void)
{
    log_configure("error");
    fake_renderer = (struct fake_renderer){.width = 40, .height = 30, .memory = host_pages};
    for (int i = 0; i < 2; i++)
        REQUIRE(gpu_card_create(&cards[i], NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t mode = take(&in);
    struct gpu_card *card = &cards[mode & 1];

    if (!card->backend)
        create_cards();
    card->packed = mode & 2;
    gpu_card_start(card, bits, mode & 1 ? sizeof(bits) : BITS_2D);
    for (unsigned i = 0; i < SLOTS; i++)
        card->posted[i] = -1;
    for (unsigned slot = 0; in.left; slot = (slot + 1) % SLOTS)
        step(card, &in, slot);
    finish_fences(card);
    REQUIRE(!card->needs_reset);
    gpu_card_stop(card);
    for (unsigned i = 0; i < 2; i++)
        REQUIRE(!card->views[i].shown);
    REQUIRE(fake_renderer.resources == 0);
    REQUIRE(fake_renderer.mapped == 0 && card->mappings == 0);
    return 0;
}
