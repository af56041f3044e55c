/*
 * The vhost-user back end: a device that another process serves, over a Unix socket.
 *
 *     driver --> transport --> virtio_device --> this --socket--> the other process
 *                                     ^                               |
 *                                     +------- call eventfds ---------+
 *
 * One for every device type: what a type has of its own is in the features and configuration bytes
 * that the other process offers. It must offer the former (VHOST_USER_F_PROTOCOL_FEATURES), and the
 * latter (CONFIG) unless `config_size` is 0 or there is a stand-in.
 *
 * The peer is not trusted. Each request waits at most VHOST_USER_PATIENCE_MS (the one that hands
 * over the guest's memory longer, by its size), and so do all those of a handshake, or of a driver
 * that starts the device, or stops and resets it; a peer that hangs or answers nonsense is
 * disconnected, and the device needs a reset. When the driver resets it, the peer is looked for
 * again. The guest's memory must be shared (memfd). Nothing that a peer gives us is mapped but its
 * shared memory regions and host notifiers.
 *
 * A peer that dies is waited for (reconnect_s). One that keeps a record of requests in flight
 * (INFLIGHT_SHMFD), or for which we do (`relay`), does again what was begun; the driver sees a
 * delay. Without that record nobody knows which requests those were: the device needs a reset,
 * unless none was in flight, or IN_ORDER says that what comes next in the ring is all of them.
 * (QEMU goes on at the used index anyway, which loses requests that were done out of order, and
 * does others twice.)
 *
 * Of the protocol's features all are agreed on that the peer offers, except: INBAND_NOTIFICATIONS,
 * unless asked for; HOST_NOTIFIER, where the driver does not notify each queue at a page of its own
 * (notify_pages); what is for migration by other means (RARP, PAGEFAULT), other processors
 * (CROSS_ENDIAN) or hypervisors (XEN_MMAP), or one device type that we do not have (CRYPTO_SESSION,
 * SHARED_OBJECT).
 *
 *   vhost_user.c            the back end's operations
 *   vhost_user_connect.c    connecting, what is agreed on, and the end of it
 *   vhost_user_request.c    requests and their answers
 *   vhost_user_memory.c     the guest's memory, given to the peer
 *   vhost_user_queue.c      queues
 *   vhost_user_reconnect.c  a peer that dies and comes back
 *   vhost_user_inflight.c   its record of requests in flight
 *   vhost_user_relay.c      ours, for one that keeps none
 *   vhost_user_inband.c     their notifications as messages
 *   vhost_user_hear.c       the peer's own requests
 *   vhost_user_shmem.c      its shared memory
 *   vhost_user_notifier.c   its pages that are notified in the place of eventfds
 *   vhost_user_file.c       its files, mapped
 *   vhost_user_state.c      its state, saved and loaded
 *   vhost_user_log.c        the log of what it writes to
 *   vhost_user_channel.h    messages
 *   vhost_user_check.c      which of them are well formed
 */
#ifndef VIRTIO_VHOST_USER_H
#define VIRTIO_VHOST_USER_H

#include "base/error.h"
#include "base/loop.h"
#include "virtio/backend.h"
#include "virtio/foreign.h"

/* Whoever has started the process that serves the device. */
struct vhost_user_process {
    /* A connection, which is the back end's from now on, or a negative errno: called whenever one
     * is needed, so also after one was lost. Any thread, one at a time. */
    int (*connect)(void *opaque, struct error *err);

    /* What vhost-user has no words for; see virtio_backend_ops. */
    int (*start)(void *opaque, struct error *err);
    int (*command)(void *opaque, const char *name, const char *argument, struct error *err);
    void *opaque;
};

/*
 * What a front end does itself for a device of this type: it holds one end of a socket whose other
 * end the peer is given (VHOST_USER_GPU_SET_SOCKET), and some bytes of the configuration are its
 * own. Calls come from any thread; none waits for a loop but `command` and `destroy`.
 */
struct vhost_user_front_part_ops {
    /* A descriptor for the peer, the back end's from now on, or a negative errno: for each
     * connection one, before its queues run. */
    int (*socket)(struct vhost_user_front_part *part, struct error *err);

    /* Replace what is its own in bytes that are read; take note of what the driver writes, which
     * the peer is told, too. */
    void (*config_read)(struct vhost_user_front_part *part, uint32_t offset, void *data,
                        uint32_t len);
    void (*config_write)(struct vhost_user_front_part *part, uint32_t offset, const void *data,
                         uint32_t len);

    /* As of virtio_backend_ops; -ENOENT: the process is asked, if it is one of ours. */
    int (*command)(struct vhost_user_front_part *part, const char *name, const char *argument,
                   struct error *err);

    void (*reset)(struct vhost_user_front_part *part);   /* by the driver */
    void (*destroy)(struct vhost_user_front_part *part); /* the back end is gone by then */
};

struct vhost_user_front_part {
    const struct vhost_user_front_part_ops *ops;
    struct virtio_backend *backend; /* set by vhost_user_create: for its config_changed */
};

struct vhost_user_options {
    const char *path; /* of the socket to connect to, or... */
    int fd;           /* ...a connected one, owned by the back end from now on; else -1 */
    const struct vhost_user_process *process; /* ...or who has one, borrowed; else NULL */
    bool server; /* listen at `path`; the peer connects, the first one before create returns */
    /* Look for a peer that died at least that often, without trouble for the driver; 0: do not, the
     * device needs a reset then. Nothing comes back behind `fd`. */
    uint32_t reconnect_s;
    /* With a peer that keeps no record of requests in flight, pass each request on ourselves, so
     * that we know: which takes our time for every one. */
    bool relay;
    bool notify_pages; /* memory can take the place of a queue's notifications: HOST_NOTIFIER,
                        * unless these pass through us (relay, inband) */
    bool inband; /* notifications are messages (INBAND_NOTIFICATIONS), which costs much time */
    uint16_t id; /* enum virtio_device_id */
    uint16_t queue_count, queue_size;                /* the largest that a driver may choose */
    uint32_t config_size;                            /* bytes of the type's configuration */
    const struct virtio_feature_name *feature_names; /* of the type */
    size_t feature_count;
    const struct virtio_stand_in *stand_in;   /* for a peer that serves no configuration, or NULL */
    struct vhost_user_front_part *front_part; /* borrowed; NULL: there is none */
};

/*
 * Connect and agree on what both can do. `loop` hears what the peer has to say, and passes on its
 * interrupts where the transport cannot take them itself. -ECONNREFUSED, -ETIMEDOUT and others:
 * nobody is there; -ENOTSUP: the peer lacks something we need; -EINVAL: the guest's memory is not
 * shared.
 */
int vhost_user_create(const struct vhost_user_options *options, const struct guest_memory *memory,
                      struct loop *loop, struct virtio_backend **out, struct error *err);

#endif
