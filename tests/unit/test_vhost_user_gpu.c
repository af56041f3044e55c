/*
 * A GPU in one process and its display in another: both of our ends against each other.
 */
#include "tests/unit/vhost_user_gpu_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <libdrm/drm_fourcc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WIDTH  640u
#define HEIGHT 480u

static const struct display_rect all = {0, 0, WIDTH, HEIGHT};

/* --- pictures --------------------------------------------------------------------------------- */

static void test_shows_every_format(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);

    (void)state;
    for (size_t i = 0; fake_gpu_formats[i]; i++) {
        fake_gpu_off(&rig->gpu, 0);
        RIG_UNTIL(rig, !display_picture(rig->shown, 0));
        fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, fake_gpu_formats[i]);
        RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    }
    rig_close(rig);
}

static void test_shows_what_can_only_be_read(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);
    struct display_picture picture;

    (void)state;
    fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    picture = *display_picture(rig->drawn, 0);
    picture.kind = DISPLAY_TEXTURE;
    picture.pixels = NULL;
    display_show(rig->drawn, 0, &picture);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    rig_close(rig);
}

/* Of what changes, that alone is sent, and said to have changed. */
static void test_sends_damage_only(void **state)
{
    const struct display_rect rect = {33, 17, 101, 59};
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);
    unsigned before;

    (void)state;
    fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    before = rig->damages;
    fake_gpu_paint(&rig->gpu, 0, &rect, 1);
    RIG_UNTIL(rig, rig->damages > before);
    assert_memory_equal(&rig->damage, &rect, sizeof(rect));
    assert_true(rig_has(rig, 0, &rect, 1));
    assert_true(rig_has(rig, 0, &(struct display_rect){0, 0, WIDTH, rect.y}, 0));
    assert_true(rig_has(rig, 0, &(struct display_rect){0, 0, rect.x, HEIGHT}, 0));
    rig_close(rig);
}

/* A picture that is larger than the socket's buffer, while the front end does not look: changes
 * are gathered, and nothing waits. */
static void test_gathers_damage_while_the_socket_is_full(void **state)
{
    const struct display_rect screen = {0, 0, 1920, 1080};
    struct gpu_rig *rig = rig_open_drawn("1920x1080", 1);
    unsigned before;

    (void)state;
    fake_gpu_show(&rig->gpu, 0, screen.width, screen.height, DRM_FORMAT_XRGB8888);
    RIG_UNTIL(rig, rig_has(rig, 0, &screen, 0));
    before = rig->damages;
    for (uint32_t seed = 1; seed <= 10; seed++)
        fake_gpu_paint(&rig->gpu, 0, &screen, seed);
    RIG_UNTIL(rig, rig_has(rig, 0, &screen, 10));
    assert_in_range(rig->damages - before, 1, 3);
    rig_close(rig);
}

/* The message has promised pixels, so it is completed; what is shown next is right. */
static void test_completes_an_update_whose_picture_is_gone(void **state)
{
    const struct display_rect screen = {0, 0, 1920, 1080};
    struct gpu_rig *rig = rig_open_drawn("1920x1080+640x480", 2);

    (void)state;
    for (int i = 0; i < 5; i++) {
        fake_gpu_show(&rig->gpu, 0, screen.width, screen.height, DRM_FORMAT_XRGB8888);
        fake_gpu_off(&rig->gpu, 0);
        fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XBGR8888);
        RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    }
    fake_gpu_show(&rig->gpu, 1, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    RIG_UNTIL(rig, rig_has(rig, 1, &all, 0));
    rig_close(rig);
}

static void test_shows_sixteen_outputs(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480+640x480+640x480+640x480+640x480+640x480+640x480+"
                                         "640x480+640x480+640x480+640x480+640x480+640x480+640x480+"
                                         "640x480+640x480",
                                         16);

    (void)state;
    assert_int_equal(display_outputs(rig->shown), 16);
    for (unsigned i = 0; i < 16; i++)
        fake_gpu_show(&rig->gpu, i, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    for (unsigned i = 0; i < 16; i++)
        RIG_UNTIL(rig, rig_has(rig, i, &all, 0));
    rig_close(rig);
}

