/*
 * virtio-blk with options and drivers of other kinds: cache modes, legacy drivers, limits, direct
 * I/O, another size while running.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/blk/config.h"
#include "devices/blk/request.h"
#include "tests/driver/blk_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/virtio_blk.h>

static const unsigned char flush[] = {VIRTIO_BLK_F_FLUSH};
static const unsigned char wce[] = {VIRTIO_BLK_F_CONFIG_WCE};
static const unsigned char flush_wce[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE};

static uint64_t writeback(struct blk_disk *d)
{
    return blk_disk_config(d, offsetof(struct virtio_blk_config, wce), 1);
}

static void set_writeback(struct blk_disk *d, uint8_t value)
{
    d->backend->ops->config_write(d->backend, offsetof(struct virtio_blk_config, wce), &value, 1);
}

static struct blk_disk *disk_open(const struct blk_options *options)
{
    struct blk_disk *d = blk_disk_open(options);

    if (!d->backend)
        fail_msg("%s", d->refusal.text);
    return d;
}

/* --- cache modes ----------------------------------------------------------------------------- */

/* BLK-32: writethrough is where the device starts; the driver may choose otherwise. */
static void test_writethrough(void **state)
{
    struct blk_disk *d = disk_open(&(struct blk_options){.cache = BLK_CACHE_WRITETHROUGH});

    (void)state;
    blk_disk_start(d, flush_wce, 2);
    assert_true(blk_disk_offers(d, VIRTIO_BLK_F_FLUSH));
    assert_int_equal(writeback(d), 0);
    set_writeback(d, 1);
    assert_int_equal(writeback(d), 1);
    blk_disk_restart(d, flush, 1);
    assert_int_equal(writeback(d), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
    blk_disk_close(d);
}

/* From now on nothing gets onto stable storage: syncs and synchronous writes fail. */
static void lose_the_disk(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fdatasync, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_pwritev2, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, RWF_DSYNC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(filter), filter};

    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* The status of a write and of a flush then, as two digits. */
static int statuses_without_disk(int cache, bool snapshot, const unsigned char *bits, size_t count)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct blk_disk *d;
        uint8_t write;

        lose_the_disk();
        d = blk_disk_open(
            &(struct blk_options){.cache = cache, .aio = BLK_AIO_THREADS, .snapshot = snapshot});
        blk_disk_start(d, bits, count);
        write = blk_disk_request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL);
        _exit(write * 10 + blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL));
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* BLK-22, BLK-23: what waits for stable storage, and what does not. */
static void test_what_is_stable(void **state)
{
    (void)state;
    assert_int_equal(statuses_without_disk(BLK_CACHE_WRITEBACK, false, flush, 1), 01);
    assert_int_equal(statuses_without_disk(BLK_CACHE_WRITETHROUGH, false, flush, 1), 11);
    assert_int_equal(statuses_without_disk(BLK_CACHE_UNSAFE, false, flush, 1), 00);
    assert_int_equal(statuses_without_disk(BLK_CACHE_WRITEBACK, true, flush, 1), 00);
    /* FLUSH was offered and not taken; then flushes are not supported, either. */
    assert_int_equal(statuses_without_disk(BLK_CACHE_WRITEBACK, false, NULL, 0), 12);
    assert_int_equal(statuses_without_disk(BLK_CACHE_UNSAFE, false, NULL, 0), 02);
}

/* --- legacy drivers -------------------------------------------------------------------------- */

static struct blk_disk *legacy_open(void)
{
    struct blk_disk *d = disk_open(&(struct blk_options){0});

    d->legacy = true;
    return d;
}

