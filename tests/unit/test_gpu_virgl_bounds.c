/*
 * The renderer on virglrenderer: whatever a guest says is refused, or harmless.
 */
#include "virgl_fixture.h"

#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#if SANITIZE_ADDRESS
#include <sanitizer/lsan_interface.h>
#endif

enum { SIZE = 64, CONTEXT = 1, TEXTURE = 5, SURFACE = 9 };

/* A context, and a texture in it. */
static int start(void **state)
{
    start_renderer(state);
    assert_int_equal(rig.ops->context_create(rig.r, CONTEXT, 2, "test"), 0);
    make_texture(CONTEXT, TEXTURE, SIZE, SIZE);
    return 0;
}

/* However it was mistreated, it still renders. */
static int stop(void **state)
{
    const struct display_rect rect = {.width = 1, .height = 1};
    uint32_t pixel = 0;

    assert_int_equal(rig.ops->context_create(rig.r, 99, 2, "after"), 0);
    make_texture(99, 99, SIZE, SIZE);
    assert_int_equal(submit_clear(99, SURFACE, 99, 1, 0, 1), 0);
    assert_int_equal(rig.ops->read(rig.r, 99, &rect, &pixel, 4), 0);
    assert_int_equal(pixel & 0xffffff, 0xff00ff);
    return stop_renderer(state);
}

/* --- ids -------------------------------------------------------------------------------------- */

static void contexts_that_cannot_be(void **state)
{
    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 0, 2, "zero"), -EINVAL);
    assert_int_equal(rig.ops->context_create(rig.r, CONTEXT, 2, "again"), -EINVAL);
    assert_int_equal(rig.ops->context_create(rig.r, 2, 3, "no such capset"), -EINVAL);
    assert_int_equal(rig.ops->context_create(rig.r, 2, 4, "venus, which is off"), -EINVAL);
    assert_int_equal(rig.ops->context_destroy(rig.r, 2), -ENOENT);
    assert_int_equal(rig.ops->context_attach(rig.r, 2, TEXTURE), -ENOENT);
    assert_int_equal(rig.ops->context_attach(rig.r, CONTEXT, 6), -ENOENT);
    assert_int_equal(rig.ops->context_detach(rig.r, CONTEXT, 6), -ENOENT);
}

static void contexts_are_bounded(void **state)
{
    uint32_t id = 1000;

    (void)state;
    while (rig.ops->context_create(rig.r, id, 2, "many") == 0)
        assert_true(id++ < 2000);
    assert_int_equal(rig.ops->context_create(rig.r, id, 2, "many"), -ENOMEM);
    rig.ops->reset(rig.r);
}

static void resources_that_are_not(void **state)
{
    uint32_t pixel;
    struct iovec iov = {&pixel, sizeof(pixel)};
    struct gpu_renderer_mapping mapping;
    struct gpu_renderer_picture picture;
    struct display_rect rect = {.width = 1, .height = 1};

    (void)state;
    rig.ops->resource_unref(rig.r, 6);
    rig.ops->detach_backing(rig.r, 6);
    rig.ops->unmap(rig.r, 6);
    assert_int_equal(rig.ops->attach_backing(rig.r, 6, &iov, 1), -ENOENT);
    assert_int_equal(transfer_2d(true, 6, 1, 1), -ENOENT);
    assert_int_equal(rig.ops->picture(rig.r, 6, &picture), -ENOENT);
    assert_int_equal(rig.ops->read(rig.r, 6, &rect, &pixel, 4), -ENOENT);
    assert_int_equal(rig.ops->map(rig.r, 6, &mapping), -ENOENT);
    assert_int_equal(rig.ops->map(rig.r, TEXTURE, &mapping), -EINVAL);
}

/* --- resources -------------------------------------------------------------------------------- */

static int create(struct gpu_renderer_texture texture)
{
    int ret = rig.ops->resource_create(rig.r, 6, &texture);

    if (ret == 0)
        rig.ops->resource_unref(rig.r, 6);
    return ret;
}

