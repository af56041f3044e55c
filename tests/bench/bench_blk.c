/*
 * What a disk costs for each request of 4 KiB, random, with so many under way at a time.
 *
 *     bench_blk [REQUESTS [DEPTH [ENGINE [PATH [direct]]]]]
 *
 * The device runs on a thread of its own, as in a machine; the driver's part, which is small, is on
 * this one. The image is at PATH, or in memory; it is in the page cache in either case, so that
 * what is measured is ours. For instructions on the device's side:
 *
 *     valgrind --tool=callgrind --toggle-collect=queue_kicked bench_blk 20000 1 io_uring /var/tmp/x
 */
#include "base/bytes.h"
#include "devices/blk/io.h"
#include "tests/driver/blk_disk.h"

#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK     4096
#define DEPTH_MAX 64
#define IMAGE     (64 * MIB)

static uint64_t random_state = 1;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (random_state >> 33) % below;
}

/* Request i: its header at OUT, status at IN, data behind both. */
static void add(struct blk_disk *d, unsigned i, bool write)
{
    const uint64_t data = BLK_DISK_IN + 0x10000 + (uint64_t)i * BLOCK;
    const struct ring_element e[] = {
        {BLK_DISK_OUT + 16 * i, 16, false}, {data, BLOCK, !write}, {BLK_DISK_IN + 16 * i, 1, true}};

    blk_disk_put_header(d, (size_t)16 * i, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
                        draw(IMAGE / BLOCK) * (BLOCK / 512));
    if (ring_add(&d->rings[0], e, 3, RING_TABLE) < 0)
        abort();
}

static bool direct;

static void run(const char *path, enum blk_aio aio, unsigned depth, bool write, uint64_t requests)
{
    static const unsigned char bits[] = {VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX};
    struct blk_disk *d = blk_disk_open(
        &(struct blk_options){.path = (char *)path, .aio = (int)aio, .direct = direct});
    uint64_t begin, spent;

    if (!d->backend) {
        printf("%s\n", d->refusal.text);
        exit(1);
    }
    blk_disk_start(d, bits, sizeof(bits));
    begin = loop_now_ns();
    for (uint64_t done = 0; done < requests; done += depth) {
        for (unsigned i = 0; i < depth; i++)
            add(d, i, write);
        blk_disk_kick(d, 0);
        for (unsigned i = 0; i < depth; i++)
            blk_disk_collect(d, 0);
    }
    spent = loop_now_ns() - begin;
    printf("%-9s depth %2u %-5s: %8.0f requests/s, %6.2f us each\n", blk_aio_names[aio], depth,
           write ? "write" : "read", (double)requests * 1e9 / (double)spent,
           (double)spent / (double)requests / 1e3);
    blk_disk_close(d);
}

static void make_image(const char *path)
{
    FILE *f = fopen(path, "we");
    static uint8_t block[BLOCK];

    for (uint64_t i = 0; f && i < IMAGE / BLOCK; i++)
        fwrite(block, sizeof(block), 1, f);
    if (!f || fclose(f) != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = {1, 32};
    uint64_t requests = argc > 1 ? strtoull(argv[1], NULL, 0) : 200000;
    unsigned only = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 0; /* 0: each */
    const char *engine = argc > 3 ? argv[3] : "";                       /* "": each */
    const char *path = argc > 4 ? argv[4] : "/dev/shm/bench_blk";

    direct = argc > 5;
    make_image(path);
    for (int aio = BLK_AIO_AUTO; aio <= BLK_AIO_INLINE; aio++)
        for (unsigned i = 0; i < ARRAY_SIZE(depths); i++)
            for (int write = 0; write < 2; write++)
                if ((only == 0 || only == depths[i]) &&
                    (!engine[0] || strcmp(engine, blk_aio_names[aio]) == 0))
                    run(path, (enum blk_aio)aio, depths[i], write, requests);
    unlink(path);
    return 0;
}
