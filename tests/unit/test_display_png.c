/*
 * Screenshots, read back by libpng's own simple reader: every pixel of every format.
 */
#include "tests/unit/display_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <png.h>
#include <stdlib.h>

static struct display_fixture f;
static char directory[] = "/tmp/vireo-png-XXXXXX";
static char path[64];

struct picture {
    png_image image;
    uint8_t *rgb;
};

static struct picture read_png(const char *from)
{
    struct picture p = {.image.version = PNG_IMAGE_VERSION};

    assert_int_not_equal(png_image_begin_read_from_file(&p.image, from), 0);
    assert_int_equal(p.image.format, PNG_FORMAT_RGB); /* no alpha: nothing is below it */
    p.rgb = malloc(PNG_IMAGE_SIZE(p.image));
    assert_int_not_equal(png_image_finish_read(&p.image, NULL, p.rgb, 0, NULL), 0);
    return p;
}

static uint32_t pixel(const struct picture *p, uint32_t x, uint32_t y)
{
    const uint8_t *at = p->rgb + 3 * ((size_t)y * p->image.width + x);

    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

/* A picture of this size with the colours of seed 0. */
static void assert_picture(const char *from, uint32_t width, uint32_t height)
{
    struct picture p = read_png(from);

    assert_int_equal(p.image.width, width);
    assert_int_equal(p.image.height, height);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            assert_int_equal(pixel(&p, x, y), fake_gpu_colour(x, y, 0));
    free(p.rgb);
}

static int setup(void **state)
{
    (void)state;
    fixture_open(&f, 3, 0);
    snprintf(path, sizeof(path), "%s/shot.png", directory);
    assert_int_equal(fixture_view(&f, "png", path, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    char command[80];

    (void)state;
    fixture_close(&f);
    snprintf(command, sizeof(command), "rm -f %s/*", directory);
    return system(command);
}

static void test_formats(void **state)
{
    (void)state;
    for (const uint32_t *format = fake_gpu_formats; *format; format++) {
        fake_gpu_show(&f.gpu, 0, 67, 41, *format);
        display_save(f.display);
        assert_picture(path, 67, 41);
    }
}

static void test_picture_that_must_be_read(void **state)
{
    (void)state;
    fake_gpu_show_foreign(&f.gpu, 0, 50, 33);
    display_save(f.display);
    assert_picture(path, 50, 33);
}

static void test_damage_is_in_the_next(void **state)
{
    struct picture p;

    (void)state;
    fake_gpu_show(&f.gpu, 0, 64, 48, DRM_FORMAT_XRGB8888);
    display_save(f.display);
    fake_gpu_paint(&f.gpu, 0, &(struct display_rect){10, 20, 5, 4}, 9);
    assert_picture(path, 64, 48); /* nothing is written until it is asked for */
    display_save(f.display);
    p = read_png(path);
    for (uint32_t y = 0; y < 48; y++)
        for (uint32_t x = 0; x < 64; x++)
            assert_int_equal(pixel(&p, x, y),
                             fake_gpu_colour(x, y, x >= 10 && x < 15 && y >= 20 && y < 24 ? 9 : 0));
    free(p.rgb);
}

static void test_file_for_each_output_that_showed_something(void **state)
{
    char other[80];

    (void)state;
    fake_gpu_show(&f.gpu, 0, 20, 10, DRM_FORMAT_XRGB8888);
    fake_gpu_show(&f.gpu, 2, 30, 15, DRM_FORMAT_XRGB8888);
    display_save(f.display);
    assert_picture(path, 20, 10);
    snprintf(other, sizeof(other), "%s/shot-2.png", directory);
    assert_picture(other, 30, 15);
    snprintf(other, sizeof(other), "%s/shot-1.png", directory);
    assert_int_equal(access(other, F_OK), -1);
}

static void test_output_that_is_off_is_written_as_it_was(void **state)
{
    (void)state;
    fake_gpu_show(&f.gpu, 0, 20, 10, DRM_FORMAT_RGBA8888);
    fake_gpu_off(&f.gpu, 0);
    fake_gpu_detach(&f.gpu); /* as a guest that powers off */
    display_save(f.display);
    assert_picture(path, 20, 10);
}

/* Whoever has the old file open keeps all of it, and nothing else is left in the directory. */
static void test_file_is_replaced_whole(void **state)
{
    struct dirent *entry;
    FILE *before;
    DIR *all;
    int files = 0;

    (void)state;
    fake_gpu_show(&f.gpu, 0, 20, 10, DRM_FORMAT_XRGB8888);
    display_save(f.display);
    before = fopen(path, "re");
    assert_non_null(before);
    fake_gpu_show(&f.gpu, 0, 40, 30, DRM_FORMAT_XRGB8888);
    display_save(f.display);
    {
        struct picture p = {.image.version = PNG_IMAGE_VERSION};

        assert_int_not_equal(png_image_begin_read_from_stdio(&p.image, before), 0);
        assert_int_equal(p.image.width, 20);
        png_image_free(&p.image);
    }
    fclose(before);
    assert_picture(path, 40, 30);
    all = opendir(directory);
    while ((entry = readdir(all)))
        files += entry->d_name[0] != '.';
    closedir(all);
    assert_int_equal(files, 1);
}

static void test_nothing_shown_is_no_file(void **state)
{
    (void)state;
    display_save(f.display);
    assert_int_equal(access(path, F_OK), -1);
}

/* Half of it is transparent; it hangs over the left edge by its hot spot. */
static void test_pointer_is_drawn_when_asked_for(void **state)
{
    static const uint32_t pixels[4] = {0xff112233, 0xff445566, 0x00000000, 0x80808080};
    const struct display_cursor cursor = {2, 2, 1, 0, pixels};
    char text[128], with[80];
    struct picture p;

    (void)state;
    snprintf(with, sizeof(with), "%s/with.png", directory);
    snprintf(text, sizeof(text), "%s,cursor=on", with);
    assert_int_equal(fixture_view(&f, "png", text, NULL), 0);
    fake_gpu_show(&f.gpu, 0, 20, 10, DRM_FORMAT_XRGB8888);
    display_set_cursor(f.display, 0, &cursor);
    display_move_cursor(f.display, 0, 0, 4);
    display_save(f.display);
    p = read_png(with);
    assert_int_equal(pixel(&p, 0, 4), 0x445566);
    assert_int_equal(pixel(&p, 1, 4), fake_gpu_colour(1, 4, 0));
    for (int shift = 0; shift < 24; shift += 8) {
        int below = fake_gpu_colour(0, 5, 0) >> shift & 0xff, half = (below + 255) / 2;

        assert_in_range(pixel(&p, 0, 5) >> shift & 0xff, half - 1, half + 1);
    }
    free(p.rgb);
    assert_picture(path, 20, 10);
}

static void test_directory_that_is_not_there_is_refused(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(fixture_view(&f, "png", "/no/such/directory/a.png", &err), -ENOENT);
    assert_string_equal(err.text, "cannot write screenshots to '/no/such/directory/a.png': No such "
                                  "file or directory");
    assert_int_equal(fixture_view(&f, "png", directory, &err), -EISDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_picture_that_must_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_in_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_for_each_output_that_showed_something, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_output_that_is_off_is_written_as_it_was, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_file_is_replaced_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_shown_is_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pointer_is_drawn_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory_that_is_not_there_is_refused, setup,
                                        teardown),
    };
    int ret;

    if (!mkdtemp(directory))
        return 1;
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return ret;
}