/* BLK-28: FLUSH_OUT is a flush for them, SCSI commands and barriers are not known. */
static void test_legacy_types(void **state)
{
    struct blk_disk *d = legacy_open();

    (void)state;
    blk_disk_start(d, flush, 1);
    assert_int_equal(blk_disk_request(d, 5, 0, 0, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_disk_request(d, 2, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(blk_disk_request(d, 0x80000000, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_false(blk_disk_offers(d, 0) || blk_disk_offers(d, 7)); /* BLK-02: BARRIER, SCSI */
    d->legacy = false;
    blk_disk_restart(d, flush, 1);
    assert_int_equal(blk_disk_request(d, 5, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
    blk_disk_close(d);
}

/* BLK-29: they set the mode when they like, and their features leave it alone, unless they cannot
 * set it. */
static void test_legacy_cache(void **state)
{
    struct blk_disk *d = legacy_open();

    (void)state;
    set_writeback(d, 0);
    blk_disk_start(d, flush_wce, 2);
    assert_int_equal(writeback(d), 0);
    set_writeback(d, 1);
    assert_int_equal(writeback(d), 1);
    blk_disk_restart(d, wce, 1); /* without FLUSH: still as it was after the reset */
    assert_int_equal(writeback(d), 1);
    blk_disk_stop(d);
    set_writeback(d, 0);
    blk_disk_start(d, flush, 1);
    assert_int_equal(writeback(d), 1);
    set_writeback(d, 0);
    assert_int_equal(writeback(d), 1);
    blk_disk_restart(d, NULL, 0);
    assert_int_equal(writeback(d), 0);
    blk_disk_close(d);
}

/* BLK-27, DRV-BLK-13: any layout is taken, also of those who must keep to one. */
static void test_legacy_layout(void **state)
{
    struct blk_disk *d = legacy_open();
    uint32_t used;

    (void)state;
    blk_disk_start(d, flush, 1);
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_IN, 3);
    assert_int_equal(
        blk_disk_send(d, &(struct blk_framing){.out = 16, .in = 513}, RING_DIRECT, &used),
        VIRTIO_BLK_S_OK);
    blk_disk_assert_pattern(d->in, 3 * 512, 512);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 5, 1024, NULL), VIRTIO_BLK_S_OK);
    blk_disk_assert_pattern(d->in, 5 * 512, 1024);
    blk_disk_close(d);
}

/* --- limits and geometry --------------------------------------------------------------------- */

/* DRV-BLK-10: both limits bind who has negotiated them. */
static void test_limits(void **state)
{
    static const unsigned char limits[] = {VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX};
    struct blk_disk *d = disk_open(&(struct blk_options){.seg_max = 3, .size_max = 1024});
    struct blk_framing f = {.out = 16, .in = 3073, .in_piece = 1024};
    uint32_t used;

    (void)state;
    assert_true(blk_disk_offers(d, VIRTIO_BLK_F_SIZE_MAX));
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, size_max), 4), 1024);
    assert_int_equal(blk_disk_config(d, offsetof(struct virtio_blk_config, seg_max), 4), 3);
    blk_disk_start(d, limits, 2);
    blk_disk_put_header(d, 0, VIRTIO_BLK_T_IN, 0);
    assert_int_equal(blk_disk_send(d, &f, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
    f.in_piece = 1536;
    assert_int_equal(blk_disk_send(d, &f, RING_DIRECT, &used), VIRTIO_BLK_S_IOERR);
    f.in_piece = 512;
    assert_int_equal(blk_disk_send(d, &f, RING_DIRECT, &used), VIRTIO_BLK_S_IOERR);
    blk_disk_restart(d, NULL, 0);
    assert_int_equal(blk_disk_send(d, &f, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
    blk_disk_close(d);
}

static void test_bad_limits(void **state)
{
    struct blk_disk *d = blk_disk_open(&(struct blk_options){.seg_max = 127});

    (void)state;
    assert_null(d->backend); /* the queues have 128 entries */
    assert_non_null(strstr(d->refusal.text, "seg-max"));
    blk_disk_close(d);
}

/* BLK-03: cylinders, heads, sectors. */
static void test_geometry(void **state)
{
    struct blk_disk *d = disk_open(&(struct blk_options){.cyls = 600, .heads = 4, .secs = 17});
    const uint32_t at = offsetof(struct virtio_blk_config, geometry);

    (void)state;
    assert_true(blk_disk_offers(d, VIRTIO_BLK_F_GEOMETRY));
    assert_int_equal(blk_disk_config(d, at, 4), 600 | 4 << 16 | 17 << 24);
    blk_disk_close(d);
    d = disk_open(&(struct blk_options){.heads = 2, .secs = 8});
    blk_disk_start(d, flush, 1);
    assert_int_equal(blk_disk_config(d, at, 4), 4 | 2 << 16 | 8 << 24);
    assert_int_equal(d->backend->ops->command(d->backend, "resize", "1G", NULL), 0);
    assert_int_equal(blk_disk_config(d, at, 2), 16383);
    blk_disk_close(d);
}

/* --- what few hosts have ---------------------------------------------------------------------- */

static char sysfs[] = "/tmp/test_blk_sysfs.XXXXXX";

static void sysfs_write(const char *name, const char *text)
{
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "%s/device/%s", sysfs, name);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void sysfs_remove(void)
{
    static const char *const names[] = {"/device/life_time", "/device/pre_eol_info", "/device", ""};
    char path[64];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s%s", sysfs, names[i]);
        remove(path);
    }
}

/* A disk as on an eMMC that can erase: its method here is a hole. */
static int create_emmc(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    int r = blk_model.create(b, options, out, err);
    struct blk *blk = *out;

    assert_int_equal(r, 0);
    blk->backing.image.file.erase = blk->backing.image.file.discard;
    blk->backing.image.sysfs = strdup(sysfs);
    blk->lifetime = true;
    blk_config_fill(blk);
    return 0;
}

static struct blk_disk *emmc_open(void)
{
    static const unsigned char bits[] = {VIRTIO_BLK_F_SECURE_ERASE, BLK_F_LIFETIME};
    static struct virtio_model model; /* must outlive the disk */
    struct blk_disk *d;

    model = blk_model;
    model.create = create_emmc;
    d = blk_disk_open_model(&model, &(struct blk_options){0});
    blk_disk_start(d, bits, sizeof(bits));
    return d;
}

/* BLK-06, BLK-08, BLK-10, BLK-18, DRV-BLK-05 */
static void test_secure_erase(void **state)
{
    struct blk_disk *d = emmc_open();
    uint8_t *range = d->out + 16;

    (void)state;
    assert_true(blk_disk_offers(d, VIRTIO_BLK_F_SECURE_ERASE));
    assert_int_equal(blk_disk_config(d, 60, 4), BLK_RANGE_SECTORS_MAX);
    assert_int_equal(blk_disk_config(d, 64, 4), BLK_RANGES_MAX);
    assert_in_range(blk_disk_config(d, 68, 4), 1, 1024);
    store_le64(range, 8);
    store_le64(range + 8, 16);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_SECURE_ERASE, 0, 16, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 0, 64 * 512, NULL), VIRTIO_BLK_S_OK);
    blk_disk_assert_pattern(d->in, 0, 8 * 512);
    for (unsigned i = 8 * 512; i < 24 * 512; i++)
        assert_int_equal(d->in[i], 0);
    blk_disk_assert_pattern(d->in + 24 * 512, 24 * 512, 40 * 512);
    store_le32(range + 12, 1);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_SECURE_ERASE, 0, 16, NULL),
                     VIRTIO_BLK_S_UNSUPP);
    blk_disk_close(d);
}