/* --- pictures that are shared ----------------------------------------------------------------- */

/* A buffer of 640 by 480 in rows of 2800 bytes. */
#define STRIDE 2800u
static int share(uint32_t seed)
{
    int fd = memfd_create("picture", MFD_CLOEXEC);
    uint32_t row[STRIDE / 4] = {0};

    for (uint32_t y = 0; y < HEIGHT; y++) {
        for (uint32_t x = 0; x < WIDTH; x++)
            row[x] = fake_gpu_colour(x, y, seed);
        assert_int_equal(pwrite(fd, row, STRIDE, (off_t)y * STRIDE), STRIDE);
    }
    return fd;
}

/* As drivers of the kernel's share theirs. */
static int read_only(int fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static struct display_picture shared_picture(int fd)
{
    return (struct display_picture){
        .kind = DISPLAY_DMABUF,
        .width = WIDTH,
        .height = HEIGHT,
        .fourcc = DRM_FORMAT_XRGB8888,
        .dmabuf = {.fd = fd, .width = WIDTH, .height = HEIGHT, .stride = STRIDE},
    };
}

/* No viewer knows such buffers: what changes is copied out of them. */
static void test_copies_from_a_shared_picture(void **state)
{
    const struct display_rect rect = {10, 20, 30, 40};
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);
    struct display_picture picture = shared_picture(share(0));
    int next = share(1);
    uint8_t row[STRIDE];

    (void)state;
    display_show(rig->drawn, 0, &picture);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    for (uint32_t y = 0; y < HEIGHT; y++) {
        assert_int_equal(pread(next, row, STRIDE, (off_t)y * STRIDE), STRIDE);
        assert_int_equal(pwrite(picture.dmabuf.fd, row, STRIDE, (off_t)y * STRIDE), STRIDE);
    }
    display_damage(rig->drawn, 0, &rect);
    RIG_UNTIL(rig, rig_has(rig, 0, &rect, 1));
    assert_true(rig_has(rig, 0, &(struct display_rect){0, 0, WIDTH, rect.y}, 0));
    display_damage(rig->drawn, 0, &all); /* the one before was answered */
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 1));
    display_show(rig->drawn, 0, NULL);
    RIG_UNTIL(rig, !display_picture(rig->shown, 0));
    close(picture.dmabuf.fd);
    close(next);
    rig_close(rig);
}

static void test_copies_a_part_from_the_bottom_up(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);
    int fd = share(3);
    struct display_picture picture = shared_picture(read_only(fd));

    (void)state;
    close(fd);
    picture.width = 100;
    picture.height = 50;
    picture.x = 7;
    picture.y = 9;
    picture.dmabuf.bottom_up = true;
    display_show(rig->drawn, 0, &picture);
    RIG_UNTIL(rig, display_picture(rig->shown, 0));
    RIG_UNTIL(rig, rig_pixel(rig, 0, 99, 49) == fake_gpu_colour(106, HEIGHT - 1 - 58, 3));
    assert_int_equal(rig_pixel(rig, 0, 0, 0), fake_gpu_colour(7, HEIGHT - 1 - 9, 3));
    display_show(rig->drawn, 0, NULL);
    close(picture.dmabuf.fd);
    rig_close(rig);
}

static bool is_shared(const struct gpu_rig *rig)
{
    const struct display_picture *picture = display_picture(rig->shown, 0);

    return picture && picture->kind == DISPLAY_DMABUF;
}

