/*
 * A back end, or a front end, that says anything on the socket of the vhost-user-gpu protocol.
 */
#include "tests/unit/this_process.h"
#include "tests/unit/vhost_user_gpu_fixture.h"

#include <fcntl.h>
#include <libdrm/drm_fourcc.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define TURN_NS 5000000

/* --- what a back end says --------------------------------------------------------------------- */

/* Whole, or until the other end is gone; `fd`: with it, -1: without. */
static void say_bytes(struct gpu_rig *rig, const void *bytes, size_t length, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec iov = {(void *)(uintptr_t)bytes, length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    (void)!sendmsg(rig->raw, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say(struct gpu_rig *rig, uint32_t request, const void *payload, uint32_t size, int fd)
{
    struct vhost_user_gpu_message message = {.header = {request, 0, size}};

    if (size)
        memcpy(&message.payload, payload, size);
    say_bytes(rig, &message, sizeof(message.header) + size, fd);
}

static void say_scanout(struct gpu_rig *rig, uint32_t id, uint32_t width, uint32_t height)
{
    const struct vhost_user_gpu_scanout scanout = {id, width, height};

    say(rig, VHOST_USER_GPU_SCANOUT, &scanout, sizeof(scanout), -1);
}

/* An update whose pixels are all `value`; `size` bytes of them are announced. */
static void say_update(struct gpu_rig *rig, const struct vhost_user_gpu_update *update,
                       uint32_t size, uint8_t value, uint32_t sent)
{
    struct vhost_user_gpu_header header = {VHOST_USER_GPU_UPDATE, 0,
                                           (uint32_t)sizeof(*update) + size};
    uint8_t *pixels = malloc(sent + 1);

    memset(pixels, value, sent);
    say_bytes(rig, &header, sizeof(header), -1);
    say_bytes(rig, update, sizeof(*update), -1);
    if (sent)
        say_bytes(rig, pixels, sent, -1);
    free(pixels);
}

/* Its end of the socket is closed: what was shown is not any more. */
static bool is_dropped(struct gpu_rig *rig)
{
    char byte;

    rig_turn(rig, TURN_NS);
    return recv(rig->raw, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static struct gpu_rig *rig_shown(void)
{
    struct gpu_rig *rig = rig_open_raw("64x64+64x64");

    say_scanout(rig, 0, 64, 64);
    RIG_UNTIL(rig, display_picture(rig->shown, 0));
    return rig;
}

static void test_no_message(void **state)
{
    static const struct vhost_user_gpu_header wrong[] = {
        {0, 0, 0},
        {VHOST_USER_GPU_REQUESTS, 0, 0},
        {UINT32_MAX, 0, 0},
        {VHOST_USER_GPU_GET_DISPLAY_INFO, 0, 1},
        {VHOST_USER_GPU_SCANOUT, 0, 8},
        {VHOST_USER_GPU_SCANOUT, 0, UINT32_MAX},
        {VHOST_USER_GPU_CURSOR_UPDATE, 0, 20},
        {VHOST_USER_GPU_UPDATE, 0, 19},
        {VHOST_USER_GPU_DMABUF_SCANOUT, 0, 48},
        {VHOST_USER_GPU_DMABUF_SCANOUT2, 0, 40},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct gpu_rig *rig = rig_shown();

        say_bytes(rig, &wrong[i], sizeof(wrong[i]), -1);
        assert_true(is_dropped(rig));
        assert_null(display_picture(rig->shown, 0));
        rig_close(rig);
    }
}

static void test_update_of_another_size_than_it_says(void **state)
{
    static const struct {
        struct vhost_user_gpu_update update;
        uint32_t size;
    } wrong[] = {
        {{0, 0, 0, 8, 8}, 255},
        {{0, 0, 0, 8, 8}, 257},
        {{0, 0, 0, 0, 8}, 4},
        {{0, 0, 0, 0x10000, 0x10000}, 0},       /* 2^32 pixels, as 32 bits: none */
        {{0, 0, 0, 0x8000, 0x8000}, 0},         /* 2^32 bytes */
        {{0, 0, 0, UINT32_MAX, UINT32_MAX}, 4}, /* 1 pixel, as 32 bits */
        {{0, 0, 0, DISPLAY_SIZE_MAX + 1, 1}, 4 * (DISPLAY_SIZE_MAX + 1)},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct gpu_rig *rig = rig_shown();

        say_update(rig, &wrong[i].update, wrong[i].size, 0x11, 0);
        assert_true(is_dropped(rig));
        rig_close(rig);
    }
}

/* QEMU's program sends what was in its memory. */
static void test_flags_of_requests_mean_nothing(void **state)
{
    struct {
        struct vhost_user_gpu_header header;
        struct vhost_user_gpu_update update;
        uint32_t pixel;
    } message = {{VHOST_USER_GPU_UPDATE, UINT32_MAX, 24}, {0, 3, 2, 1, 1}, 0x123456};
    struct gpu_rig *rig = rig_shown();
    const struct display_picture *picture = display_picture(rig->shown, 0);

    (void)state;
    say_bytes(rig, &message, sizeof(message), -1);
    RIG_UNTIL(rig, rig->damages);
    assert_int_equal(load_le32((const uint8_t *)picture->pixels + 2 * picture->stride + 3 * 4),
                     0x123456);
    rig_close(rig);
}

/* A guest's mistake may be behind these: they are left out, and all goes on. */
static void test_what_is_nowhere_is_left_out(void **state)
{
    static const struct vhost_user_gpu_update nowhere[] = {
        {2, 0, 0, 8, 8},          {UINT32_MAX, 0, 0, 8, 8},
        {1, 0, 0, 8, 8},          {0, 60, 0, 8, 8},
        {0, 0, 60, 8, 8},         {0, UINT32_MAX, 0, 8, 8},
        {0, 0, UINT32_MAX, 8, 8}, {0, UINT32_MAX - 3, 0, 8, 8},
    };
    struct gpu_rig *rig = rig_shown();
    unsigned before = rig->damages;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++)
        say_update(rig, &nowhere[i], 256, 0x22, 256);
    say_scanout(rig, 7, 64, 64);
    say_scanout(rig, 1, DISPLAY_SIZE_MAX + 1, 64);
    say_update(rig, &(struct vhost_user_gpu_update){0, 0, 0, 0, 0}, 0, 0, 0);
    say_update(rig, &(struct vhost_user_gpu_update){0, 56, 56, 8, 8}, 256, 0x33, 256);
    RIG_UNTIL(rig, rig_pixel(rig, 0, 63, 63) == 0x333333);
    assert_in_range(rig->damages - before, 1, 2);
    assert_int_equal(rig_pixel(rig, 0, 55, 55), 0);
    assert_null(display_picture(rig->shown, 1));
    rig_close(rig);
}

/* A guest that draws in two buffers by turns: it says the same size each time, and what is shown
 * stays until updates come. */
static void test_same_size_again(void **state)
{
    struct gpu_rig *rig = rig_shown();
    unsigned before = rig->shows;

    (void)state;
    say_update(rig, &(struct vhost_user_gpu_update){0, 0, 0, 8, 8}, 256, 0x22, 256);
    say_scanout(rig, 0, 64, 64);
    say_update(rig, &(struct vhost_user_gpu_update){0, 8, 8, 8, 8}, 256, 0x33, 256);
    RIG_UNTIL(rig, rig_pixel(rig, 0, 8, 8) == 0x333333);
    assert_int_equal(rig_pixel(rig, 0, 7, 7), 0x222222);
    assert_int_equal(rig->shows, before);
    rig_close(rig);
}

/* Byte by byte: nothing waits, and what is there in the end is right. */
static void test_in_pieces(void **state)
{
    const struct vhost_user_gpu_update update = {0, 1, 2, 3, 4};
    struct gpu_rig *rig = rig_shown();
    uint8_t bytes[12 + 20 + 48];
    const struct vhost_user_gpu_header header = {VHOST_USER_GPU_UPDATE, 0, 20 + 48};

    (void)state;
    memset(bytes, 0x44, sizeof(bytes));
    memcpy(bytes, &header, sizeof(header));
    memcpy(bytes + 12, &update, sizeof(update));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        say_bytes(rig, bytes + i, 1, -1);
        rig_turn(rig, 500000);
        if (i < sizeof(bytes) - 4)
            assert_int_equal(rig_pixel(rig, 0, 3, 5), 0);
    }
    RIG_UNTIL(rig, rig_pixel(rig, 0, 3, 5) == 0x444444);
    assert_int_equal(rig_pixel(rig, 0, 4, 5), 0);
    assert_int_equal(rig_pixel(rig, 0, 1, 2), 0x444444);
    assert_int_equal(rig->damage.width, 3);
    rig_close(rig);
}

/* The device is reset in the midst of an update, or the output goes. */
static void test_reset_in_the_midst_of_an_update(void **state)
{
    static const uint8_t rest[64 * 64 * 4 - 1000];
    struct gpu_rig *rig = rig_shown();

    (void)state;
    say_update(rig, &(struct vhost_user_gpu_update){0, 0, 0, 64, 64}, 64 * 64 * 4, 0x55, 1000);
    rig_turn(rig, TURN_NS);
    rig->part->ops->reset(rig->part);
    RIG_UNTIL(rig, !display_picture(rig->shown, 0));
    say_bytes(rig, rest, sizeof(rest), -1);
    say_scanout(rig, 0, 32, 32);
    RIG_UNTIL(rig, display_picture(rig->shown, 0));
    assert_int_equal(rig_pixel(rig, 0, 0, 0), 0);
    rig_close(rig);
}

static void test_memory_is_bounded(void **state)
{
    struct gpu_rig *rig = rig_open_raw("64x64+64x64+64x64");

    (void)state;
    say_scanout(rig, 0, 8192, 8192); /* 256 MiB */
    say_scanout(rig, 1, 8192, 8192);
    say_scanout(rig, 2, 64, 64);
    RIG_UNTIL(rig, display_picture(rig->shown, 1));
    rig_turn(rig, TURN_NS);
    assert_null(display_picture(rig->shown, 2)); /* all is spent */
    say_scanout(rig, 1, 0, 0);
    say_scanout(rig, 2, 64, 64);
    RIG_UNTIL(rig, display_picture(rig->shown, 2));
    rig_close(rig);
}

/* It asks, and does not take what it is answered: it is not heard any more, and costs nothing. */
static void test_takes_no_answers(void **state)
{
    struct gpu_rig *rig = rig_open_raw("64x64");
    uint32_t id = 0;
    int sent = 0;

    (void)state;
    for (; sent < 100000; sent++) {
        struct pollfd ready = {.fd = rig->raw, .events = POLLOUT};

        if (sent % 64 == 0)
            rig_turn(rig, 200000);
        if (poll(&ready, 1, 0) != 1)
            break;
        say(rig, VHOST_USER_GPU_GET_EDID, &id, sizeof(id), -1);
    }
    assert_in_range(sent, 1, 99999);
    rig_close(rig);
}

static bool answered_edid(struct gpu_rig *rig, struct virtio_gpu_resp_edid *edid)
{
    uint8_t bytes[12 + sizeof(*edid)];

    if (recv(rig->raw, bytes, sizeof(bytes), MSG_DONTWAIT) != sizeof(bytes))
        return false;
    assert_int_equal(load_le32(bytes), VHOST_USER_GPU_GET_EDID);
    assert_int_equal(load_le32(bytes + 4), VHOST_USER_GPU_FLAG_REPLY);
    memcpy(edid, bytes + 12, sizeof(*edid));
    return true;
}

static void test_edid(void **state)
{
    struct gpu_rig *rig = rig_open_raw("64x64");
    struct virtio_gpu_resp_edid edid;
    uint32_t id = 1;

    (void)state;
    say(rig, VHOST_USER_GPU_GET_EDID, &id, sizeof(id), -1);
    RIG_UNTIL(rig, answered_edid(rig, &edid));
    assert_int_equal(le32toh(edid.hdr.type), VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
    id = 0;
    say(rig, VHOST_USER_GPU_GET_EDID, &id, sizeof(id), -1);
    RIG_UNTIL(rig, answered_edid(rig, &edid));
    assert_int_equal(le32toh(edid.hdr.type), VIRTIO_GPU_RESP_OK_EDID);
    assert_memory_equal(edid.edid, "\0\xff\xff\xff\xff\xff\xff\0", 8);
    rig_close(rig);
}

/* --- descriptors ------------------------------------------------------------------------------ */

static int make_buffer(off_t size)
{
    int fd = memfd_create("buffer", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, size), 0);
    return fd;
}

static const struct vhost_user_gpu_dmabuf_scanout sound = {
    0, 0, 0, 64, 64, 64, 64, 256, 0, (int32_t)DRM_FORMAT_XRGB8888};

static void test_descriptors_are_closed(void **state)
{
    struct gpu_rig *rig = rig_open_raw("64x64");
    int fd = make_buffer(64 * 256);
    unsigned before = count_fds();

    (void)state;
    for (int i = 0; i < 10; i++) {
        say(rig, VHOST_USER_GPU_DMABUF_SCANOUT, &sound, sizeof(sound), fd);
        say(rig, VHOST_USER_GPU_SCANOUT, &(uint32_t[3]){0, 64, 64}, 12, fd);
        say(rig, VHOST_USER_GPU_CURSOR_POS, &(uint32_t[3]){0, 1, 1}, 12, fd);
        rig_turn(rig, TURN_NS);
    }
    assert_non_null(display_picture(rig->shown, 0));
    say_scanout(rig, 0, 0, 0);
    RIG_UNTIL(rig, !display_picture(rig->shown, 0));
    assert_int_equal(count_fds(), before);
    close(fd);
    rig_close(rig);
}

static void test_unsound_buffers(void **state)
{
    const struct {
        struct vhost_user_gpu_dmabuf_scanout2 scanout;
        off_t size;
    } wrong[] = {
        {{sound, 1}, 64 * 256},     /* tiled */
        {{sound, 0}, 64 * 256 - 1}, /* too short */
        {{sound, 0}, 0},
    };
    struct gpu_rig *rig = rig_open_raw("64x64");
    struct vhost_user_gpu_dmabuf_scanout2 changed[10];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        int fd = make_buffer(wrong[i].size);

        say(rig, VHOST_USER_GPU_DMABUF_SCANOUT2, &wrong[i].scanout, sizeof(wrong[i].scanout), fd);
        rig_turn(rig, TURN_NS);
        assert_null(display_picture(rig->shown, 0));
        close(fd);
    }
    for (size_t i = 0; i < ARRAY_SIZE(changed); i++)
        changed[i].dmabuf = sound;
    changed[0].dmabuf.fd_stride = 252;
    changed[1].dmabuf.x = 1;
    changed[2].dmabuf.y = UINT32_MAX;
    changed[3].dmabuf.width = 65;
    changed[4].dmabuf.fd_width = UINT32_MAX;
    changed[5].dmabuf.fd_height = UINT32_MAX;
    changed[6].dmabuf.fd_stride = UINT32_MAX;
    changed[7].dmabuf.fd_drm_fourcc = 0;
    changed[8].dmabuf.scanout_id = 1;
    changed[9].dmabuf.height = 0;
    for (size_t i = 0; i < ARRAY_SIZE(changed); i++) {
        int fd = make_buffer(64 * 256);

        say(rig, VHOST_USER_GPU_DMABUF_SCANOUT, &changed[i].dmabuf, sizeof(sound), fd);
        rig_turn(rig, TURN_NS);
        assert_null(display_picture(rig->shown, 0));
        close(fd);
    }
    say(rig, VHOST_USER_GPU_DMABUF_SCANOUT, &sound, sizeof(sound), -1); /* without a descriptor */
    rig_turn(rig, TURN_NS);
    assert_null(display_picture(rig->shown, 0));
    rig_close(rig);
}

/* It shortens a buffer that we read: it is dropped, and nothing dies. */
static void test_buffer_taken_away(void **state)
{
    const struct vhost_user_gpu_update all = {0, 0, 0, 64, 64};
    struct gpu_rig *rig = rig_open_raw("64x64");
    int fd = make_buffer(64 * 256);

    (void)state;
    say(rig, VHOST_USER_GPU_DMABUF_SCANOUT, &sound, sizeof(sound), fd);
    RIG_UNTIL(rig, display_picture(rig->shown, 0));
    assert_int_equal(ftruncate(fd, 0), 0);
    say(rig, VHOST_USER_GPU_DMABUF_UPDATE, &all, sizeof(all), -1);
    RIG_UNTIL(rig, !display_picture(rig->shown, 0));
    close(fd);
    rig_close(rig);
}

/* --- what a front end says -------------------------------------------------------------------- */

static void answer(int socket, uint32_t request, uint32_t flags, uint32_t size)
{
    struct vhost_user_gpu_message message = {.header = {request, flags, size}};

    memset(&message.payload, 0xff, sizeof(message.payload));
    (void)!send(socket, &message, sizeof(message.header) + size, MSG_NOSIGNAL);
}

/* Answers to no question, of another size or kind: it is not shown anything any more, and who asked
 * it is told. */
static void test_front_end_makes_no_sense(void **state)
{
    static const struct vhost_user_gpu_header wrong[] = {
        {VHOST_USER_GPU_GET_EDID, 4, 1056},
        {VHOST_USER_GPU_DMABUF_UPDATE, 4, 0},
        {VHOST_USER_GPU_SCANOUT, 4, 12},
        {VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 0, 8},
        {VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 4, 4},
        {99, 4, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct gpu_rig *rig = rig_open("64x64");
        int pair[2];

        rig_draw(rig, 1);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(rig->module->viewer_attach(rig->drawn, pair[1], NULL), 0);
        answer(pair[0], wrong[i].request, wrong[i].flags, wrong[i].size);
        rig_turn(rig, TURN_NS);
        assert_false(display_ask(rig->drawn));
        close(pair[0]);
        rig_close(rig);
    }
}

/* Sizes that nobody can have: the GPU is told what can be. */
static void test_front_end_with_huge_outputs(void **state)
{
    struct gpu_rig *rig = rig_open("64x64");
    int pair[2];

    (void)state;
    rig_draw(rig, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(rig->module->viewer_attach(rig->drawn, pair[1], NULL), 0);
    answer(pair[0], VHOST_USER_GPU_GET_PROTOCOL_FEATURES, VHOST_USER_GPU_FLAG_REPLY, 8);
    rig_turn(rig, TURN_NS);
    answer(pair[0], VHOST_USER_GPU_GET_DISPLAY_INFO, VHOST_USER_GPU_FLAG_REPLY, 408);
    rig_turn(rig, TURN_NS);
    answer(pair[0], VHOST_USER_GPU_GET_EDID, VHOST_USER_GPU_FLAG_REPLY, 1056);
    RIG_UNTIL(rig, rig->gpu.outputs[0].wanted);
    assert_int_equal(rig->gpu.outputs[0].wanted_width, DISPLAY_SIZE_MAX);
    close(pair[0]);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_message),
        cmocka_unit_test(test_flags_of_requests_mean_nothing),
        cmocka_unit_test(test_update_of_another_size_than_it_says),
        cmocka_unit_test(test_what_is_nowhere_is_left_out),
        cmocka_unit_test(test_same_size_again),
        cmocka_unit_test(test_in_pieces),
        cmocka_unit_test(test_reset_in_the_midst_of_an_update),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_takes_no_answers),
        cmocka_unit_test(test_edid),
        cmocka_unit_test(test_descriptors_are_closed),
        cmocka_unit_test(test_unsound_buffers),
        cmocka_unit_test(test_buffer_taken_away),
        cmocka_unit_test(test_front_end_makes_no_sense),
        cmocka_unit_test(test_front_end_with_huge_outputs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
