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

struct vhost_user_queue {
    struct vhost_user *owner;
    struct virtqueue_setup setup;
    struct virtqueue_position position;
    int kick_fd;             /* the device's, while it runs */
    struct virtio_call call; /* the peer's interrupts */
    struct loop_fd error;    /* an eventfd of ours: the peer found the ring broken */
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
    bool lost;                     /* the connection is over, and the loop has yet to close it */
    bool connected_before;

    struct virtio_features offered; /* by the first peer: later ones must offer as much */
    uint64_t protocol_features;
    struct virtio_features negotiated;
    uint16_t queue_count;
    struct vhost_user_queue queues[];
};

static inline bool vhost_user_has(const struct vhost_user *v,
                                  enum vhost_user_protocol_feature feature)
{
    return v->protocol_features >> feature & 1;
}

/* --- vhost_user_connect.c: with v->lock held --- */

int vhost_user_connect(struct vhost_user *v, struct error *err);

/* No more requests. Any thread. */
void vhost_user_disconnect(struct vhost_user *v);

/* Close a descriptor that is watched; -1 is none. On the loop. */
void vhost_user_unwatch(struct vhost_user *v, struct loop_fd *fd);

/* Close what is left of a connection. On the loop. */
void vhost_user_close(struct vhost_user *v);

/* --- vhost_user_request.c: with v->lock held. A failed request disconnects. --- */

/* Send, and wait for the answer where the request has one, or for its acknowledgement. */
int vhost_user_tell(struct vhost_user *v, struct vhost_user_message *message, struct error *err);
int vhost_user_ask(struct vhost_user *v, struct vhost_user_message *message, struct error *err);

/* Requests that carry one number, or a queue's index and one. */
int vhost_user_tell_u64(struct vhost_user *v, enum vhost_user_request request, uint64_t value,
                        struct error *err);
int vhost_user_ask_u64(struct vhost_user *v, enum vhost_user_request request, uint64_t *value,
                       struct error *err);
int vhost_user_tell_state(struct vhost_user *v, enum vhost_user_request request, uint32_t index,
                          uint32_t num, struct error *err);

int vhost_user_set_memory(struct vhost_user *v, struct error *err);
int vhost_user_set_features(struct vhost_user *v, struct error *err);

/* --- vhost_user_queue.c --- */

int vhost_user_queue_begin(struct vhost_user *v, uint16_t index, struct error *err);
int vhost_user_queues_create(struct vhost_user *v, struct error *err);
void vhost_user_queues_destroy(struct vhost_user *v); /* on the loop */

/* What the peer said before is forgotten. On the loop. */
void vhost_user_queues_drain(struct vhost_user *v);

#endif
