/*
 * A virtio-blk disk driven through its queues, without a machine: the model runs on a loop thread,
 * the test is the driver. The image is an unnamed file in memory unless the test names another.
 *
 *     struct blk_disk *d = blk_disk_open(&(struct blk_options){.aio = BLK_AIO_THREADS}, NULL);
 *     status = blk_disk_request(d, VIRTIO_BLK_T_IN, 3, 1024, &used);
 *     ... d->in ...
 *     blk_disk_close(d);
 */
#ifndef TESTS_DRIVER_BLK_DISK_H
#define TESTS_DRIVER_BLK_DISK_H

#include "devices/blk/blk.h"
#include "devices/blk/io.h"
#include "tests/driver/ring.h"

#include <stdatomic.h>

#define BLK_DISK_SECTORS    64
#define BLK_DISK_QUEUES     2
#define BLK_DISK_QUEUE_SIZE 256

/* Guest addresses. The readable and the writable bytes of a request lie contiguously at OUT and IN;
 * how descriptors cut them up is each test's matter. */
#define BLK_DISK_OUT UINT64_C(0x200000)
#define BLK_DISK_IN  UINT64_C(0x280000)
#define BLK_DISK_END UINT64_C(0x400000)

#define BLK_DISK_UNTOUCHED 0xee /* what the writable bytes are before a request */

struct blk_disk {
    struct blk_options options;
    int image; /* of the file in memory; -1: the test's own */
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend; /* NULL: it was refused */
    struct error refusal;
    struct ring rings[BLK_DISK_QUEUES];
    int kicks[BLK_DISK_QUEUES];
    int interrupts; /* semaphore for all queues */
    atomic_bool needs_reset;
    atomic_int config_changes;
    bool legacy;       /* negotiate without VERSION_1 */
    uint8_t *out, *in; /* host addresses of OUT and IN */
};

/* Make a disk and its loop's thread. Without options->path the image is of BLK_DISK_SECTORS in
 * memory, filled with blk_disk_pattern. Strings are copied. Queues are not started. */
struct blk_disk *blk_disk_open(const struct blk_options *options);
void blk_disk_close(struct blk_disk *d);

/* The same for a model that differs from blk_model a little. */
struct blk_disk *blk_disk_open_model(const struct virtio_model *model,
                                     const struct blk_options *options);

/* Negotiate these bits (besides VERSION_1 and INDIRECT_DESC) and start all queues; stop them, with
 * all in flight done, and reset the device; both. */
void blk_disk_start(struct blk_disk *d, const unsigned char *bits, size_t count);
void blk_disk_stop(struct blk_disk *d);
void blk_disk_restart(struct blk_disk *d, const unsigned char *bits, size_t count);

/* The byte that the image has at an offset at first. */
uint8_t blk_disk_pattern(uint64_t offset);
void blk_disk_fill(int fd, uint64_t bytes);
void blk_disk_assert_pattern(const uint8_t *bytes, uint64_t from, size_t len);
void blk_disk_assert_image_unchanged(struct blk_disk *d);

/* --- requests -------------------------------------------------------------------------------- */

void blk_disk_kick(struct blk_disk *d, int q);
void blk_disk_wait_interrupt(struct blk_disk *d); /* fails the test after 10 seconds */
struct ring_used blk_disk_collect(struct blk_disk *d, int q);

/* Write a header to byte `at` of the readable bytes. */
void blk_disk_put_header(struct blk_disk *d, size_t at, uint32_t type, uint64_t sector);

/* How many readable and writable bytes, and how descriptors cut them up. */
struct blk_framing {
    unsigned out, in;
    unsigned out_cut, in_cut;     /* cut once, behind so many bytes; 0: not at all */
    unsigned out_piece, in_piece; /* from there on cut every so many bytes; 0: not at all */
    unsigned shift;               /* addresses are so much higher than OUT and IN */
};

/* The elements for `total` bytes at `base`; how many. */
unsigned blk_disk_cut_up(struct ring_element *e, uint64_t base, unsigned total, unsigned piece,
                         unsigned cut, bool writable);

/* Send one request and return its status byte; *used gets the used length. No byte behind the
 * writable ones may be touched. */
uint8_t blk_disk_send(struct blk_disk *d, const struct blk_framing *f, enum ring_style style,
                      uint32_t *used);

/* The same, as most drivers do it: header, data and status in descriptors of their own. Data to
 * write, or to describe ranges, were put behind 16 bytes at d->out. `used` may be NULL. */
uint8_t blk_disk_request(struct blk_disk *d, uint32_t type, uint64_t sector, unsigned data,
                         uint32_t *used);

/* --- configuration --------------------------------------------------------------------------- */

uint64_t blk_disk_config(struct blk_disk *d, uint32_t offset, unsigned size);
bool blk_disk_offers(struct blk_disk *d, unsigned bit);

#endif