/* As it is, until somebody looks who does not know it. */
static void test_passes_a_shared_picture_on(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);
    struct display_picture picture = shared_picture(share(0));
    const struct display_picture *shown;
    uint32_t pixels[4];

    (void)state;
    display_detach_viewer(rig->shown, &rig->viewer);
    rig_view(rig, &rig_viewer_of_dmabufs_ops);
    display_show(rig->drawn, 0, &picture);
    RIG_UNTIL(rig, is_shared(rig));
    shown = display_picture(rig->shown, 0);
    assert_int_equal(shown->dmabuf.stride, STRIDE);
    assert_int_equal(shown->dmabuf.modifier, 0);
    assert_int_equal(shown->read(shown->opaque, &(struct display_rect){5, 6, 4, 1}, pixels, 16), 0);
    assert_int_equal(pixels[3], fake_gpu_colour(8, 6, 0));
    display_detach_viewer(rig->shown, &rig->viewer);
    rig_view(rig, &rig_viewer_ops);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    display_show(rig->drawn, 0, NULL);
    close(picture.dmabuf.fd);
    rig_close(rig);
}

/* --- pointers --------------------------------------------------------------------------------- */

static void test_shows_the_pointer(void **state)
{
    uint32_t pixels[32 * 16];
    const struct display_cursor cursor = {32, 16, 3, 4, pixels};
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(pixels); i++)
        pixels[i] = 0xff000000 | i;
    display_set_cursor(rig->drawn, 0, &cursor);
    display_move_cursor(rig->drawn, 0, 100, -5);
    RIG_UNTIL(rig, rig->has_cursor && rig->y == -5);
    assert_int_equal(rig->x, 100);
    assert_int_equal(rig->cursor.hot_x, 3);
    assert_int_equal(rig->cursor.hot_y, 4);
    assert_int_equal(rig->cursor.width, 64);
    assert_int_equal(rig->cursor.pixels[2 * 64 + 31], 0xff000000 | (2 * 32 + 31));
    assert_int_equal(rig->cursor.pixels[2 * 64 + 32], 0);
    display_set_cursor(rig->drawn, 0, NULL);
    RIG_UNTIL(rig, !rig->has_cursor);
    display_set_cursor(rig->drawn, 0, &cursor);
    RIG_UNTIL(rig, rig->has_cursor);
    rig_close(rig);
}

/* --- what outputs there are ------------------------------------------------------------------- */

/* GPU-03, GPU-04: num_scanouts and events are the front end's, the rest is the back end's. */
static void test_configuration_is_the_front_ends(void **state)
{
    struct gpu_rig *rig = rig_open("640x480+800x600");
    uint8_t config[16], one[4];

    (void)state;
    memset(config, 0x77, sizeof(config));
    rig->part->ops->config_read(rig->part, 0, config, sizeof(config));
    assert_int_equal(load_le32(config), 0);
    assert_int_equal(load_le32(config + 8), 2);
    assert_int_equal(load_le32(config + 12), 0x77777777);
    display_resize(rig->shown, 1, 1024, 768, 0, 0);
    assert_int_equal(rig->config_changes, 1);
    display_resize(rig->shown, 1, 1024, 768, 0, 0);
    assert_int_equal(rig->config_changes, 1);
    rig->part->ops->config_read(rig->part, 0, one, sizeof(one));
    assert_int_equal(load_le32(one), VIRTIO_GPU_EVENT_DISPLAY);
    store_le32(one, VIRTIO_GPU_EVENT_DISPLAY);
    rig->part->ops->config_write(rig->part, 4, one, sizeof(one));
    rig->part->ops->config_read(rig->part, 0, one, sizeof(one));
    assert_int_equal(load_le32(one), 0);
    rig_close(rig);
}

/* A user's command: the guest is told, and finds the new size when it asks. */
static void test_resize_command(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480+800x600", 2);
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(rig->part->ops->command(rig->part, "resize", "1:1024x768", &err), 0);
    assert_int_equal(rig->config_changes, 1);
    RIG_UNTIL(rig, rig->gpu.outputs[1].wanted_width == 1024);
    assert_int_equal(rig->part->ops->command(rig->part, "resize", "2:1024x768", &err), -EINVAL);
    assert_int_equal(rig->part->ops->command(rig->part, "resize", "1024", &err), -EINVAL);
    assert_int_equal(rig->part->ops->command(rig->part, "other", "", &err), -ENOENT);
    rig_close(rig);
}

