/*
 * Between the files of the vhost-user back end.
 */
#ifndef VIRTIO_VHOST_USER_INTERNAL_H
#define VIRTIO_VHOST_USER_INTERNAL_H

#include "virtio/call.h"
#include "virtio/vhost_user.h"
#include "virtio/vhost_user_channel.h"

#include <pthread.h>
#include <stdatomic.h>

struct vhost_user;
struct vhost_user_notifiers;
struct vhost_user_shmem;
struct vhost_user_relay;

#define VHOST_USER_SHMEM_REGIONS 8
#define VHOST_USER_PATIENCE_NS   (UINT64_C(1000000) * VHOST_USER_PATIENCE_MS)

/* What the driver does with the device: it starts it (features, and its queues), or stops it (its
 * queues, and the reset). */
enum vhost_user_phase { VHOST_USER_IDLE, VHOST_USER_STARTS, VHOST_USER_STOPS };

struct vhost_user_queue {
    struct vhost_user *owner;
    uint16_t index; /* never changes: for the loop, whatever the device's thread does */
    struct virtqueue_setup setup; /* that of the last start */
    struct virtqueue_position position;
    bool running;            /* for the driver */
    bool begun;              /* a peer has served it since it was started */
    uint16_t avail_at_loss;  /* split: avail.idx when the last peer was found gone */
    int kick_fd;             /* the device's, while it runs */
    struct loop_fd kick;     /* the same, where its signals become messages; .fd -1: nowhere */
    struct virtio_call call; /* the peer's interrupts */
    struct loop_fd error;    /* an eventfd of ours: the peer found the ring broken */
};

/* vhost_user_reconnect.c. The loop's, but for what an attempt leaves behind. */
struct vhost_user_reconnect {
    bool enabled;
    uint64_t delay_ns, interval_ns; /* to the next attempt; the longest */
    uint64_t connected_ns;          /* when the last peer was there */
    struct loop_timer timer;
    struct loop_fd listener; /* .fd -1: we are the one that connects */
    bool listening;          /* it is watched */
    bool busy;               /* an attempt is being made, by... */
    pthread_t thread;
    atomic_int fd; /* ...this connection, so that it can be hurried; closed on the loop */
    struct loop_task heard, ended; /* there is a peer whose queues start; the attempt is over */
    int ret;
    struct error err;
};

struct vhost_user {
    struct virtio_backend backend;
    struct vhost_user_options options;
    char *path;                      /* a copy; NULL with fd= */
    struct virtio_stand_in stand_in; /* a copy, if options.stand_in */
    struct loop *loop;

    /* Requests come under the device's lock, connecting anew on the loop: this is between them. */
    pthread_mutex_t lock;
    struct loop_fd socket;         /* .fd is -1 while there is no peer; watched for its end */
    struct loop_fd backend_socket; /* the peer's own requests; .fd is -1: none */
    struct loop_task status_task;  /* asks for the peer's status */
    bool hears;                    /* the loop watches backend_socket */
    bool watched;                  /* there is a connection: what the loop knows, and for it */
    bool lost;                     /* the connection is over, and the loop has yet to close it */
    bool given_up;                 /* and is not looked for, until a reset */
    bool connected_before;
    uint64_t deadline_ns; /* of a handshake or a phase; 0: of each request by itself */
    enum vhost_user_phase phase;
    uint64_t phase_left_ns;   /* of the patience that all requests of a phase share */
    uint64_t waited_ns;       /* that the loop has waited for the peer lately... */
    uint64_t waited_until_ns; /* ...the last time until then */
    struct vhost_user_reconnect reconnect;

    struct virtio_features offered; /* by the first peer: later ones must offer as much */
    uint64_t protocol_features;
    struct virtio_features negotiated;
    bool features_settled;                 /* the driver has chosen */
    uint8_t status;                        /* as the peer was told */
    uint8_t config[VHOST_USER_CONFIG_MAX]; /* as last read, for when there is no peer */
    bool logs;                             /* the peer can keep a log of dirty pages... */
    struct dirty_log *log;                 /* ...and has to; NULL: not now */

    int inflight_fd; /* memory of the peer's record of requests in flight; -1: none */
    struct vhost_user_inflight inflight;

    /* What to do until there is an answer, other than nothing. */
    int (*meanwhile)(struct vhost_user *v, struct error *err);

    struct virtio_shared_region shared[VHOST_USER_SHMEM_REGIONS];
    struct vhost_user_shmem *shmem;         /* NULL: it has none */
    struct vhost_user_notifiers *notifiers; /* NULL: the driver's layout has no place for them */
    struct vhost_user_relay *relay;         /* NULL: the peer works on the driver's rings */
    uint16_t queue_count;
    struct vhost_user_queue queues[];
};