static struct gpu_renderer_texture buffer(uint32_t width)
{
    return (struct gpu_renderer_texture){.format = FORMAT_R8,
                                         .bind = BIND_VERTEX_BUFFER,
                                         .width = width,
                                         .height = 1,
                                         .depth = 1,
                                         .array_size = 1};
}

/* Each word of a good texture in turn is made each of these. */
static void no_word_of_a_texture_is_trusted(void **state)
{
    static const uint32_t hostile[] = {
        0,      1,      2,       3,          8,          9,          31,         64,
        0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff};
    const struct gpu_renderer_texture good = texture_2d(SIZE, SIZE);

    (void)state;
    for (size_t word = 0; word < sizeof(good) / 4; word++)
        for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
            struct gpu_renderer_texture texture = good;

            memcpy((uint8_t *)&texture + 4 * word, &hostile[i], 4);
            create(texture);
        }
    assert_int_equal(create(good), 0);
}

static void sizes_are_bounded(void **state)
{
    struct gpu_renderer_texture texture = texture_2d(16384, 1);

    (void)state;
    assert_int_equal(create(texture), 0);
    texture.width = 16385;
    assert_int_equal(create(texture), -EINVAL);
    texture.width = 0;
    assert_int_equal(create(texture), -EINVAL);
    assert_int_equal(create(texture_2d(16384, 16384)), -ENOMEM); /* of 256 MiB there are */
    texture = texture_2d(SIZE, SIZE);
    texture.last_level = 7; /* 64 has levels 0 to 6 */
    assert_int_equal(create(texture), -EINVAL);
    texture.last_level = 6;
    assert_int_equal(create(texture), 0);
    assert_int_equal(create(buffer(1 << 20)), 0);
    assert_int_equal(create(buffer(300 << 20)), -ENOMEM);
    assert_int_equal(create(buffer(0xffffffff)), -EINVAL);
    assert_int_equal(create(buffer(0)), -EINVAL);
}

static void memory_is_bounded_in_all(void **state)
{
    struct gpu_renderer_texture texture = texture_2d(4096, 2048); /* 32 MiB */
    uint32_t id = 100;

    (void)state;
    while (rig.ops->resource_create(rig.r, id, &texture) == 0)
        assert_true(id++ < 108);
    assert_int_equal(id, 107); /* there is one besides */
    assert_int_equal(rig.ops->resource_create(rig.r, id, &texture), -ENOMEM);
    rig.ops->resource_unref(rig.r, 100);
    assert_int_equal(rig.ops->resource_create(rig.r, id, &texture), 0);
    rig.ops->reset(rig.r);
}

static void an_id_is_used_once(void **state)
{
    const struct gpu_renderer_texture texture = texture_2d(SIZE, SIZE);
    const struct gpu_renderer_blob blob = {.memory = 1, .size = 4};
    uint32_t memory;
    struct iovec iov = {&memory, sizeof(memory)};

    (void)state;
    assert_int_equal(rig.ops->resource_create(rig.r, TEXTURE, &texture), -EINVAL);
    assert_int_equal(rig.ops->resource_create(rig.r, 0, &texture), -EINVAL);
    assert_int_equal(rig.ops->blob_create(rig.r, TEXTURE, &blob, &iov, 1), -EINVAL);
}

/* --- transfers -------------------------------------------------------------------------------- */

static uint32_t backing[SIZE * SIZE];
static struct iovec backing_iov = {backing, sizeof(backing)};

static struct gpu_renderer_transfer whole(void)
{
    return (struct gpu_renderer_transfer){
        .context = CONTEXT,
        .resource = TEXTURE,
        .stride = 4 * SIZE,
        .box = {.width = SIZE, .height = SIZE, .depth = 1},
    };
}

static int transfer_both_ways(const struct gpu_renderer_transfer *transfer)
{
    int to_host = rig.ops->transfer(rig.r, true, transfer);

    assert_int_equal(rig.ops->transfer(rig.r, false, transfer), to_host);
    return to_host;
}

