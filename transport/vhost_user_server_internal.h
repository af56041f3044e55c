/*
 * Between the files of the vhost-user server.
 */
#ifndef TRANSPORT_VHOST_USER_SERVER_INTERNAL_H
#define TRANSPORT_VHOST_USER_SERVER_INTERNAL_H

#include "base/memory_guard.h"
#include "guest/dirty_log.h"
#include "transport/vhost_user_server.h"
#include "virtio/builtin.h"
#include "virtio/vhost_user_channel.h"

#include <stdatomic.h>

/* A region of the front end's memory, mapped. */
struct vhost_user_mapped {
    uint64_t guest_address, size, user_address;
    struct guarded_map map;
    uint8_t *host; /* of the region in it */
};

/* The record of buffers in flight that the front end keeps; .bytes is NULL when there is none. */
struct server_inflight {
    struct guarded_map map;
    uint8_t *bytes; /* of the record in it */
    uint64_t size;
    uint16_t queue_count, queue_size;
};

struct vhost_user_vring {
    uint16_t size;
    uint64_t descriptor, available, used; /* as SET_VRING_ADDR said */
    bool addressed;
    struct virtqueue_position position;
    int kick_fd;         /* -1: none yet */
    int call_fd, err_fd; /* constant; what is behind them changes */

    /* In their place, messages (INBAND_NOTIFICATIONS), of which these are yet to be sent. */
    atomic_bool call_inband, error_inband, call_due, error_due;
    bool enabled, running;
};

/* For our own requests. */
struct server_channel {
    struct loop_fd socket; /* .fd -1: none */
    uint32_t asked;        /* the request whose acknowledgement is yet to come; 0: none */
    atomic_bool config_due;
    struct loop_task task; /* sends what is due */
};

/* What of the device's shared memory the front end was asked to map. */
struct server_shmem {
    struct vhost_user_mapping *mappings; /* NULL: there were none yet */
    size_t count;
};

struct vhost_user_server {
    struct vhost_user_server_config config;
    struct loop_fd listener, connection; /* .fd is -1 when there is none */
    struct server_channel channel;
    struct server_shmem shmem;

    uint64_t features, protocol_features;
    bool features_set;
    struct dirty_log log; /* the front end's; .bits is NULL: none */
    int log_signal_fd;    /* what SET_LOG_FD gave; -1: nothing */
    atomic_uint status;   /* as SET_STATUS said, and NEEDS_RESET */
    int load_fd;          /* the pipe of a state to be loaded; -1: none */
    int state_result;     /* of the last transfer of state: 0 or a negative errno */
    struct vhost_user_mapped mapped[GUEST_MEMORY_REGIONS];
    size_t mapped_count;
    struct loop_fd lost; /* an eventfd: the front end took mapped memory away */
    struct server_inflight inflight;
    struct virtqueue_record *records; /* the back end's view of it, for each queue */
    struct vhost_user_vring vrings[];
};

static inline bool server_has(const struct vhost_user_server *server,
                              enum vhost_user_protocol_feature feature)
{
    return server->protocol_features >> feature & 1;
}

static inline bool server_is_packed(const struct vhost_user_server *server)
{
    return server->features >> VIRTIO_F_RING_PACKED & 1;
}

/* --- vhost_user_server_vring.c: 0, or a negative errno with the reason --- */

int server_vrings_create(struct vhost_user_server *server, struct error *err);
void server_vrings_destroy(struct vhost_user_server *server); /* also after create failed */

/* Requests about vrings. For GET_VRING_BASE the payload becomes the answer. */
int server_vring_request(struct vhost_user_server *server, struct vhost_user_message *message,
                         struct error *err);

/* Start and stop vrings so that those run that are ready for it. */
int server_vrings_update(struct vhost_user_server *server, struct error *err);
void server_vrings_stop(struct vhost_user_server *server);

/* Stopped, disabled and at their beginning; eventfds for interrupts and errors stay. */
void server_vrings_disable(struct vhost_user_server *server);