static inline bool vhost_user_has(const struct vhost_user *v,
                                  enum vhost_user_protocol_feature feature)
{
    return v->protocol_features >> feature & 1;
}

/* Notifications are messages, not eventfds: there is no connection that has not agreed on it. */
static inline bool vhost_user_inband(const struct vhost_user *v)
{
    return v->options.inband;
}

/* --- vhost_user_connect.c: with v->lock held --- */

int vhost_user_connect(struct vhost_user *v, struct error *err);

/* Watch a new connection. On the loop, or before it runs. */
int vhost_user_watch(struct vhost_user *v, struct error *err);

/* The same of the peer's own requests alone, once there are any. */
int vhost_user_watch_channel(struct vhost_user *v, struct error *err);

/* No more requests. Any thread. */
void vhost_user_disconnect(struct vhost_user *v);

/* Close what is left of a connection. On the loop. */
void vhost_user_close(struct vhost_user *v);

/* --- vhost_user_request.c: with v->lock held --- */

/* Send, and wait for the answer where the request has one, or for its acknowledgement. A failed
 * request disconnects: also one that is not answered by v->deadline_ns, or, where there is none, in
 * VHOST_USER_PATIENCE_MS. */
int vhost_user_tell(struct vhost_user *v, struct vhost_user_message *message, struct error *err);
int vhost_user_ask(struct vhost_user *v, struct vhost_user_message *message, struct error *err);

/* Requests that carry one number, or a queue's index and one. */
int vhost_user_tell_u64(struct vhost_user *v, enum vhost_user_request request, uint64_t value,
                        struct error *err);
int vhost_user_ask_u64(struct vhost_user *v, enum vhost_user_request request, uint64_t *value,
                       struct error *err);
int vhost_user_tell_state(struct vhost_user *v, enum vhost_user_request request, uint32_t index,
                          uint32_t num, struct error *err);

/* What the driver chose, and what follows from it. (vhost_user.c) */
int vhost_user_settle_features(struct vhost_user *v, struct error *err);

/* What the driver chose; the peer may refuse it. Then, once: the driver is ready. */
int vhost_user_set_features(struct vhost_user *v, struct error *err);
int vhost_user_tell_features(struct vhost_user *v, struct error *err); /* without questions */
int vhost_user_driver_ok(struct vhost_user *v, struct error *err);

/* --- vhost_user_reconnect.c: on the loop, or before it runs --- */

int vhost_user_reconnect_init(struct vhost_user *v, struct error *err);
void vhost_user_reconnect_destroy(struct vhost_user *v);

/* The connection is over: close it, and wait for a peer or ask for a reset. With v->lock held. */
void vhost_user_peer_gone(struct vhost_user *v);

/* Look for a peer, and make no more attempts; the latter without v->lock. */
void vhost_user_reconnect_begin(struct vhost_user *v);
void vhost_user_reconnect_cancel(struct vhost_user *v);

/* An attempt that is being made is made to fail, soon. On the loop. */
void vhost_user_reconnect_hurry(struct vhost_user *v);

/* As pthread_mutex_lock(&v->lock), but an attempt that takes long is made to fail. Not on the loop.
 */
void vhost_user_lock_soon(struct vhost_user *v);

/* There is no peer, and the next one will be told of whatever happens. With v->lock held. */
bool vhost_user_waits(const struct vhost_user *v);

/* Take a connection at our own socket; -EAGAIN when there is none within `wait_ms`. Any thread. */
int vhost_user_accept(struct vhost_user *v, int wait_ms, struct error *err);

/* --- vhost_user_inflight.c: with v->lock held --- */

/* Agree on a record, the one we have or a new one. */
int vhost_user_inflight_begin(struct vhost_user *v, struct error *err);
void vhost_user_inflight_drop(struct vhost_user *v);

/* The peer is gone: note how far it may have got. Then, queue->position := where the next one goes
 * on; -ENOTSUP when that cannot be known. `recorded`: the one that is gone kept a record. */
void vhost_user_queue_note_loss(struct vhost_user *v, struct vhost_user_queue *queue);
int vhost_user_queue_catch_up(struct vhost_user *v, struct vhost_user_queue *queue, bool recorded,
                              struct error *err);

/* --- vhost_user_relay.c: nothing without v->relay --- */

/* Whether it is needed is known once a peer has been agreed with. */
int vhost_user_relay_open(struct vhost_user *v, struct error *err);
void vhost_user_relay_close(struct vhost_user *v); /* on the loop */

/* The driver starts and stops a queue: without v->lock. */
int vhost_user_relay_start(struct vhost_user *v, uint16_t index, struct error *err);
void vhost_user_relay_stop(struct vhost_user *v, uint16_t index);

/* A peer starts to serve it: make its rings, which are not live; then pass requests on; and, when
 * it is gone, take what it did and pass on no more (on the loop). */
