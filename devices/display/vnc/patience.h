/*
 * How long clients may keep the server waiting.
 *
 * It is built not to wait for them (client.c), but LibVNCServer may, within its calls: for a client
 * that takes or says a byte now and then, for as long as it does that. Other clients wait
 * meanwhile, and the machine's end would. So the display's loop looks every now and then, while
 * there are clients, and shuts the connection down of one that has been waited for too long: the
 * library's call then fails. And so that nobody takes a place for good, of one that has not come
 * through the handshake in time, or that takes nothing of what there is for it.
 */
#ifndef DEVICES_DISPLAY_VNC_PATIENCE_H
#define DEVICES_DISPLAY_VNC_PATIENCE_H

#include "base/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A connection; embedded in what there is of a client. `fd` is its owner's, and open meanwhile. */
struct vnc_connection {
    struct vnc_connection *next;
    int fd;
    uint64_t since_ns;
    atomic_bool admitted; /* the handshake is over */
    atomic_bool full;     /* there is something for it, and no room in its socket */

    /* The display's loop: */
    int queued;        /* bytes that it has yet to take */
    uint64_t taken_ns; /* when it was seen to take some; 0: it is not full */
};

struct vnc_patience {
    struct loop *loop;     /* the display's */
    uint64_t handshake_ns; /* from connecting until it is a client like others, at most */
    uint64_t call_ns;      /* for one call of the library, at most */
    uint64_t stall_ns;     /* without taking anything, at most */
    struct loop_task came;
    struct loop_timer look;
    pthread_mutex_t lock; /* of what follows */
    struct vnc_connection *connections;
    int waited_for; /* descriptor; -1: the server is in no call for a client */
    uint64_t since_ns;
    bool closed;
};

void vnc_patience_open(struct vnc_patience *p, struct loop *loop);

/* No client is waited for any more, now and later. On the loop, or while it does not run. */
void vnc_patience_close(struct vnc_patience *p);
void vnc_patience_destroy(struct vnc_patience *p); /* when the server's thread has ended */

/* --- the server's thread --- */

/* A connection is there, until it goes. */
void vnc_patience_add(struct vnc_patience *p, struct vnc_connection *c, int fd);
void vnc_patience_remove(struct vnc_patience *p, struct vnc_connection *c);

/* The library is called for the client behind this descriptor, which stays open until the end. */
void vnc_patience_begin(struct vnc_patience *p, int fd);
void vnc_patience_end(struct vnc_patience *p);

#endif
