/*
 * virtio-blk: a disk image on the host as a block device of the guest (specification 5.2).
 *
 *   request.c    one request: taking it apart, checking it, answering it
 *   image.c      the file or block device behind it
 *   io.h         asynchronous host I/O, by io_uring.c or io_threads.c
 *   blk.c        the model: options, features, configuration, queues
 *
 * Data never passes through the program: the host reads and writes guest memory directly. All of
 * a device's queues are served on one loop; what a request needs is allocated when so many are in
 * flight for the first time, and reused.
 */
#ifndef DEVICES_BLK_BLK_H
#define DEVICES_BLK_BLK_H

#include "virtio/builtin.h"

/* What the option table of blk_model fills. */
struct blk_options {
    char *path;
    bool readonly;
    char *serial; /* NULL: none */
    int aio;      /* enum blk_aio, see io.h */
};

extern const struct virtio_model blk_model;

#endif