int vhost_user_relay_prepare(struct vhost_user *v, uint16_t index, struct error *err);
void vhost_user_relay_go(struct vhost_user *v, uint16_t index);
void vhost_user_relay_pause(struct vhost_user *v, uint16_t index);

/* What the peer is told of. The descriptors stay the relay's. */
struct vhost_user_rings {
    gpa_t avail, used;
    int kick_fd, call_fd;
};
struct vhost_user_rings vhost_user_relay_rings(const struct vhost_user *v, uint16_t index);
const struct guest_memory *vhost_user_memory(const struct vhost_user *v); /* also without relay */

/* --- vhost_user_memory.c, with v->lock held --- */

int vhost_user_set_memory(struct vhost_user *v, struct error *err);

/* --- vhost_user_log.c, with v->lock held --- */

int vhost_user_set_log(struct vhost_user *v, struct dirty_log *log, struct error *err);
int vhost_user_tell_log(struct vhost_user *v, struct error *err); /* to a peer that is new */

/* --- vhost_user_state.c, with v->lock held --- */

int vhost_user_save_state(struct vhost_user *v, struct virtio_state *out, struct error *err);
int vhost_user_load_state(struct vhost_user *v, const struct virtio_state *state,
                          struct error *err);

/* --- vhost_user_hear.c: on the loop, or before the guest runs --- */

/* Give the peer its channel. */
int vhost_user_give_channel(struct vhost_user *v, struct error *err);

/* Hear and answer one message: 1; 0 at the channel's end; or a negative errno when nothing more can
 * be heard on it. */
int vhost_user_hear(struct vhost_user *v);

void vhost_user_check_status(struct loop_task *task); /* v->status_task */

/* --- vhost_user_shmem.c --- */

/* The peer's regions, which become the back end's; it must have connected. */
int vhost_user_shmem_open(struct vhost_user *v, struct error *err);
void vhost_user_shmem_close(struct vhost_user *v); /* on the loop */

/* What the peer asks for: -EINVAL, -EEXIST and others refuse it. `fd` stays the caller's. On the
 * loop, like the end of all mappings. */
int vhost_user_shmem_map(struct vhost_user *v, const struct vhost_user_mapping *wanted, int fd,
                         struct error *err);
int vhost_user_shmem_unmap(struct vhost_user *v, const struct vhost_user_mapping *wanted,
                           struct error *err);
void vhost_user_shmem_clear(struct vhost_user *v);

/* --- vhost_user_notifier.c: nothing without v->notifiers --- */

/* Before all else, and at the end (on the loop). */
int vhost_user_notifiers_open(struct vhost_user *v, struct error *err);
void vhost_user_notifiers_close(struct vhost_user *v);

/* A peer is about to serve the queue, and may give a page for it. Any thread. */
void vhost_user_notifier_want(struct vhost_user *v, uint16_t index);

/* It no longer serves it, or none of them: their pages are the driver's no more when this returns.
 * The former without v->lock, from any thread but the loop; the latter on the loop. */
void vhost_user_notifier_stop(struct vhost_user_queue *queue);
void vhost_user_notifiers_clear(struct vhost_user *v);

/* What the peer asks for, with its descriptor, which stays the caller's, or -1: give a page for a
 * queue, in the place of one there may be, or take it away. -EINVAL and others refuse it. On the
 * loop. */
int vhost_user_notifier_set(struct vhost_user *v, const struct vhost_user_area *area, int fd,
                            struct error *err);

/* --- vhost_user_file.c --- */

/* A part of a file that came with a request; the descriptor stays the caller's. */
struct vhost_user_file {
    const char *request; /* for errors */
    int fd;
    uint64_t offset, length; /* page aligned */
    bool writable;
};

/* Map it at a part of a reservation, where nothing is. -EINVAL, and nothing is there still, for
 * what cannot be mapped, or could make us wait for the peer. */
int vhost_user_file_map(const struct vhost_user_file *file, void *at, struct error *err);

/* --- vhost_user_inband.c: without v->lock; nothing without vhost_user_inband --- */

int vhost_user_inband_start(struct vhost_user_queue *queue, struct error *err);
void vhost_user_inband_stop(struct vhost_user_queue *queue);

/* --- vhost_user_queue.c --- */

int vhost_user_tell_addresses(struct vhost_user *v, struct vhost_user_queue *queue,
                              struct error *err); /* anew, of one that runs */
int vhost_user_queue_begin(struct vhost_user *v, uint16_t index, struct error *err);
/* The peer found its ring broken. On the loop. */
void vhost_user_queue_broken(struct vhost_user *v, uint16_t index);

int vhost_user_queues_create(struct vhost_user *v, struct error *err);
void vhost_user_queues_destroy(struct vhost_user *v); /* on the loop */

/* What the peer said before is forgotten. On the loop. */
void vhost_user_queues_drain(struct vhost_user *v);

#endif