/* As create_emmc, but the host fails each discard: a file has no such ioctl. */
static int create_failing(struct virtio_builtin *b, const void *options, void **out,
                          struct error *err)
{
    int r = blk_model.create(b, options, out, err);
    struct blk *blk = r == 0 ? *out : NULL;

    if (blk)
        blk->backing.image.file.discard = (struct blk_method){BLK_METHOD_IOCTL, BLKDISCARD};
    return r;
}

/* BLK-30: an error of the host ends that request, whichever its segment, and no other. */
static void range_fails(enum blk_aio aio)
{
    static const unsigned char discard[] = {VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES};
    static struct virtio_model model; /* must outlive the disk */
    struct blk_disk *d;
    uint32_t used;

    model = blk_model;
    model.create = create_failing;
    d = blk_disk_open_model(&model, &(struct blk_options){.aio = (int)aio});
    if (d->backend) {
        blk_disk_start(d, discard, sizeof(discard));
        memset(d->out + 16, 0, 32);
        store_le32(d->out + 16 + 16 + 8, 8); /* the first has no sectors, the second 8 */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_DISCARD, 0, 32, &used),
                             VIRTIO_BLK_S_IOERR);
            assert_int_equal(used, 1);
        }
        blk_disk_assert_image_unchanged(d);
        assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32, NULL),
                         VIRTIO_BLK_S_OK);
    } else {
        assert_int_equal(aio, BLK_AIO_URING);
    }
    blk_disk_close(d);
}

