/*
 * Who does the work of a device: the one table between "what the driver sees" and "who serves it".
 *
 * A virtio_device (device.h) holds what the driver can see; a back end holds what makes it do
 * something. Built in (builtin.h) is one; kernel vhost, vhost-user and vDPA are others. Queues
 * start and stop one by one.
 *
 * Calls come under the device's control lock, from vCPU threads or the main thread, never two at
 * once for one device. The back end calls back through `struct virtio_device_events`, from any
 * thread; these never take that lock, so a back end may wait for its own threads in every call.
 */
#ifndef VIRTIO_BACKEND_H
#define VIRTIO_BACKEND_H

#include "base/error.h"
#include "guest/memory.h"
#include "virtio/features.h"
#include "virtio/virtqueue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dirty_log;
struct virtio_backend;

/* A shared memory region (2.10): addresses at which the driver sees memory of the device.
 * Transports decode it behind their registers and name it by its id. */
struct virtio_shared_region {
    uint8_t id;      /* what it is for is the type's affair; unique in the device */
    uint64_t length; /* bytes, a multiple of 4096 */
};

/* What is behind a part of a region while the device runs. Where nothing is mapped, the driver
 * reads all ones and its writes are dropped. */
struct virtio_shared_mapping {
    uint8_t id;              /* the region's */
    uint64_t offset, length; /* within it, bytes, multiples of 4096 */

    /* What the driver sees there, page aligned; its owner's, who keeps it until it is unmapped. Of
     * a file that somebody else may shorten only with a guard (base/memory_guard.h). */
    void *memory;
    bool writable; /* else the driver's writes are dropped */

    /* The same bytes as part of a file (a memfd, a dma-buf), borrowed for the call: where the
     * driver is another process's, no other can be mapped. -1: they are of none. */
    int fd;
    uint64_t fd_offset; /* bytes, a multiple of 4096 */
};

/* What a driver has set in a device besides features, configuration and rings. Opaque; only another
 * back end of the same kind and type can go on with it. */
#define VIRTIO_STATE_MAX (16u << 20)
struct virtio_state {
    uint8_t *bytes; /* malloc'ed; the caller's once `save` has returned 0 */
    size_t length;  /* at most VIRTIO_STATE_MAX */
};

/* What a back end tells the device it serves. Any thread; blocks only where a mapping ends. */
struct virtio_device_events {
    void (*notify_queue)(void *opaque, uint16_t index); /* used buffers were published */
    void (*config_changed)(void *opaque);               /* config bytes differ from before */
    void (*needs_reset)(void *opaque);                  /* the device cannot go on (2.1.2) */
    void *opaque;

    /* From now on signals of eventfd `fd` announce the queue's used buffers; -1: no longer, and the
     * transport has forgotten it. Returns the descriptor to be signalled: `fd`, or another one that
     * the transport prefers. NULL: always `fd`. Back ends leave this to virtio_call (call.h). */
    int (*queue_call_fd)(void *opaque, uint16_t index, int fd);

    /* From now on the driver's notifications of the queue are writes to this page of memory, of
     * 4096 bytes, aligned, which stays the back end's, and signal no eventfd; NULL: the eventfd
     * again, and the driver can no longer reach the page when the call returns: it waits for
     * accesses under way, and for nothing else. A page takes the place of another. -ENOTSUP where
     * queues have no pages for that, -ENOSPC where there is no room for one more: then it is the
     * eventfd. Once the device has a transport, one thread at a time. NULL: it cannot be called. */
    int (*queue_notify_page)(void *opaque, uint16_t index, void *page, struct error *err);

    /* Map memory into a part of a shared memory region, copied; drop all mappings that lie within
     * a part. The driver cannot reach any of that memory any more when shared_unmap returns: it
     * waits for accesses under way, and for nothing else. A back end drops its mappings when it is
     * reset. -EINVAL for what is not in the region, -EEXIST over another mapping, -ENOSPC for one
     * too many, -ENOTSUP where the driver cannot be shown memory (of no file). One thread at a
     * time, once the device has a transport. NULL: they cannot be called. */
    int (*shared_map)(void *opaque, const struct virtio_shared_mapping *mapping, struct error *err);
    void (*shared_unmap)(void *opaque, uint8_t id, uint64_t offset, uint64_t length);
};

struct virtio_backend_ops {
    const char *name;

