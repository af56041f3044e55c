/*
 * Where two programs meet: a Unix socket's name that one of them listens at, whoever comes first.
 */
#ifndef DEVICES_NET_RENDEZVOUS_H
#define DEVICES_NET_RENDEZVOUS_H

#include "base/error.h"
#include "devices/net/host.h"

struct rendezvous {
    int listener; /* or negative; unlink its name when it is closed */
    int peer;     /* or negative */
};

/* Is `path` (may be NULL) good for a socket's name? -EINVAL, -ENAMETOOLONG. */
int rendezvous_check(const char *path, struct error *err);

/*
 * Connect to who listens at `path`, or listen there, as the role says. The sockets do not block and
 * are the caller's. Two that call it at the same time do meet: one waits for the other, at most a
 * tenth of a second. The name that a program left behind when it was killed is taken over. -EAGAIN:
 * a client found nobody; -EBUSY: who listens takes nobody now, or somebody keeps the socket's
 * directory locked; else the host's reason. [any]
 */
int rendezvous(const char *path, enum net_socket_role role, struct rendezvous *out,
               struct error *err);

#endif