/* GPU-20, GPU-23 */
static void transfers_need_a_backing_that_holds_them(void **state)
{
    struct gpu_renderer_transfer transfer = whole();
    struct iovec none = {backing, 0};

    (void)state;
    transfer.context = 0;
    assert_int_equal(transfer_both_ways(&transfer), -EINVAL);
    assert_int_equal(rig.ops->attach_backing(rig.r, TEXTURE, &none, 0), -EINVAL);
    assert_int_equal(rig.ops->attach_backing(rig.r, TEXTURE, &backing_iov, 1), 0);
    assert_int_equal(rig.ops->attach_backing(rig.r, TEXTURE, &backing_iov, 1), -EINVAL);
    assert_int_equal(transfer_both_ways(&transfer), 0);
    transfer.offset = 4;
    assert_int_equal(transfer_both_ways(&transfer), -EINVAL);
    transfer.offset = 0;
    rig.ops->detach_backing(rig.r, TEXTURE);
    assert_int_equal(transfer_both_ways(&transfer), -EINVAL);
}

static void no_word_of_a_transfer_is_trusted(void **state)
{
    static const uint32_t hostile[] = {0,          1,          2,          SIZE - 1,   SIZE,
                                       SIZE + 1,   0x3fffffff, 0x40000001, 0x7fffffff, 0x80000000,
                                       0x80000001, 0xfffffffc, 0xffffffff};
    struct gpu_renderer_transfer good = whole();

    (void)state;
    assert_int_equal(rig.ops->attach_backing(rig.r, TEXTURE, &backing_iov, 1), 0);
    good.context = 0; /* a context that erred is of no use any more */
    for (size_t word = 2; word < sizeof(good) / 4; word++)
        for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
            struct gpu_renderer_transfer transfer = good;

            memcpy((uint8_t *)&transfer + 4 * word, &hostile[i], 4);
            rig.ops->transfer(rig.r, true, &transfer);
            rig.ops->transfer(rig.r, false, &transfer);
        }
    assert_int_equal(transfer_both_ways(&good), 0);
}

static void sums_of_a_transfer_do_not_wrap(void **state)
{
    struct gpu_renderer_texture texture = {.target = TARGET_3D,
                                           .format = FORMAT_BGRA,
                                           .bind = BIND_SAMPLER_VIEW,
                                           .width = SIZE,
                                           .height = SIZE,
                                           .depth = 5,
                                           .array_size = 1};
    struct gpu_renderer_transfer transfer = whole();

    (void)state;
    assert_int_equal(rig.ops->resource_create(rig.r, 6, &texture), 0);
    assert_int_equal(rig.ops->attach_backing(rig.r, 6, &backing_iov, 1), 0);
    transfer.context = 0;
    transfer.resource = 6;
    assert_int_equal(transfer_both_ways(&transfer), 0);
    transfer.box.depth = 5; /* four layers of 2^30 bytes are none, in 32 bits */
    transfer.layer_stride = 0x40000000;
    assert_int_equal(transfer_both_ways(&transfer), -EINVAL);
    transfer.layer_stride = 0;
    assert_int_equal(transfer_both_ways(&transfer), -EINVAL); /* of one layer is the backing */
    transfer.box.z = 5;
    transfer.box.depth = 0xffffffff;
    assert_int_equal(transfer_both_ways(&transfer), -EINVAL);
}

static void rectangles_lie_in_the_picture(void **state)
{
    static const struct display_rect bad[] = {
        {SIZE, 0, 1, 1}, {0, SIZE, 1, 1},       {0, 0, SIZE + 1, 1},   {0, 0, 1, SIZE + 1},
        {1, 0, SIZE, 1}, {0xffffffff, 0, 2, 1}, {0, 2, 1, 0xffffffff},
    };
    uint32_t out[4] = {0};
    struct display_rect good = {.x = SIZE - 1, .y = SIZE - 2, .width = 1, .height = 2};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(rig.ops->read(rig.r, TEXTURE, &bad[i], out, (size_t)4 * SIZE + 4),
                         -EINVAL);
    assert_int_equal(rig.ops->read(rig.r, TEXTURE, &good, out, 3), -EINVAL);
    assert_int_equal(rig.ops->read(rig.r, TEXTURE, &good, out, 8), 0);
    assert_int_equal(out[3], 0); /* the last row ends with its pixels */
}