    /* Bits the back end can serve, transport bits excepted. Constant for its lifetime. */
    void (*features)(struct virtio_backend *b, struct virtio_features *out);

    /* FEATURES_OK: the driver's choice, already a subset of what was offered with all dependencies
     * met. A negative errno refuses it (FEAT-08). */
    int (*set_features)(struct virtio_backend *b, const struct virtio_features *negotiated);

    /* Device-specific configuration (2.5), little-endian. Bytes beyond its end read as 0, and
     * writes to read-only bytes are dropped. Any vCPU thread; the device's lock is held. The device
     * keeps a copy of what it read until config_changed, a write, set_features or a reset. */
    void (*config_read)(struct virtio_backend *b, uint32_t offset, void *data, uint32_t len);
    void (*config_write)(struct virtio_backend *b, uint32_t offset, const void *data, uint32_t len);

    /* Serve a queue from `position` on. `kick_fd` is an eventfd the driver's notifications signal;
     * it stays the transport's and lives until queue_stop. */
    int (*queue_start)(struct virtio_backend *b, const struct virtqueue_setup *setup,
                       struct virtqueue_position position, int kick_fd, struct error *err);

    /* Once, before the guest runs: what must not happen when only options are checked (a terminal
     * made raw, a socket that listens). May be NULL. */
    int (*start)(struct virtio_backend *b, struct error *err);

    /* Something a user asks of a running device (a disk's new size, a cable pulled), by the names
     * its type knows. -ENOENT when there is no such command, -EINVAL for a bad argument, with the
     * reason. May be NULL. */
    int (*command)(struct virtio_backend *b, const char *name, const char *argument,
                   struct error *err);

    /* Stop it: waits until requests in flight can no longer touch guest memory (STAT-07). */
    struct virtqueue_position (*queue_stop)(struct virtio_backend *b, uint16_t index);

    /* For those whose queues start and stop only together: called when all that are enabled have
     * been started (`on`: DRIVER_OK, or the end of a suspension), and before they are stopped for a
     * suspension or a reset. Off without having been on is nothing. May be NULL. */
    int (*run)(struct virtio_backend *b, bool on, struct error *err);

    /* Take the state out of a device, and put it into another one that has the same features by
     * then (set_features). No queue runs. Only if backend.saves. -EINVAL for bytes that are no
     * state of such a device, -ENOTSUP when it cannot be done now; a failed load leaves the state
     * as it was. */
    int (*save)(struct virtio_backend *b, struct virtio_state *out, struct error *err);
    int (*load)(struct virtio_backend *b, const struct virtio_state *state, struct error *err);

    /* Back to the state after creation; all queues are stopped by then, and once it returns no
     * event of the time before may come any more (STAT-06). */
    void (*reset)(struct virtio_backend *b);

    /* Mark what is written to guest memory in `log` from now on, also by queues that start later;
     * NULL: no more, and none is marked any more when it returns. -ENOTSUP when the back end cannot
     * tell; a reset leaves it as it is. May be NULL: it cannot. */
    int (*dirty_log)(struct virtio_backend *b, struct dirty_log *log, struct error *err);

    /* No queue runs, and guest memory is about to go from where it is mapped, or (`done`) is where
     * it will be now: pointers into it that live longer than a buffer are given up and found anew.
     * May be NULL: there are none. */
    void (*memory_changes)(struct virtio_backend *b, bool done);

    void (*destroy)(struct virtio_backend *b);
};

struct virtio_backend {
    const struct virtio_backend_ops *ops;
    const struct guest_memory *memory;

    /* The rings are served by somebody else's code: features() says which bits of rings it knows,
     * and no others are offered. */
    bool foreign;

    /* Bits that the device would offer by itself and this back end cannot do its part of. */
    struct virtio_features lacks;

    /* The names and dependencies of the type's own features, for checks and logs. May be empty. */
    const struct virtio_feature_name *feature_names;
    size_t feature_count;

    /* Constant once it is created. */
    const struct virtio_shared_region *shared;
    size_t shared_count;
    bool saves; /* save and load can be called */

    /* For each queue, where to keep record of its buffers in flight, for whoever serves it after
     * us; .region NULL: nowhere. Set before queue_start by who drives a built-in back end; or NULL.
     */
    const struct virtqueue_record *records;

    /* Set by virtio_device_init. */
    const char *name; /* the device's, for logs */
    struct virtio_device_events events;
};

#endif
