/*
 * Unix stream sockets by path.
 */
#ifndef BASE_UNIX_SOCKET_H
#define BASE_UNIX_SOCKET_H

#include "base/error.h"

/* Is `path` short enough? -ENAMETOOLONG. What the functions below refuse themselves. [any] */
int unix_socket_check(const char *path, struct error *err);

/* Listen on `path`: a descriptor, close-on-exec and not blocking, or a negative errno. A socket's
 * name that an owner left behind who died is taken over; whoever listens removes it at the end.
 * [any] */
int unix_socket_listen(const char *path, struct error *err);

/* Remove the name of a socket that its owner left behind; nothing where somebody listens, or where
 * there is no socket. [any] */
void unix_socket_remove_stale(const char *path);

/* Connect to `path`: the same kind of descriptor, or a negative errno (-ECONNREFUSED, -ENOENT:
 * nobody listens). Waits while the listener's backlog is full. [any] */
int unix_socket_connect(const char *path, struct error *err);

/* The same, but -EAGAIN when the listener's backlog is full. [any] */
int unix_socket_try_connect(const char *path, struct error *err);

#endif