static void test_range_fails(void **state)
{
    (void)state;
    range_fails(BLK_AIO_THREADS);
    range_fails(BLK_AIO_URING); /* by its helper */
    range_fails(BLK_AIO_INLINE);
}

/* BLK-08, BLK-12, BLK-24, BLK-34: what the host says now, or an error. */
static void test_lifetime(void **state)
{
    const uint8_t worn[6] = {1, 0, 4, 0, 9, 0};
    struct blk_disk *d;
    char path[64];
    uint32_t used;

    (void)state;
    assert_non_null(mkdtemp(sysfs));
    snprintf(path, sizeof(path), "%s/device", sysfs);
    assert_int_equal(mkdir(path, 0700), 0);
    sysfs_write("pre_eol_info", "0x01\n");
    sysfs_write("life_time", "0x04 0x09\n");
    d = emmc_open();
    assert_true(blk_disk_offers(d, BLK_F_LIFETIME));
    assert_int_equal(blk_disk_request(d, BLK_T_GET_LIFETIME, 0, 6, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 7);
    assert_memory_equal(d->in, worn, sizeof(worn));
    assert_int_equal(blk_disk_request(d, BLK_T_GET_LIFETIME, 0, 5, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, BLK_T_GET_LIFETIME, 0, 512, &used), VIRTIO_BLK_S_IOERR);
    sysfs_write("life_time", "0xff 0x09\n");
    assert_int_equal(blk_disk_request(d, BLK_T_GET_LIFETIME, 0, 6, &used), VIRTIO_BLK_S_IOERR);
    assert_int_equal(used, 1);
    blk_disk_close(d);
    sysfs_remove();
}

/* --- direct I/O ------------------------------------------------------------------------------ */

/* Buffers anywhere, cut up anyhow, on a file that takes direct I/O only. */
static void direct(enum blk_aio aio)
{
    char path[] = "/var/tmp/test_blk.XXXXXX";
    int fd = mkstemp(path);
    struct blk_options options = {.path = path, .direct = true, .aio = (int)aio};
    struct blk_disk *d;

    blk_disk_fill(fd, 128 * 512);
    d = blk_disk_open(&options);
    if (!d->backend)
        print_message("    without direct I/O: %s\n", d->refusal.text);
    else
        blk_disk_start(d, flush, 1);
    for (unsigned i = 0; i < 200 && d->backend; i++) {
        bool write = i % 2;
        unsigned bytes = 512 * (1 + i % 17), sector = i % 100;
        struct blk_framing f = {.out = 16, .in = 1, .shift = i % 9 * 8};
        uint32_t used;

        *(write ? &f.out : &f.in) += bytes;
        *(write ? &f.out_piece : &f.in_piece) = 100 + 111 * (i % 50);
        blk_disk_put_header(d, f.shift, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector);
        for (unsigned j = 0; j < bytes && write; j++)
            d->out[f.shift + 16 + j] = blk_disk_pattern(sector * 512 + j);
        assert_int_equal(blk_disk_send(d, &f, RING_DIRECT, &used), VIRTIO_BLK_S_OK);
        if (!write)
            blk_disk_assert_pattern(d->in + f.shift, sector * 512, bytes);
    }
    blk_disk_close(d);
    close(fd);
    unlink(path);
}

static void test_direct(void **state)
{
    (void)state;
    direct(BLK_AIO_AUTO);
    direct(BLK_AIO_THREADS);
}

/* --- another size ---------------------------------------------------------------------------- */

static int resize(struct blk_disk *d, const char *size, struct error *err)
{
    *err = (struct error)ERROR_INIT;
    return d->backend->ops->command(d->backend, "resize", size, err);
}

/* BLK-21, CFG-04: the driver is told; BLK-25: what is cut off cannot be reached any more. */
static void test_resize(void **state)
{
    struct blk_disk *d = disk_open(&(struct blk_options){0});
    struct error err;

    (void)state;
    blk_disk_start(d, flush, 1);
    assert_int_equal(resize(d, "1M", &err), 0);
    assert_int_equal(blk_disk_config(d, 0, 8), 2048);
    assert_int_equal(atomic_load(&d->config_changes), 1);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 2047, 512, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(resize(d, "1M", &err), 0);
    assert_int_equal(atomic_load(&d->config_changes), 1); /* nothing has changed */
    assert_int_equal(resize(d, "4096", &err), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 8, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_OUT, 2047, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 7, 512, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(lseek(d->image, 0, SEEK_END), 4096);
    assert_int_equal(ftruncate(d->image, 8192), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 8, 512, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(resize(d, "auto", &err), 0);
    assert_int_equal(blk_disk_request(d, VIRTIO_BLK_T_IN, 8, 512, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(atomic_load(&d->config_changes), 3);
    blk_disk_close(d);
}

static void test_bad_sizes(void **state)
{
    static const char *const sizes[] = {"0", "1000", "large", "1Q", "-1", ""};
    struct blk_disk *d = disk_open(&(struct blk_options){0});
    struct error err;

    (void)state;
    blk_disk_start(d, flush, 1);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(resize(d, sizes[i], &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(d->backend->ops->command(d->backend, "grow", "1M", &err), -ENOENT);
    assert_int_equal(atomic_load(&d->config_changes), 0);
    blk_disk_assert_image_unchanged(d);
    blk_disk_close(d);
}

/* Many requests at once, and sizes in between: each is answered, by one size or the other. */
static void test_resize_under_load(void **state)
{
    struct blk_disk *d = disk_open(&(struct blk_options){.aio = BLK_AIO_THREADS});
    struct error err;

    (void)state;
    blk_disk_start(d, flush, 1);
    for (int round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 64; i++) {
            const struct ring_element e[] = {{BLK_DISK_OUT + 16 * i, 16, false},
                                             {BLK_DISK_IN + 1024 * i, 513, true}};

            blk_disk_put_header(d, 16 * (size_t)i, VIRTIO_BLK_T_IN, i);
            d->in[1024 * i + 512] = BLK_DISK_UNTOUCHED;
            assert_true(ring_add(&d->rings[0], e, 2, RING_DIRECT) >= 0);
        }
        blk_disk_kick(d, 0);
        assert_int_equal(resize(d, round % 2 ? "32K" : "16K", &err), 0);
        for (unsigned i = 0; i < 64; i++)
            blk_disk_collect(d, 0);
        for (unsigned i = 0; i < 64; i++)
            assert_true(d->in[1024 * i + 512] == VIRTIO_BLK_S_OK ||
                        (i >= 32 && d->in[1024 * i + 512] == VIRTIO_BLK_S_IOERR));
    }
    blk_disk_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writethrough),
        cmocka_unit_test(test_what_is_stable),
        cmocka_unit_test(test_legacy_types),
        cmocka_unit_test(test_legacy_cache),
        cmocka_unit_test(test_legacy_layout),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_bad_limits),
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_secure_erase),
        cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_range_fails),
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_resize_under_load),
    };
    log_configure("error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
