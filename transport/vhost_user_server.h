/*
 * The vhost-user server: the third transport. It presents a device to somebody else's VMM (the
 * front end) over a Unix socket, and drives the same back end (virtio/backend.h) that a machine of
 * ours would have: so each built-in device is also a program, without any code of its own for that.
 *
 *     front end                          server                          back end
 *     SET_FEATURES, SET_VRING_..  -->    vrings, memory table     -->    queue_start, queue_stop
 *     kick eventfd  ------------------------------------------------>    (its loop)
 *     call eventfd  <------------------  notify_queue
 *
 *   vhost_user_server.c           the connection: requests, answers, features, configuration
 *   vhost_user_server_vring.c     vrings: when one runs, and with what
 *   vhost_user_server_memory.c    the front end's memory, mapped here
 *   vhost_user_server_inflight.c  the record of buffers in flight, which survives us
 *   vhost_user_server_log.c       the log of what we write to
 *   vhost_user_server_tell.c      what the server says by itself
 *   vhost_user_server_shmem.c     the device's shared memory, shown to the driver
 *   vhost_user_server_state.c     the device's state, saved and loaded
 *
 * Protocol features that are offered: MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG,
 * INFLIGHT_SHMFD, RESET_DEVICE, INBAND_NOTIFICATIONS, CONFIGURE_MEM_SLOTS, STATUS, GPA_ADDRESSES;
 * MTU for a network card that shows one; DEVICE_STATE for models whose state can be saved
 * (virtio/builtin.h); SHMEM and BACKEND_SEND_FD for those that have shared memory.
 *
 * One front end at a time; when it goes, the device is reset and the next one may come. What it
 * says is checked (virtio/vhost_user_channel.h): a request that makes no sense ends the connection,
 * one that cannot be done is answered with an error where the protocol has room for it. Memory that
 * it takes away under us (base/memory_guard.h) ends the connection, too.
 *
 * Thread: all on `loop`, which is the main one; the back end has loops of its own, or the same. One
 * with shared memory has the same.
 */
#ifndef TRANSPORT_VHOST_USER_SERVER_H
#define TRANSPORT_VHOST_USER_SERVER_H

#include "base/error.h"
#include "base/loop.h"
#include "guest/memory.h"
#include "virtio/backend.h"

struct vhost_user_server;

struct vhost_user_server_config {
    struct virtio_backend *backend; /* made on `memory`; stays the caller's */
    uint16_t id;                    /* enum virtio_device_id */
    struct virtio_features offered; /* to the driver */
    struct guest_memory *memory;    /* empty; filled with the front end's, and emptied again */
    uint16_t queue_count;
    struct loop *loop;
    const char *name; /* for logs */

    /* A connected socket, or one that listens (`listening`); owned by the server from now on. */
    int socket;
    bool listening;

    /* The front end of a connected socket is gone. On the loop. */
    void (*ended)(void *opaque);

    /* The front end hands over a socket for what the device shows (VHOST_USER_GPU_SET_SOCKET),
     * whose owner is whoever is called. 0 or a negative errno. On the loop; NULL: there is nothing
     * to show. */
    int (*show)(void *opaque, int socket, struct error *err);
    void *opaque;
};

int vhost_user_server_create(const struct vhost_user_server_config *config,
                             struct vhost_user_server **out, struct error *err);

/* Stops what runs. */
void vhost_user_server_destroy(struct vhost_user_server *server);

#endif