/* As before the front end came. */
void server_vrings_reset(struct vhost_user_server *server);

/* --- vhost_user_server_inflight.c --- */

/* Make a record. The message becomes the answer, with a descriptor; without, and of size 0, when
 * that cannot be done. */
void server_inflight_get(struct vhost_user_server *server, struct vhost_user_message *message);

/* Use a record from now on. Queues that are in it go on where it says. */
int server_inflight_set(struct vhost_user_server *server, struct vhost_user_message *message,
                        struct error *err);
void server_inflight_clear(struct vhost_user_server *server); /* while no vring runs */

/* A queue's part, none when there is no record. */
int server_inflight_record(const struct vhost_user_server *server, uint16_t index,
                           struct virtqueue_record *out, struct error *err);

/* The front end is told where the queue stopped: when nothing of it is in flight, it starts next
 * where the front end says. */
void server_inflight_settle(struct vhost_user_server *server, uint16_t index);

/* --- vhost_user_server_tell.c --- */

void server_channel_init(struct vhost_user_server *server);

/* Takes the descriptor, in the place of one from before. */
int server_channel_open(struct vhost_user_server *server, int fd, struct error *err);
void server_channel_close(struct vhost_user_server *server);

/* Send a request of ours, and wait for its acknowledgement, as long as for anything of the front
 * end's: 0 when it says that it has done it. -EINVAL when it has not, -ENOTSUP when it was not
 * agreed on or could not be acknowledged. Any other error is the end of the channel. */
int server_channel_ask(struct vhost_user_server *server, struct vhost_user_message *message,
                       struct error *err);

/* Any thread; never waits. */
void server_tell_config(struct vhost_user_server *server);
void server_tell_call(struct vhost_user_server *server, uint16_t index);
void server_tell_error(struct vhost_user_server *server, uint16_t index);

/* --- vhost_user_server_shmem.c: see virtio_device_events --- */

void server_shmem_config(const struct vhost_user_server *server,
                         struct vhost_user_message *message); /* which becomes the answer */
int server_shmem_map(struct vhost_user_server *server, const struct virtio_shared_mapping *wanted,
                     struct error *err);
void server_shmem_unmap(struct vhost_user_server *server, uint8_t id, uint64_t offset,
                        uint64_t length);

/* The device is reset, or the front end gone. */
void server_shmem_forget(struct vhost_user_server *server);

/* --- vhost_user_server_state.c --- */

/* SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE: what they are answered with. What went wrong is in
 * `err`, if it did. */
uint64_t server_state_transfer(struct vhost_user_server *server, struct vhost_user_message *message,
                               struct error *err);
uint64_t server_state_check(struct vhost_user_server *server, struct error *err);

/* A transfer that was begun is over. */
void server_state_forget(struct vhost_user_server *server);

/* --- vhost_user_server_log.c --- */

int server_log_set(struct vhost_user_server *server, struct vhost_user_message *message,
                   struct error *err);

int server_log_set_signal(struct vhost_user_server *server, struct vhost_user_message *message,
                          struct error *err);

/* Features changed. */
int server_log_update(struct vhost_user_server *server, struct error *err);
void server_log_forget(struct vhost_user_server *server);

/* --- vhost_user_server_memory.c --- */

/* Memory changes only while no vring runs. */
int server_memory_set(struct vhost_user_server *server, struct vhost_user_message *message,
                      struct error *err);
int server_memory_add(struct vhost_user_server *server, struct vhost_user_message *message,
                      struct error *err);
int server_memory_remove(struct vhost_user_server *server, struct vhost_user_message *message,
                         struct error *err);
void server_memory_clear(struct vhost_user_server *server);

/* The guest address of `length` bytes at an address of the front end; false when it is none. */
bool server_memory_translate(const struct vhost_user_server *server, uint64_t user_address,
                             gpa_t *out);

#endif