static void what_is_not_two_dimensional_is_no_picture(void **state)
{
    struct gpu_renderer_texture texture = texture_2d(SIZE, SIZE);
    struct gpu_renderer_picture picture;

    (void)state;
    texture.format = FORMAT_Z32;
    texture.bind = 1; /* depth and stencil */
    assert_int_equal(rig.ops->resource_create(rig.r, 6, &texture), 0);
    assert_int_equal(rig.ops->picture(rig.r, 6, &picture), -ENOTSUP);
    texture = buffer(SIZE);
    assert_int_equal(rig.ops->resource_create(rig.r, 7, &texture), 0);
    assert_int_equal(rig.ops->picture(rig.r, 7, &picture), -ENOTSUP);
}

/* --- command streams -------------------------------------------------------------------------- */

static int submit(uint32_t context, uint32_t *commands, size_t words)
{
    return rig.ops->submit(rig.r, context, commands, 4 * words);
}

/* GPU-20 */
static void malformed_streams_are_refused(void **state)
{
    uint32_t longer[] = {COMMAND(CLEAR, 0, 8), 0};
    uint32_t unknown[] = {COMMAND(200, 0, 0)};
    uint32_t video[] = {COMMAND(VIDEO, 0, 1), 0};
    uint32_t memory_info[] = {COMMAND(GET_MEMORY_INFO, 0, 1), TEXTURE};
    uint32_t blob[] = {COMMAND(PIPE_RESOURCE_CREATE, 0, 11), 0, 64, 16, 64, 1, 1, 1, 0, 0, 0, 1};
    static uint32_t huge[5 << 20];

    (void)state;
    assert_int_equal(submit(2, unknown, 1), -ENOENT);
    assert_int_equal(rig.ops->submit(rig.r, CONTEXT, longer, 3), -EINVAL);
    assert_int_equal(submit(CONTEXT, longer, 0), 0);
    assert_int_equal(submit(CONTEXT, longer, 2), -EINVAL);
    assert_int_equal(submit(CONTEXT, unknown, 1), -EINVAL);
    assert_int_equal(submit(CONTEXT, video, 2), -EINVAL);
    assert_int_equal(submit(CONTEXT, memory_info, 2), -EINVAL); /* it has no backing */
    assert_int_equal(submit(CONTEXT, blob, 12), -EINVAL);       /* blobs are not offered */
    assert_int_equal(submit(CONTEXT, huge, ARRAY_SIZE(huge)), -EINVAL);
    assert_int_equal(submit_clear(CONTEXT, SURFACE, TEXTURE, 1, 1, 1), 0);
}

static void a_context_that_errs_harms_no_other(void **state)
{
    uint32_t no_such_surface[] = {COMMAND(SET_FRAMEBUFFER, 0, 3), 1, 0, 1234};

    (void)state;
    submit(CONTEXT, no_such_surface, 4);
    assert_int_equal(rig.ops->context_create(rig.r, 2, 2, "other"), 0);
    assert_int_equal(rig.ops->context_attach(rig.r, 2, TEXTURE), 0);
    assert_int_equal(submit_clear(2, SURFACE, TEXTURE, 1, 1, 1), 0);
    assert_int_equal(submit_clear(CONTEXT, SURFACE, TEXTURE, 1, 1, 1), -EINVAL);
}

static void contexts_within_a_context_are_bounded(void **state)
{
    uint32_t commands[] = {COMMAND(CREATE_SUB_CONTEXT, 0, 1), 0};
    uint32_t away[] = {COMMAND(DESTROY_SUB_CONTEXT, 0, 1), 1};

    (void)state;
    for (commands[1] = 1; commands[1] <= 64; commands[1]++)
        assert_int_equal(submit(CONTEXT, commands, 2), 0);
    assert_int_equal(submit(CONTEXT, commands, 2), -ENOMEM);
    assert_int_equal(submit(CONTEXT, away, 2), 0);
    assert_int_equal(submit(CONTEXT, away, 2), 0); /* is gone: makes no room */
    assert_int_equal(submit(CONTEXT, commands, 2), 0);
    commands[1]++;
    assert_int_equal(submit(CONTEXT, commands, 2), -ENOMEM);
}

