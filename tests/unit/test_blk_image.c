/*
 * Disk images: what virtio-blk refuses when it is made, what it measures, and locks.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "devices/blk/blk.h"
#include "devices/blk/image.h"
#include "devices/blk/io.h"
#include "devices/blk/lifetime.h"

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
    struct blk_options options = {
        .path = (char *)path, .serial = (char *)serial, .aio = BLK_AIO_THREADS};
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

static int image_open(struct blk_image *image, const struct place *p, bool readonly)
{
    return blk_image_open(
        image, &(struct blk_image_options){.path = p->image, .readonly = readonly}, NULL);
}

/* BLK-03, BLK-04: what the configuration will say */
static void test_measures(void **state)
{
    const struct place *p = *state;
    struct blk_image image;
    struct stat st;

    image_make(p, 5 * 512);
    assert_int_equal(image_open(&image, p, true), 0);
    assert_int_equal(fstat(image.file.fd, &st), 0);
    assert_int_equal(image.sectors, 5);
    assert_int_equal(image.block_size, 512);
    if (st.st_blksize <= 65536)
        assert_int_equal(512 << image.physical_block_exp, st.st_blksize);
    assert_int_equal(fcntl(image.file.fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDONLY);
    assert_int_not_equal(fcntl(image.file.fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(image.file.discard.kind, BLK_METHOD_NONE); /* nothing is written to it */
    blk_image_close(&image);
}

/* Looking what can be done to an image leaves it as it was. */
static void test_methods_change_nothing(void **state)
{
    const struct place *p = *state;
    const struct timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    struct blk_image image;
    struct stat before, after;

    image_make(p, 1000 * 512);
    assert_int_equal(utimensat(AT_FDCWD, p->image, long_ago, 0), 0);
    assert_int_equal(stat(p->image, &before), 0);
    assert_int_equal(image_open(&image, p, false), 0);
    assert_int_equal(image.file.zero.kind, BLK_METHOD_FALLOCATE);
    blk_image_close(&image);
    assert_int_equal(stat(p->image, &after), 0);
    assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(after.st_blocks, before.st_blocks);
}

static void expect_sizes_refused(const struct place *p, uint64_t logical, uint64_t physical,
                                 const char *why)
{
    struct error err = ERROR_INIT;
    struct blk_image image;

    assert_int_equal(blk_image_open(&image,
                                    &(struct blk_image_options){.path = p->image,
                                                                .logical_block_size = logical,
                                                                .physical_block_size = physical},
                                    &err),
                     -EINVAL);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
}

/* BLK-33: blk_size is the user's or the host's, and the disk is a whole number of them long. */
static void test_block_sizes(void **state)
{
    const struct place *p = *state;
    struct blk_image image;

    image_make(p, 9 * 4096);
    assert_int_equal(blk_image_open(&image,
                                    &(struct blk_image_options){.path = p->image,
                                                                .logical_block_size = 4096,
                                                                .physical_block_size = 16384},
                                    NULL),
                     0);
    assert_int_equal(image.block_size, 4096);
    assert_int_equal(image.physical_block_exp, 2);
    assert_int_equal(image.min_io_blocks, 4);
    assert_int_equal(image.sectors, 9 * 8);
    blk_image_close(&image);
    expect_sizes_refused(p, 8192, 0, "not a multiple of 8192");
    expect_sizes_refused(p, 1000, 0, "power of two");
    expect_sizes_refused(p, 256, 0, "power of two");
    expect_sizes_refused(p, 131072, 0, "64K");
    expect_sizes_refused(p, 4096, 512, "physical-block-size");
    expect_sizes_refused(p, 4096, 5000, "physical-block-size");
}

/* One writer, or many readers. */
static void test_lock(void **state)
{
    const struct place *p = *state;
    struct blk_image first, second;

    image_make(p, 512);
    assert_int_equal(image_open(&first, p, false), 0);
    assert_int_equal(image_open(&second, p, false), -EBUSY);
    assert_int_equal(image_open(&second, p, true), -EBUSY);
    blk_image_close(&first);

    assert_int_equal(image_open(&first, p, true), 0);
    assert_int_equal(image_open(&second, p, false), -EBUSY);
    assert_int_equal(image_open(&second, p, true), 0);
    blk_image_close(&first);
    blk_image_close(&second);
}

static int lock_byte(int fd, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* The bytes QEMU locks: 100 reads, 101 writes, 103 resizes; 200 and so on: others must not. A QEMU
 * that writes has none of our readers beside it; one that only reads does not mind them. */
static void test_lock_of_qemu(void **state)
{
    const struct place *p = *state;
    int qemu, reads[] = {100, 201, 203};
    struct blk_image image;

    image_make(p, 512);
    qemu = open(p->image, O_RDWR | O_CLOEXEC);
    assert_int_equal(lock_byte(qemu, F_RDLCK, 101), 0);
    assert_int_equal(image_open(&image, p, true), -EBUSY);
    assert_int_equal(image_open(&image, p, false), -EBUSY);
    assert_int_equal(lock_byte(qemu, F_UNLCK, 101), 0);

    for (size_t i = 0; i < 3; i++)
        assert_int_equal(lock_byte(qemu, F_RDLCK, reads[i]), 0);
    assert_int_equal(image_open(&image, p, false), -EBUSY);
    assert_int_equal(image_open(&image, p, true), 0);
    /* What QEMU looks for before it reads, and before it writes. */
    assert_int_equal(lock_byte(qemu, F_WRLCK, 200), 0);
    assert_int_equal(lock_byte(qemu, F_WRLCK, 101), 0);
    assert_int_equal(lock_byte(qemu, F_WRLCK, 201), -1);
    blk_image_close(&image);
    close(qemu);
}

static void test_resize(void **state)
{
    const struct place *p = *state;
    struct error err = ERROR_INIT;
    struct blk_image image;

    image_make(p, 8 * 512);
    assert_int_equal(image_open(&image, p, false), 0);
    assert_int_equal(blk_image_resize(&image, 20 * 512, &err), 0);
    assert_int_equal(image.sectors, 20);
    assert_int_equal(ftruncate(image.file.fd, 4 * 512), 0);
    assert_int_equal(blk_image_remeasure(&image, &err), 0);
    assert_int_equal(image.sectors, 4);
    assert_int_equal(ftruncate(image.file.fd, 100), 0);
    assert_int_equal(blk_image_remeasure(&image, &err), -EINVAL);
    assert_int_equal(image.sectors, 4);
    blk_image_close(&image);

    assert_int_equal(truncate(p->image, 512), 0);
    assert_int_equal(image_open(&image, p, true), 0);
    assert_int_equal(blk_image_resize(&image, 20 * 512, &err), -EROFS);
    blk_image_close(&image);
}

static void write_text(const char *directory, const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* BLK-12, BLK-24: what sysfs says of an eMMC, and what is not worth passing on. */
static void test_lifetime(void **state)
{
    static const struct {
        const char *pre_eol, *life;
        int result;
    } cases[] = {
        {"0x02\n", "0x03 0x0b\n", 0},        {"0x00\n", "0x00 0x01\n", 0},
        {"0x00\n", "0x00 0x00\n", -ENODATA}, {"0x04\n", "0x01 0x01\n", -ENODATA},
        {"0x01\n", "0x0c 0x01\n", -ENODATA}, {"0x01\n", "0x01 0xff\n", -ENODATA},
        {"0x01\n", "0x01\n", -ENODATA},      {"", "", -ENODATA},
    };
    const struct place *p = *state;
    const uint8_t worn[6] = {2, 0, 3, 0, 11, 0};
    char device[64], partition[64];
    uint8_t out[6];

    assert_int_equal(blk_lifetime_read(p->directory, out), -ENODATA);
    snprintf(device, sizeof(device), "%s/device", p->directory);
    snprintf(partition, sizeof(partition), "%s/p1", p->directory);
    assert_int_equal(mkdir(device, 0700) | mkdir(partition, 0700), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        write_text(device, "pre_eol_info", cases[i].pre_eol);
        write_text(device, "life_time", cases[i].life);
        assert_int_equal(blk_lifetime_read(p->directory, out), cases[i].result);
        assert_int_equal(blk_lifetime_read(partition, out), cases[i].result);
        if (i == 0)
            assert_memory_equal(out, worn, sizeof(worn));
    }
    unlinkat(AT_FDCWD, partition, AT_REMOVEDIR);
    for (const char *const *name = (const char *const[]){"pre_eol_info", "life_time", NULL}; *name;
         name++) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", device, *name);
        unlink(path);
    }
    rmdir(device);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(test_not_an_image), IN_PLACE(test_sizes),
        IN_PLACE(test_serials),      IN_PLACE(test_measures),
        IN_PLACE(test_lock),         IN_PLACE(test_methods_change_nothing),
        IN_PLACE(test_block_sizes),  IN_PLACE(test_lock_of_qemu),
        IN_PLACE(test_resize),       IN_PLACE(test_lifetime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
