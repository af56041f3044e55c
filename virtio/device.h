/*
 * A virtio device as its driver sees it, whatever the transport: type, features, status,
 * configuration and queue registers (specification chapter 2 and 3.1).
 *
 * Transports translate register accesses into these calls; the device does all the rest, in
 * particular the one status state machine (status.c). Every call takes the device's control lock
 * and may come from any vCPU thread or the main thread, but never from the loop that serves the
 * device's queues: a call may wait for that loop with the lock held. What a back end reports
 * (struct virtio_device_events) may come from any thread, loops included, and takes no lock.
 *
 *   status.c           the state machine
 *   device.c           creation, features, reset, what the back end reports
 *   device_config.c    configuration and its generation
 *   device_queue.c     queue registers; starting, stopping and reset of queues
 *   device_legacy.c    what drivers older than the specification do (device_legacy.h)
 *   device_suspend.c   suspend and resume
 */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include "base/error.h"
#include "virtio/backend.h"
#include "virtio/features.h"
#include "virtio/virtqueue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* 2.1 Device status field */
enum virtio_status {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_SUSPEND = 16,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128,
};

/* 5: Device types */
enum virtio_device_id {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_CONSOLE = 3,
    VIRTIO_ID_ENTROPY = 4,
    VIRTIO_ID_BALLOON = 5,
    VIRTIO_ID_SCSI = 8,
    VIRTIO_ID_9P = 9,
    VIRTIO_ID_GPU = 16,
    VIRTIO_ID_INPUT = 18,
    VIRTIO_ID_VSOCK = 19,
    VIRTIO_ID_FS = 26,
};

/* Which set of registers a driver uses: those of the specification, or those of before
 * (device_legacy.h). It cannot use both between two resets. */
enum virtio_interface { VIRTIO_UNBOUND, VIRTIO_MODERN, VIRTIO_LEGACY };

#define VIRTIO_QUEUES_MAX  1024
#define VIRTIO_CONFIG_COPY 256 /* bytes of configuration under generation control */

/* What a device tells its transport. Any thread; takes no lock of the device. */
struct virtio_transport_ops {
    void (*notify_queue)(void *transport, uint16_t index); /* raise the queue's interrupt */
    void (*notify_config)(void *transport);                /* raise the configuration interrupt */

    /* See virtio_device_events. NULL: the transport has no use for an eventfd; it has no page for
     * each queue; it has no place for shared memory. */
    int (*queue_call_fd)(void *transport, uint16_t index, int fd);
    int (*queue_notify_page)(void *transport, uint16_t index, void *page, struct error *err);
    int (*shared_map)(void *transport, const struct virtio_shared_mapping *mapping,
                      struct error *err);
    void (*shared_unmap)(void *transport, uint8_t id, uint64_t offset, uint64_t length);
    struct virtio_features lacks; /* bits the transport has no registers for: not offered */
};

/* A queue's registers. */
struct virtio_queue {
    uint16_t size_max; /* of a packed ring; split ones have the next lower power of two (PCIC-12) */
    uint16_t size;     /* chosen by the driver, the largest after reset */
    bool enabled;      /* queue_enable / QueueReady */
    bool running;      /* the back end serves it */
    gpa_t desc, driver, device;
    uint32_t alignment;                 /* of the used ring behind the rest (legacy, 2.7.2) */
    struct virtqueue_position position; /* where it starts: its first, or where it was suspended */
    int kick_fd; /* eventfd, owned by the device; made by virtio_device_init */
};

struct virtio_device {
    uint16_t id;      /* enum virtio_device_id */
    const char *name; /* the user's id=, for logs */
    struct virtio_backend *backend;
    const struct virtio_transport_ops *transport_ops;
    void *transport;

    pthread_mutex_t lock;
    struct virtio_features offered, driver; /* `driver`: written so far, final once `negotiated` */
    bool negotiated;                        /* FEATURES_OK, or what stands for it (legacy) */
    enum virtio_interface interface;        /* what the driver speaks, from its first write on */
    atomic_uint status;                     /* low 8 bits; the back end may set NEEDS_RESET */

    /* The configuration as last shown to the driver, and how many versions it has been shown. */
    uint8_t config[VIRTIO_CONFIG_COPY];
    uint32_t config_generation;
    atomic_bool config_stale; /* to be read anew at the next access */
    atomic_bool config_held;  /* the driver has yet to hear of a change (STAT-17) */

    const struct virtio_shared_region *shared; /* the back end's; set before there is a transport */
    size_t shared_count;

    uint16_t queue_count;
    struct virtio_queue *queues;
};

/*
 * Make a device with `queue_count` queues of at most `queue_size` entries each, which is a power of
 * two unless RING_PACKED is in `wanted`. `offered` is the back end's features plus those every
 * device has (virtio_feature_names and VERSION_1), minus what is offered on request and not in
 * `wanted`, minus `masked` (switched off by the user), minus what lacks a prerequisite then
 * (FEAT-06). VERSION_1 cannot be masked (FEAT-04). The device owns the back end from now on, also
 * when this fails; `name` is borrowed.
 */
