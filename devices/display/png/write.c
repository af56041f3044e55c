#include "devices/display/png/write.h"

#include "base/bytes.h"
#include "devices/display/common/pixels.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define ROWS 16 /* that are read at once: a picture's `read` may be slow to start */

/* Alpha is multiplied in above; should it not be, the sum may be too much. */
static uint8_t blend(uint8_t below, uint8_t above, uint8_t alpha)
{
    int sum = above + (below * (255 - alpha) + 127) / 255;

    return (uint8_t)MIN(sum, 255);
}

/* Draw what of the pointer is in row `y` over it. */
static void draw_pointer(const struct png_pointer *pointer, uint32_t y, uint32_t width,
                         uint8_t *row)
{
    const struct display_cursor *cursor = pointer->cursor;
    int64_t line = (int64_t)y - pointer->y;

    if (!cursor || line < 0 || line >= cursor->height)
        return;
    for (uint32_t i = 0; i < cursor->width; i++) {
        int64_t x = pointer->x + i;
        uint32_t above = cursor->pixels[(size_t)line * cursor->width + i];

        for (unsigned c = 0; x >= 0 && x < width && c < 3; c++)
            row[4 * x + c] = blend(row[4 * x + c], (uint8_t)(above >> 8 * c), above >> 24);
    }
}

static void failed(png_structp png, png_const_charp text)
{
    error_set(png_get_error_ptr(png), EIO, "%s", text);
    png_longjmp(png, 1);
}

static void warned(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* Between png_write_info and the end; what fails in libpng jumps out of it. */
static int write_rows(png_structp png, const struct display_picture *picture,
                      const struct png_pointer *pointer, uint8_t *rows, struct error *err)
{
    size_t stride = 4 * (size_t)picture->width;

    for (uint32_t y = 0; y < picture->height; y += ROWS) {
        struct display_rect part = {0, y, picture->width, MIN(ROWS, picture->height - y)};
        int ret = display_pixels_read(picture, &part, rows, stride);

        if (ret)
            return error_errno(err, -ret, "cannot read the picture");
        for (uint32_t i = 0; i < part.height; i++) {
            draw_pointer(pointer, y + i, picture->width, rows + stride * i);
            png_write_row(png, rows + stride * i);
        }
    }
    return 0;
}

/* Little-endian XRGB8888 is blue, green, red and a filler. */
static int encode(png_structp png, png_infop info, FILE *file,
                  const struct display_picture *picture, const struct png_pointer *pointer,
                  uint8_t *rows, struct error *err)
{
    int ret;

    if (setjmp(png_jmpbuf(png)))
        return -EIO;
    png_init_io(png, file);
    png_set_IHDR(png, info, picture->width, picture->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, 3); /* the machine's graphics wait for it */
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
    png_write_info(png, info);
    png_set_bgr(png);
    png_set_filler(png, 0, PNG_FILLER_AFTER);
    ret = write_rows(png, picture, pointer, rows, err);
    if (!ret)
        png_write_end(png, info);
    return ret;
}

static int write_file(FILE *file, const struct display_picture *picture,
                      const struct png_pointer *pointer, struct error *err)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, err, failed, warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    uint8_t *rows = malloc(4 * ROWS * (size_t)picture->width);
    int ret = info && rows ? 0 : error_set(err, ENOMEM, "no memory for a picture");

    if (!ret)
        ret = encode(png, info, file, picture, pointer, rows, err);
    png_destroy_write_struct(&png, &info);
    free(rows);
    return ret;
}

/* Of a name that nobody can have made a file or a link of beforehand. */
static FILE *open_part(const char *path, char part[PATH_MAX], struct error *err)
{
    uint64_t unique = 0;
    FILE *file;
    int fd;

    /* Should there be no random numbers, O_EXCL still sees to it that the file is ours. */
    if (getrandom(&unique, sizeof(unique), GRND_NONBLOCK) < 0)
        unique = (uint64_t)getpid();
    if (snprintf(part, PATH_MAX, "%s.%016" PRIx64 ".part", path, unique) >= PATH_MAX) {
        error_set(err, ENAMETOOLONG, "the path '%s' is too long", path);
        return NULL;
    }
    fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        error_errno(err, errno, "cannot write '%s'", part);
    if (!file && fd >= 0) {
        close(fd);
        unlink(part);
    }
    return file;
}

int png_write_picture(const char *path, const struct display_picture *picture,
                      const struct png_pointer *pointer, struct error *err)
{
    char part[PATH_MAX];
    FILE *file = open_part(path, part, err);
    int ret;

    if (!file)
        return -EIO;
    ret = write_file(file, picture, pointer, err);
    if (fclose(file) && !ret)
        ret = error_errno(err, errno, "cannot write '%s'", part);
    if (!ret && rename(part, path))
        ret = error_errno(err, errno, "cannot rename '%s' to '%s'", part, path);
    if (ret)
        unlink(part);
    return ret;
}
