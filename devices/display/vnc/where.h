/*
 * Where the user wants VNC clients to connect: ":N", "ADDRESS:N" or "unix:PATH".
 */
#ifndef DEVICES_DISPLAY_VNC_WHERE_H
#define DEVICES_DISPLAY_VNC_WHERE_H

#include "base/error.h"

#include <netdb.h>

struct vnc_where {
    const char *path; /* of the first output's socket; NULL: TCP */
    char host[256];
    unsigned port; /* of the first output */
};

/* -EINVAL: it is none of the three. `text` lives on. */
int vnc_where_parse(const char *text, struct vnc_where *out, struct error *err);

/* The addresses that an output's clients come to, for freeaddrinfo. -EINVAL: there is none. */
int vnc_where_find(const struct vnc_where *where, unsigned output, struct addrinfo **found,
                   struct error *err);

/* 0 when one could listen there, as far as can be seen without doing it; else an error. */
int vnc_where_check(const struct vnc_where *where, struct error *err);

#endif
