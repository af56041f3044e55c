/*
 * A host side of a network device (devices/net/host.h) that the test plays: it makes frames for the
 * guest and sees what the guest sent.
 *
 * Frames are kept with their header of NET_HEADER_SIZE bytes. All calls on the device's loop, or
 * while it does not run.
 */
#ifndef TESTS_DRIVER_FAKE_NET_HOST_H
#define TESTS_DRIVER_FAKE_NET_HOST_H

#include "devices/net/host.h"

#define FAKE_NET_PAIRS 8

struct fake_net_frame {
    struct fake_net_frame *next;
    size_t length; /* with the header */
    uint8_t bytes[];
};

struct fake_net_queue {
    struct fake_net_frame *first, **end;
    unsigned count;
};

struct fake_net_host {
    struct net_host host;

    /* What it can do: set these before the device is made. */
    unsigned offloads;
    bool can_steer;

    /* What the device told it. */
    unsigned guest_offloads, pairs;
    bool started, watching[FAKE_NET_PAIRS];
    bool steers;
    struct net_steering steering;

    bool busy; /* send returns -EAGAIN; see fake_net_writable */
    unsigned sends, receives, most_iovecs;
    struct fake_net_queue incoming[FAKE_NET_PAIRS], sent[FAKE_NET_PAIRS];
};

/* Ready for net_create_on, which owns `host` from then on (and frees nothing: the memory stays the
 * caller's; frames left over are freed). */
void fake_net_init(struct fake_net_host *fake);

/* A frame for the guest; `header` may be NULL: all zeroes. The device hears of it by
 * fake_net_poll. */
void fake_net_add(struct fake_net_host *fake, unsigned pair, const uint8_t *header,
                  const void *payload, size_t length);

/* Tell the device of frames it waits for. */
void fake_net_poll(struct fake_net_host *fake);

/* Take frames again. */
void fake_net_writable(struct fake_net_host *fake);

/* The oldest frame the guest sent and nobody took, or NULL; the caller frees it. */
struct fake_net_frame *fake_net_take_sent(struct fake_net_host *fake, unsigned pair);

#endif
