/*
 * Which sources of connections may try passwords.
 *
 * After some that were wrong a source has to wait, and others do not: whoever guesses locks out
 * nobody but itself. A source is an IPv4 address; of IPv6 ones the first half, which is what one
 * host is given; and all that come by Unix sockets are one. The table is of a fixed size: of more
 * sources, those that were wrong longest ago are forgotten.
 */
#ifndef DEVICES_DISPLAY_VNC_GUARD_H
#define DEVICES_DISPLAY_VNC_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define VNC_GUARD_SOURCES  32
#define VNC_GUARD_FAILURES 5                     /* wrong passwords in a row, and then */
#define VNC_GUARD_REFUSE   UINT64_C(10000000000) /* ns without another try */

struct vnc_origin {
    uint8_t family, address[8];
};

struct vnc_guard {
    struct vnc_guard_source {
        struct vnc_origin origin;
        unsigned failures;
        uint64_t last_ns, refused_until_ns; /* last_ns 0: not in use */
    } sources[VNC_GUARD_SOURCES];
};

struct vnc_origin vnc_origin_of(const struct sockaddr *address);

/* `now_ns`: not 0. */
bool vnc_guard_admits(const struct vnc_guard *guard, struct vnc_origin origin, uint64_t now_ns);
void vnc_guard_wrong(struct vnc_guard *guard, struct vnc_origin origin, uint64_t now_ns);
void vnc_guard_right(struct vnc_guard *guard, struct vnc_origin origin);

#endif
