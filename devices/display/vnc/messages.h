/*
 * What clients say (RFC 6143, 7.5), looked at before LibVNCServer hears it.
 *
 * That library waits for the rest of a message that has begun, and others wait with it. So it is
 * called when a message is there whole. It is called only for what is wanted: what nobody here
 * wants is dropped by us, and a client that says what has no known end is let go.
 */
#ifndef DEVICES_DISPLAY_VNC_MESSAGES_H
#define DEVICES_DISPLAY_VNC_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

#define VNC_MESSAGE_HEAD 8    /* bytes: what the length is told by */
#define VNC_MESSAGE_MAX  4096 /* bytes of a message that is not dropped */

enum vnc_message_kind {
    VNC_MESSAGE_PARTIAL, /* more of it has to come first */
    VNC_MESSAGE_HEAR,    /* for the library */
    VNC_MESSAGE_REQUEST, /* the same, and it is never answered at once */
    VNC_MESSAGE_RESIZE,  /* SetDesktopSize */
    VNC_MESSAGE_DROP,    /* of any length */
    VNC_MESSAGE_BAD,
};

struct vnc_message {
    enum vnc_message_kind kind;
    uint64_t length; /* all of it, in bytes; 0 where it is partial or bad */
};

/* Of a client that is through the handshake: its next message begins with the `size` bytes at
 * `start`, and `there` bytes have come. */
struct vnc_message vnc_message_look(const uint8_t *start, size_t size, size_t there);

#endif