int virtio_device_init(struct virtio_device *dev, uint16_t id, const char *name,
                       struct virtio_backend *backend, uint16_t queue_count, uint16_t queue_size,
                       const struct virtio_features *wanted, const struct virtio_features *masked,
                       struct error *err);
void virtio_device_destroy(struct virtio_device *dev);

/* Queue `index` has at most `size` entries, fewer than others perhaps. Before there is a transport.
 */
void virtio_device_limit_queue(struct virtio_device *dev, uint16_t index, uint16_t size);

/* The transport attaches itself once, before the guest runs. What it lacks is no longer offered. */
void virtio_device_attach(struct virtio_device *dev, const struct virtio_transport_ops *ops,
                          void *transport);

/* The transport goes: events find none any more. */
void virtio_device_detach(struct virtio_device *dev);

uint8_t virtio_device_status(struct virtio_device *dev);

/* A driver's write to the status register; 0 resets. Steps that break a rule (DRV-INIT-..) are
 * logged and refused; see status.c. Returns when the new status can be read back; a reset, when
 * nothing in flight can touch guest memory any more (STAT-07). */
void virtio_device_set_status(struct virtio_device *dev, uint8_t value);

uint32_t virtio_device_features(struct virtio_device *dev, uint32_t word); /* 0 beyond the last */
uint32_t virtio_device_driver_features(struct virtio_device *dev, uint32_t word);
void virtio_device_set_driver_features(struct virtio_device *dev, uint32_t word, uint32_t bits);

/* Feature `bit` is offered and accepted, and the choice is final. */
bool virtio_device_negotiated(struct virtio_device *dev, unsigned bit);

/* CFG-03. A transport that shows fewer bits may do so: it never moves by more than one between two
 * accesses of the driver to its configuration. */
uint32_t virtio_device_config_generation(struct virtio_device *dev);
void virtio_device_config_read(struct virtio_device *dev, uint32_t offset, void *data,
                               uint32_t len);
void virtio_device_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                                uint32_t len);

/* Queue registers by index; an index that does not exist reads as an absent queue (size 0) and
 * ignores writes. Writes the state forbids (DRV-QCFG-07, -08, DRV-INIT-14) are logged and ignored;
 * bad sizes and addresses are kept, and found when the queue starts: then the device needs reset.
 */
enum virtio_queue_address { VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_DRIVER, VIRTIO_QUEUE_DEVICE };
uint16_t virtio_device_queue_size(struct virtio_device *dev, uint16_t index);
uint16_t virtio_device_queue_size_max(struct virtio_device *dev, uint16_t index);
void virtio_device_set_queue_size(struct virtio_device *dev, uint16_t index, uint16_t size);
uint64_t virtio_device_queue_address(struct virtio_device *dev, uint16_t index,
                                     enum virtio_queue_address which);
/* Set the low (`high` false) or high 32 bits. */
void virtio_device_set_queue_address(struct virtio_device *dev, uint16_t index,
                                     enum virtio_queue_address which, bool high, uint32_t bits);
bool virtio_device_queue_enabled(struct virtio_device *dev, uint16_t index);
/* Enable, between FEATURES_OK and DRIVER_OK, at which the queue starts; with RING_RESET also later,
 * then it starts at once. Disable (MMIO QueueReady = 0): stops it, synchronously. */
void virtio_device_set_queue_enabled(struct virtio_device *dev, uint16_t index, bool enabled);
/* Reset one queue (2.6.1): when it returns, nothing of the queue is in flight, its registers are as
 * after a device reset, and it can be set up anew (QRST-01, -02). So a driver never sees a queue
 * reset in progress (QRST-04). False, and nothing was done, without RING_RESET (DRV-QCFG-12). */
bool virtio_device_reset_queue(struct virtio_device *dev, uint16_t index);

/* Once, before the guest runs; see virtio_backend_ops.start. Main thread. */
int virtio_device_start(struct virtio_device *dev, struct error *err);

/* What a user asks of the running device; see virtio_backend_ops.command. Main thread. */
int virtio_device_command(struct virtio_device *dev, const char *name, const char *argument,
                          struct error *err);

/* Mark what the device writes to guest memory in `log`, or no more; see
 * virtio_backend_ops.dirty_log. -ENOTSUP, naming the device, when its back end cannot tell. Main
 * thread. */
int virtio_device_dirty_log(struct virtio_device *dev, struct dirty_log *log, struct error *err);

/* A notification that came by register access instead of ioeventfd. */
void virtio_device_kick(struct virtio_device *dev, uint16_t index);

/* The guest's reset button (machine reset): as status 0, without rule checks. */
void virtio_device_reset(struct virtio_device *dev);

#endif
