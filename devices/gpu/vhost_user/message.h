/*
 * Messages of the vhost-user-gpu protocol over a socket that is never waited for. Both ends use it.
 *
 * The peer is hostile: what a message may look like is checked before more than its header is taken
 * in, nothing is taken in but what fits, and of descriptors no more than one a message is kept.
 */
#ifndef DEVICES_GPU_VHOST_USER_MESSAGE_H
#define DEVICES_GPU_VHOST_USER_MESSAGE_H

#include "devices/gpu/vhost_user_gpu_protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* A message on its way in. */
struct gpu_receiver {
    struct vhost_user_gpu_message message;
    size_t got; /* bytes of it */
    int fd;     /* that came with it; -1: none */
};

/* A message on its way out; its pixels, if it has some, are its sender's affair. */
struct gpu_sender {
    struct vhost_user_gpu_message message;
    size_t length, sent; /* bytes of it; equal: nothing is on its way */
    int fd;              /* to go with it, borrowed; -1: none */
};

/*
 * How much of a message comes before its pixels: bytes of payload, or -EPROTO for what is none.
 * `answers`: of the front end's, else of the back end's requests. The flags of requests may be
 * anything: QEMU's program leaves those of UPDATE as the memory was.
 */
int gpu_message_fixed(const struct vhost_user_gpu_header *header, bool answers);

/* Nothing is on its way. */
void gpu_receiver_init(struct gpu_receiver *r);

/* Take in a message up to its pixels: 1 when all of that is there; 0: not yet; -EPROTO, -ECONNRESET
 * at the end of the stream, or what else befell the socket. */
int gpu_receive(int socket, struct gpu_receiver *r, bool answers);

/* The message has been dealt with: on to the next. */
void gpu_receiver_next(struct gpu_receiver *r);

/* The descriptor: the caller's from now on. */
int gpu_receiver_take_fd(struct gpu_receiver *r);

/* Bytes, at most as many as `iov` holds: how many; 0: none now; as above. */
ssize_t gpu_receive_bytes(int socket, const struct iovec *iov, size_t count, int *fd);

/* A message with so many bytes of payload, filled in next; header.size counts `tail` bytes more. */
void gpu_sender_begin(struct gpu_sender *s, enum vhost_user_gpu_request request, size_t size,
                      uint64_t tail);

/* 1: it is sent; 0: not all of it; -errno. */
int gpu_send(int socket, struct gpu_sender *s);

/* As gpu_receive_bytes. `fd` goes with the first byte; -1: none. */
ssize_t gpu_send_bytes(int socket, const struct iovec *iov, size_t count, int fd);

#endif
