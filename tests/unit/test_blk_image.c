/*
 * Disk images: what virtio-blk refuses when it is made, what it measures, and locks.
 */
#include "base/loop.h"
#include "devices/blk/blk.h"
#include "devices/blk/image.h"
#include "devices/blk/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char directory[32];
    char image[64]; /* not there yet */
};

static int place_make(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    *state = p;
    strcpy(p->directory, "/tmp/test_blk.XXXXXX");
    if (!mkdtemp(p->directory))
        return -1;
    snprintf(p->image, sizeof(p->image), "%s/image", p->directory);
    return 0;
}

static int place_remove(void **state)
{
    struct place *p = *state;

    unlink(p->image);
    rmdir(p->directory);
    free(p);
    return 0;
}

static void image_make(const struct place *p, off_t size)
{
    int fd = open(p->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static int try_create(const char *path, const char *serial, struct error *err)
{
    struct blk_options options = {(char *)path, false, (char *)serial, BLK_AIO_THREADS};
    struct guest_memory memory;
    struct virtio_backend *backend;
    struct loop *loop;
    int r;

    guest_memory_init(&memory);
    assert_int_equal(loop_create(&loop, NULL), 0);
    r = virtio_builtin_create(&blk_model, &options, &memory, loop, 1, 128, &backend, err);
    if (r == 0)
        backend->ops->destroy(backend);
    loop_destroy(loop);
    return r;
}

static void expect_refusal(const char *path, const char *serial, const char *why)
{
    struct error err = ERROR_INIT;

    assert_true(try_create(path, serial, &err) < 0);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
}

static void test_not_an_image(void **state)
{
    const struct place *p = *state;

    expect_refusal(p->image, NULL, "No such file");
    expect_refusal(p->directory, NULL, "Is a directory");
    assert_int_equal(mkfifo(p->image, 0600), 0);
    expect_refusal(p->image, NULL, "neither a file nor a block device");
    expect_refusal("/dev/null", NULL, "neither a file nor a block device");
}

static void test_sizes(void **state)
{
    const struct place *p = *state;

    image_make(p, 0);
    expect_refusal(p->image, NULL, "is empty");
    image_make(p, 1000);
    expect_refusal(p->image, NULL, "1000 bytes long");
    image_make(p, 512);
    assert_int_equal(try_create(p->image, NULL, NULL), 0);
}

static void test_serials(void **state)
{
    const struct place *p = *state;

    image_make(p, 512);
    expect_refusal(p->image, "123456789012345678901", "20 is the most");
    assert_int_equal(try_create(p->image, "12345678901234567890", NULL), 0);
    assert_int_equal(try_create(p->image, "", NULL), 0);
}

static void test_measures(void **state)
{
    const struct place *p = *state;
    struct blk_image image;
    struct stat st;

    image_make(p, 5 * 512);
    assert_int_equal(blk_image_open(&image, p->image, true, NULL), 0);
    assert_int_equal(fstat(image.fd, &st), 0);
    assert_int_equal(image.sectors, 5);
    assert_int_equal(image.block_size, 512);
    if (st.st_blksize <= 65536)
        assert_int_equal(512 << image.physical_block_exp, st.st_blksize);
    assert_int_equal(fcntl(image.fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDONLY);
    assert_int_not_equal(fcntl(image.fd, F_GETFD) & FD_CLOEXEC, 0);
    blk_image_close(&image);
}

/* One writer, or many readers. */
static void test_lock(void **state)
{
    const struct place *p = *state;
    struct blk_image first, second;

    image_make(p, 512);
    assert_int_equal(blk_image_open(&first, p->image, false, NULL), 0);
    assert_int_equal(blk_image_open(&second, p->image, false, NULL), -EBUSY);
    assert_int_equal(blk_image_open(&second, p->image, true, NULL), -EBUSY);
    blk_image_close(&first);

    assert_int_equal(blk_image_open(&first, p->image, true, NULL), 0);
    assert_int_equal(blk_image_open(&second, p->image, false, NULL), -EBUSY);
    assert_int_equal(blk_image_open(&second, p->image, true, NULL), 0);
    blk_image_close(&first);
    blk_image_close(&second);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(test_not_an_image), IN_PLACE(test_sizes), IN_PLACE(test_serials),
        IN_PLACE(test_measures),     IN_PLACE(test_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