/* The back end's GPU learns what the front end's viewers would like, in pixels and mm. */
static void test_sizes_reach_the_gpu(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480+800x600", 2);

    (void)state;
    RIG_UNTIL(rig, rig->gpu.outputs[1].wanted);
    assert_int_equal(rig->gpu.outputs[0].wanted_width, 640);
    assert_int_equal(rig->gpu.outputs[0].wanted_height, 480);
    assert_int_equal(rig->gpu.outputs[1].wanted_width, 800);
    assert_int_equal(rig->gpu.outputs[1].wanted_height, 600);
    rig_close(rig);
}

/* When the guest asks, the front end is asked first; then the GPU is told, once. */
static void test_asks_when_the_guest_does(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);

    (void)state;
    RIG_UNTIL(rig, rig->gpu.outputs[0].wanted);
    display_resize(rig->shown, 0, 1024, 768, 300, 200);
    rig_turn(rig, 20000000);
    assert_int_equal(rig->gpu.outputs[0].wanted_width, 640); /* nobody asked */
    assert_true(display_ask(rig->drawn));
    RIG_UNTIL(rig, rig->gpu.outputs[0].wanted_width == 1024);
    display_resize(rig->shown, 0, 0, 0, 0, 0);
    assert_true(display_ask(rig->drawn));
    RIG_UNTIL(rig, rig->gpu.outputs[0].wanted_width == 0);
    rig_close(rig);
}

/* --- the socket ------------------------------------------------------------------------------- */

/* A back end that comes back is given another socket, and shows all anew. */
static void test_connects_again(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);
    unsigned before;

    (void)state;
    fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    before = rig->shows;
    rig_connect(rig); /* the old one finds its end */
    RIG_UNTIL(rig, rig->shows >= before + 2);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    assert_int_equal(rig->gpu.refreshed, 2);
    rig_close(rig);
}

/* The driver resets the device: nothing of before is shown. */
static void test_reset_blanks(void **state)
{
    struct gpu_rig *rig = rig_open_drawn("640x480", 1);

    (void)state;
    fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    RIG_UNTIL(rig, rig_has(rig, 0, &all, 0));
    rig->part->ops->reset(rig->part);
    RIG_UNTIL(rig, !display_picture(rig->shown, 0));
    rig_close(rig);
}

/* The front end goes: whoever draws goes on without, also one that waits for an answer. */
static void test_front_end_goes(void **state)
{
    struct gpu_rig *rig = rig_open("640x480");
    int pair[2];

    (void)state;
    rig_draw(rig, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(rig->module->viewer_attach(rig->drawn, pair[1], NULL), 0);
    assert_true(display_ask(rig->drawn));
    fake_gpu_show(&rig->gpu, 0, WIDTH, HEIGHT, DRM_FORMAT_XRGB8888);
    close(pair[0]);
    rig_turn(rig, 20000000);
    assert_false(display_ask(rig->drawn)); /* nobody is there to be asked */
    fake_gpu_paint(&rig->gpu, 0, &all, 1);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shows_every_format),
        cmocka_unit_test(test_shows_what_can_only_be_read),
        cmocka_unit_test(test_sends_damage_only),
        cmocka_unit_test(test_gathers_damage_while_the_socket_is_full),
        cmocka_unit_test(test_completes_an_update_whose_picture_is_gone),
        cmocka_unit_test(test_shows_sixteen_outputs),
        cmocka_unit_test(test_copies_from_a_shared_picture),
        cmocka_unit_test(test_copies_a_part_from_the_bottom_up),
        cmocka_unit_test(test_passes_a_shared_picture_on),
        cmocka_unit_test(test_shows_the_pointer),
        cmocka_unit_test(test_configuration_is_the_front_ends),
        cmocka_unit_test(test_resize_command),
        cmocka_unit_test(test_sizes_reach_the_gpu),
        cmocka_unit_test(test_asks_when_the_guest_does),
        cmocka_unit_test(test_connects_again),
        cmocka_unit_test(test_reset_blanks),
        cmocka_unit_test(test_front_end_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
