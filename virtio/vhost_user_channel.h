/*
 * A vhost-user channel: whole messages, with their descriptors, over a Unix stream socket.
 *
 * The peer is hostile. A message is taken only if its header is sound, its payload fits, and it
 * brings no more descriptors than the protocol allows; what a message of its kind must look like is
 * the caller's to check (vhost_user_check). Waiting is bounded: a peer that stops in the middle of
 * a message, or does not take ours, is given VHOST_USER_PATIENCE_MS.
 *
 * Thread: one at a time for each direction.
 */
#ifndef VIRTIO_VHOST_USER_CHANNEL_H
#define VIRTIO_VHOST_USER_CHANNEL_H

#include "base/error.h"
#include "virtio/vhost_user_protocol.h"

#include <stdbool.h>
#include <stddef.h>

#define VHOST_USER_PATIENCE_MS 5000
#define VHOST_USER_BRIEF_MS    200 /* on a loop that others need, too */

struct vhost_user_message {
    struct vhost_user_header header;
    union vhost_user_payload payload; /* bytes beyond header.size are 0 */
    int fds[VHOST_USER_FDS_MAX];      /* owned by whoever has the message; -1 once taken */
    unsigned fd_count;
};

/* Receive one message: 1; 0 when the peer closed the channel between messages; -EPROTO for what is
 * no message, -ETIMEDOUT, or the socket's error. Nothing of a failed one is left open. */
int vhost_user_receive(int socket, struct vhost_user_message *message, struct error *err);

/* Send one; its descriptors stay the caller's. 0 or a negative errno. */
int vhost_user_send(int socket, const struct vhost_user_message *message, struct error *err);

/* The same with other patience. */
int vhost_user_receive_within(int socket, struct vhost_user_message *message, unsigned patience_ms,
                              struct error *err);
int vhost_user_send_within(int socket, const struct vhost_user_message *message,
                           unsigned patience_ms, struct error *err);

/* Take descriptor `index` out of the message: the caller's from now on. -1 when there is none. */
int vhost_user_take_fd(struct vhost_user_message *message, unsigned index);

/* Close what nobody took. */
void vhost_user_close_fds(struct vhost_user_message *message);

/*
 * Does a request look as its kind has to: size of the payload, number of descriptors? -EPROTO with
 * the reason when it does not, -EOPNOTSUPP when there is no such request (or none that we know).
 * `backend`: it is one of the back end's.
 */
int vhost_user_check(const struct vhost_user_message *message, bool backend, struct error *err);

/* The same for what came as the answer to `request` (which is one that we know): -EPROTO unless it
 * is one, with a size and descriptors that it can have. `acknowledgement`: the request has no
 * answer of its own, this is the one that REPLY_ACK or the other channel brings. */
int vhost_user_check_answer(const struct vhost_user_message *answer, uint32_t request,
                            bool acknowledgement, struct error *err);

/* Whether a request of the front end has an answer of its own. */
bool vhost_user_has_answer(uint32_t request);

/* Whether the protocol features (bits) that both agreed on allow a request. */
bool vhost_user_allowed(uint32_t request, bool backend, uint64_t protocol_features);

/* What the protocol calls it, for logs; "request N" when there is no such request. The text lives
 * until the next call on this thread. */
const char *vhost_user_request_name(uint32_t request, bool backend);

#endif