/* Each takes some MiB, in whatever context it is, and each context has one: so many in all. */
static void contexts_within_contexts_are_bounded(void **state)
{
    uint32_t make[] = {COMMAND(CREATE_SUB_CONTEXT, 0, 1), 1};
    uint32_t away[] = {COMMAND(DESTROY_SUB_CONTEXT, 0, 1), 1};

    (void)state;
    assert_int_equal(rig.r->gl_context_count, 1);
    rig.r->gl_context_count = VIRGL_GL_CONTEXTS_MAX - 2; /* as if there were */
    assert_int_equal(rig.ops->context_create(rig.r, 50, 2, "the last"), 0);
    assert_int_equal(submit(50, make, 2), 0);
    assert_int_equal(submit(CONTEXT, make, 2), -ENOMEM);
    assert_int_equal(rig.ops->context_create(rig.r, 51, 2, "one more"), -ENOMEM);
    assert_int_equal(submit(50, away, 2), 0);
    assert_int_equal(submit(CONTEXT, make, 2), 0);
    assert_int_equal(submit(50, make, 2), -ENOMEM);
    assert_int_equal(rig.ops->context_destroy(rig.r, CONTEXT), 0);
    assert_int_equal(rig.ops->context_create(rig.r, CONTEXT, 2, "again"), 0);
    assert_int_equal(rig.r->gl_context_count, VIRGL_GL_CONTEXTS_MAX - 1);
    rig.r->gl_context_count = 2;
}

/* What is made for a blob is counted until there is none, be it named as it likes. */
static void what_is_to_be_a_blob_is_counted(void **state)
{
    const uint32_t bytes = 100 * MIB;
    uint32_t commands[] = {COMMAND(PIPE_RESOURCE_CREATE, 0, 11),
                           TARGET_BUFFER,
                           FORMAT_R8,
                           BIND_VERTEX_BUFFER,
                           bytes,
                           1,
                           1,
                           1,
                           0,
                           0,
                           0,
                           77};
    struct gpu_renderer_blob blob = {
        .context = CONTEXT, .memory = 2, .size = bytes, .blob_id = 1 /* which is none */};

    (void)state;
    rig.r->blobs = true; /* as with hardware whose buffers start at pages */
    for (unsigned i = 0; i < 2; i++, commands[11]++) {
        assert_int_equal(submit(CONTEXT, commands, 12), 0);
        assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -EINVAL);
    }
    assert_int_equal(submit(CONTEXT, commands, 12), -ENOMEM);
    for (blob.blob_id = 77; blob.blob_id <= 78; blob.blob_id++) {
        assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), 0);
        rig.ops->resource_unref(rig.r, 6);
    }
    for (; blob.blob_id <= 80; blob.blob_id++, commands[11]++) { /* there is room again */
        assert_int_equal(submit(CONTEXT, commands, 12), 0);
        assert_int_equal(rig.ops->blob_create(rig.r, (uint32_t)blob.blob_id, &blob, NULL, 0), 0);
    }
    assert_int_equal(submit(CONTEXT, commands, 12), -ENOMEM);
}

/* The library keeps them when their context goes. */
static void what_never_was_a_blob_stays_counted(void **state)
{
    uint32_t commands[] = {COMMAND(PIPE_RESOURCE_CREATE, 0, 11),
                           TARGET_BUFFER,
                           FORMAT_R8,
                           BIND_VERTEX_BUFFER,
                           200 * MIB,
                           1,
                           1,
                           1,
                           0,
                           0,
                           0,
                           77};

    (void)state;
    rig.r->blobs = true;
#if SANITIZE_ADDRESS
    __lsan_disable();
#endif
    assert_int_equal(submit(CONTEXT, commands, 12), 0);
#if SANITIZE_ADDRESS
    __lsan_enable();
#endif
    rig.ops->reset(rig.r);
    assert_int_equal(rig.ops->context_create(rig.r, CONTEXT, 2, "again"), 0);
    assert_int_equal(submit(CONTEXT, commands, 12), -ENOMEM);
}

