/*
 * A virtio-net device between a fake host side and a test that plays the driver, all on the test's
 * thread: the device's loop runs when the test says so.
 *
 *     struct net_card card;
 *     net_card_create(&card, 2, offloads);
 *     net_card_start(&card, bits, ARRAY_SIZE(bits));
 *     ring_add(&card.rings[0], ...);
 *     net_card_kick(&card, 0);
 *     fake_net_add(&card.host, 0, NULL, frame, sizeof(frame));
 *     net_card_serve(&card);
 *     ...
 *     net_card_destroy(&card);
 */
#ifndef TESTS_DRIVER_NET_CARD_H
#define TESTS_DRIVER_NET_CARD_H

#include "devices/net/options.h"
#include "tests/driver/fake_net_host.h"
#include "tests/driver/ring.h"
#include "virtio/builtin.h"

#define NET_CARD_PAIRS  4
#define NET_CARD_QUEUES (2 * NET_CARD_PAIRS + 1)

struct net_card {
    struct fake_net_host host;
    struct net_options options; /* set before net_card_create */
    struct virtio_model model;  /* net_model, on the fake host side */
    struct net_vhost *vhost;    /* of tests that play devices/net/vhost.h; or NULL */
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_backend *backend;

    unsigned pairs;
    uint16_t queue_size; /* of all queues at the next start; 256 by default */
    struct ring rings[NET_CARD_QUEUES];
    bool running[NET_CARD_QUEUES];
    int kicks[NET_CARD_QUEUES];
    unsigned interrupts[NET_CARD_QUEUES], config_changes;
    bool needs_reset;
    unsigned control; /* index of the control queue, by what was negotiated */
    uint64_t next;    /* guest address not used yet */
};

/* `card` was zeroed; its options and the host's abilities may be set already. -EINVAL and others as
 * from the model. */
int net_card_create(struct net_card *card, unsigned pairs, struct error *err);
void net_card_destroy(struct net_card *card);

/* Negotiate VERSION_1, INDIRECT_DESC and these bits, and start all queues. With `legacy`, without
 * VERSION_1. */
void net_card_start(struct net_card *card, const unsigned char *bits, size_t count);
void net_card_start_legacy(struct net_card *card, const unsigned char *bits, size_t count);

/* Stop all queues; nothing may be in flight then. Reset the device. */
void net_card_stop(struct net_card *card);

struct virtqueue_position net_card_stop_queue(struct net_card *card, unsigned index);
void net_card_start_queue(struct net_card *card, unsigned index, struct virtqueue_position at);

/* Let the device work until it has nothing to do, frames from the host side included. */
void net_card_serve(struct net_card *card);
void net_card_turn(struct net_card *card); /* one turn of its loop */

/* Publish what was added to a ring, notify the device, and serve. */
void net_card_kick(struct net_card *card, unsigned index);

/* Guest memory: so many bytes, zeroed; and where they are for us. */
uint64_t net_card_alloc(struct net_card *card, size_t length);
uint8_t *net_card_at(struct net_card *card, uint64_t address, size_t length);

/* The configuration, little-endian, 1 to 8 bytes. */
uint64_t net_card_config(struct net_card *card, uint32_t offset, unsigned size);

/* Send a control command: its ack, or -1 when it is not answered. `reply` may be NULL; *reply_size
 * is its size, and becomes the bytes of the answer behind the ack. */
int net_card_command(struct net_card *card, uint8_t class, uint8_t command, const void *data,
                     size_t length, void *reply, size_t *reply_size);

#endif
