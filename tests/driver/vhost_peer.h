/*
 * A vhost-user back end that serves nothing: it answers a front end as the protocol wants it, keeps
 * what it was told, and can be made to do wrong at one request.
 *
 *     vhost_peer_init(&peer);                  offers all that it knows
 *     peer.protocol_features &= ...;           before it starts
 *     fd = vhost_peer_start(&peer);            the front end's end of the connection
 *     vhost_peer_told(&peer, VHOST_USER_SET_STATUS)->payload.u64
 *     vhost_peer_say(&peer, VHOST_USER_BACKEND_SHMEM_MAP, &mapping, sizeof(mapping), fd)
 *     vhost_peer_stop(&peer);
 */
#ifndef TESTS_DRIVER_VHOST_PEER_H
#define TESTS_DRIVER_VHOST_PEER_H

#include "virtio/vhost_user_channel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VHOST_PEER_CONFIG 60

/* What it does in the place of a sound answer. */
enum vhost_peer_fault {
    PEER_SOUND,
    PEER_SILENT,       /* no answer */
    PEER_CLOSES,       /* the connection */
    PEER_HALF,         /* a part of the header */
    PEER_TOO_LONG,     /* 4 bytes more */
    PEER_TOO_SHORT,    /* 4 bytes less */
    PEER_HUGE,         /* says that it is 1 GiB */
    PEER_OTHER,        /* the answer to another request */
    PEER_NO_REPLY,     /* not marked as an answer */
    PEER_VERSION,      /* of another version */
    PEER_ONE_FD,       /* with a descriptor that it should not have */
    PEER_TOO_MANY_FDS, /* with more than the protocol allows */
    PEER_REFUSES,      /* says that it cannot */
};

struct vhost_peer {
    /* What it offers. */
    uint64_t features, protocol_features, queues, slots;
    uint8_t config[VHOST_PEER_CONFIG];
    struct vhost_user_shmem_config shmem;
    uint8_t status_never;    /* bits of the status that it does not take over */
    uint8_t status_adds;     /* bits that it has of itself; may change at any time */
    char state[64];          /* that it gives out, and takes */
    bool keeps_pipe;         /* by which it gives it out: `state_fd` */
    int inflight_fd;         /* that it gives out; -1: it cannot */
    const char *connects_to; /* a socket's path; NULL: it is given a connection */

    enum vhost_peer_fault fault; /* see vhost_peer_do_wrong */
    uint32_t fault_at;

    /* NULL, or: may change what it is about to answer, descriptors included, which are closed
     * afterwards; false: the connection is over instead. */
    bool (*meddle)(struct vhost_peer *peer, struct vhost_user_message *answer);

    /* How it answers SET_VRING_ENABLE: once the first page of this file is where the driver
     * notifies the queue; -1: just so. */
    int notifier_fd;

    /* How it answers VRING_KICK: with a VRING_CALL first, which must be heard before. */
    bool calls_before_kicked;

    atomic_int socket; /* -1: not connected yet */
    bool runs;
    pthread_t thread;
    pthread_mutex_t speech; /* of a request of its own and its answer: the test says some, too */
    pthread_mutex_t lock;   /* of what follows, and of what is above once it has started */
    int channel;            /* for its own requests; -1: none was given */
    int state_fd;
    struct vhost_user_message
        told[VHOST_USER_REQUESTS]; /* the last of each, its descriptors open */
    unsigned count[VHOST_USER_REQUESTS];
};

void vhost_peer_init(struct vhost_peer *peer);

/* Returns the front end's end of the connection; -1 when it is to connect, which it goes on trying.
 */
int vhost_peer_start(struct vhost_peer *peer);
void vhost_peer_stop(struct vhost_peer *peer); /* nothing when it does not run */

/* A copy of the last request of this kind; its descriptors stay the peer's. A failed test when
 * there was none. */
struct vhost_user_message vhost_peer_told(struct vhost_peer *peer, uint32_t request);
unsigned vhost_peer_count(struct vhost_peer *peer, uint32_t request);

/* At one request from now on. */
void vhost_peer_do_wrong(struct vhost_peer *peer, uint32_t request, enum vhost_peer_fault fault);

/* Send a request of the back end's, with one descriptor or -1, and wait for its acknowledgement:
 * what it says, 0 for done; -1 when the front end has closed the channel. */
int64_t vhost_peer_say(struct vhost_peer *peer, uint32_t request, const void *payload,
                       uint32_t size, int fd);

#endif