/* Every command, with words that mean nothing: each in a context of its own. */
static void no_command_is_trusted(void **state)
{
    static const uint32_t fills[] = {0, 1, TEXTURE, 0x7fffffff, 0xffffffff};

    (void)state;
    for (uint32_t number = 0; number < VIDEO; number++)
        for (size_t fill = 0; fill < ARRAY_SIZE(fills); fill++) {
            uint32_t commands[16] = {COMMAND(number, 1 + number % 11, 15)};

            for (size_t i = 1; i < 16; i++)
                commands[i] = fills[fill];
            assert_int_equal(rig.ops->context_create(rig.r, 2, 2, "garbage"), 0);
            assert_int_equal(rig.ops->context_attach(rig.r, 2, TEXTURE), 0);
            submit(2, commands, 16);
            commands[0] = COMMAND(number, 0, 1);
            submit(2, commands, 2);
            assert_int_equal(rig.ops->context_destroy(rig.r, 2), 0);
        }
}

/* --- blobs ------------------------------------------------------------------------------------ */

/* GPU-16, GPU-25 */
static void blobs_that_cannot_be(void **state)
{
    struct gpu_renderer_blob blob = {.context = CONTEXT, .memory = 1, .size = sizeof(backing)};
    struct gpu_renderer_picture picture;

    (void)state;
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -EINVAL);
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, &backing_iov, 1), 0);
    assert_int_equal(rig.ops->context_attach(rig.r, CONTEXT, 6), 0);
    assert_int_equal(rig.ops->picture(rig.r, 6, &picture), -ENOTSUP);
    assert_int_equal(transfer_2d(true, 6, 1, 1), -EINVAL);
    rig.ops->resource_unref(rig.r, 6);
    blob.size++; /* more than there is */
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, &backing_iov, 1), -EINVAL);
    blob = (struct gpu_renderer_blob){.context = CONTEXT, .memory = 2, .size = 4096, .blob_id = 1};
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -EINVAL); /* no object 1 */
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, &backing_iov, 1), -EINVAL);
    blob.context = 2;
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -ENOENT);
    blob.context = CONTEXT;
    for (uint32_t memory = 0; memory < 8; memory += memory == 0 ? 4 : 1) {
        blob.memory = memory;
        assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -EINVAL);
    }
    blob.memory = 2;
    blob.size = 0;
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -EINVAL);
    blob.size = UINT64_MAX;
    assert_int_equal(rig.ops->blob_create(rig.r, 6, &blob, NULL, 0), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(contexts_that_cannot_be, start, stop),
        cmocka_unit_test_setup_teardown(contexts_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(resources_that_are_not, start, stop),
        cmocka_unit_test_setup_teardown(no_word_of_a_texture_is_trusted, start, stop),
        cmocka_unit_test_setup_teardown(sizes_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(memory_is_bounded_in_all, start, stop),
        cmocka_unit_test_setup_teardown(an_id_is_used_once, start, stop),
        cmocka_unit_test_setup_teardown(transfers_need_a_backing_that_holds_them, start, stop),
        cmocka_unit_test_setup_teardown(no_word_of_a_transfer_is_trusted, start, stop),
        cmocka_unit_test_setup_teardown(sums_of_a_transfer_do_not_wrap, start, stop),
        cmocka_unit_test_setup_teardown(rectangles_lie_in_the_picture, start, stop),
        cmocka_unit_test_setup_teardown(what_is_not_two_dimensional_is_no_picture, start, stop),
        cmocka_unit_test_setup_teardown(malformed_streams_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_context_that_errs_harms_no_other, start, stop),
        cmocka_unit_test_setup_teardown(contexts_within_a_context_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(contexts_within_contexts_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(what_is_to_be_a_blob_is_counted, start, stop),
        cmocka_unit_test_setup_teardown(what_never_was_a_blob_stays_counted, start, stop),
        cmocka_unit_test_setup_teardown(no_command_is_trusted, start, stop),
        cmocka_unit_test_setup_teardown(blobs_that_cannot_be, start, stop),
    };

    return cmocka_run_group_tests_name("gpu_virgl_bounds", tests, load_virgl, unload_virgl);
}
