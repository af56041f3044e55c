#include "tests/driver/net_card.h"

#include "base/bytes.h"
#include "devices/net/net.h"
#include "devices/net/state.h"
#include "tests/driver/loop_turn.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MEMORY      (UINT64_C(32) * MIB)
#define DATA        (UINT64_C(8) * MIB)
#define QUEUE_LIMIT 2048
#define SERVE_TURNS 24

static void on_notify(void *opaque, uint16_t index)
{
    ((struct net_card *)opaque)->interrupts[index]++;
}

static void on_config_changed(void *opaque)
{
    ((struct net_card *)opaque)->config_changes++;
}

static void on_needs_reset(void *opaque)
{
    ((struct net_card *)opaque)->needs_reset = true;
}

static int create_on_fake(struct virtio_builtin *b, const void *options, void **out,
                          struct error *err)
{
    const struct net_options *o = options;
    struct net_card *card = container_of(o, struct net_card, options);

    return net_create_on(b, o, &card->host.host, card->vhost, out, err);
}

int net_card_create(struct net_card *card, unsigned pairs, struct error *err)
{
    unsigned offloads = card->host.offloads;
    bool can_steer = card->host.can_steer;
    int ret;

    fake_net_init(&card->host);
    card->host.offloads = offloads;
    card->host.can_steer = can_steer;
    card->model = net_model;
    card->model.create = create_on_fake;
    card->pairs = pairs;
    card->queue_size = 256;
    guest_memory_init(&card->memory);
    if (guest_memory_add(&card->memory, 0, MEMORY, 0, NULL) < 0 || loop_create(&card->loop, NULL))
        abort();
    for (unsigned i = 0; i < NET_CARD_QUEUES; i++)
        card->kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ret = virtio_builtin_create(&card->model, &card->options, &card->memory, card->loop,
                                card->model.virtqueue_count(&card->options, (uint16_t)pairs),
                                QUEUE_LIMIT, &card->backend, err);
    if (ret) {
        card->backend = NULL;
        return ret;
    }
    card->backend->events = (struct virtio_device_events){.notify_queue = on_notify,
                                                          .config_changed = on_config_changed,
                                                          .needs_reset = on_needs_reset,
                                                          .opaque = card};
    return card->backend->ops->start(card->backend, err);
}

void net_card_destroy(struct net_card *card)
{
    if (card->backend) {
        net_card_stop(card);
        card->backend->ops->destroy(card->backend);
    }
    loop_destroy(card->loop);
    guest_memory_destroy(&card->memory);
    for (unsigned i = 0; i < NET_CARD_QUEUES; i++)
        close(card->kicks[i]);
}

void net_card_start_queue(struct net_card *card, unsigned index, struct virtqueue_position at)
{
    struct ring *ring = &card->rings[index];
    const struct virtqueue_setup setup = {(uint16_t)index, ring->size, GPA(ring->desc),
                                          GPA(ring->avail), GPA(ring->used)};

    if (card->backend->ops->queue_start(card->backend, &setup, at, card->kicks[index], NULL))
        abort();
    card->running[index] = true;
}

static void start(struct net_card *card, const unsigned char *bits, size_t count, bool legacy)
{
    struct virtio_features negotiated = {0};
    bool several = false, event_idx;

    features_set(&negotiated, VIRTIO_F_VERSION_1, !legacy);
    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    for (size_t i = 0; i < count; i++) {
        features_set(&negotiated, bits[i], true);
        several = several || bits[i] == NET_F_MQ || bits[i] == NET_F_RSS;
    }
    event_idx = features_has(&negotiated, VIRTIO_F_EVENT_IDX);
    card->backend->ops->set_features(card->backend, &negotiated);
    card->control = several ? 2 * card->pairs : 2;
    card->next = DATA;
    card->needs_reset = false;
    card->config_changes = 0;
    for (unsigned i = 0; i < 2 * card->pairs + 1; i++) {
        card->interrupts[i] = 0;
        ring_init(&card->rings[i], &card->memory, i * align_up(ring_bytes(card->queue_size), 4096),
                  card->queue_size, event_idx);
        net_card_start_queue(card, i, (struct virtqueue_position){0, 0});
    }
}

void net_card_start(struct net_card *card, const unsigned char *bits, size_t count)
{
    start(card, bits, count, false);
}

void net_card_start_legacy(struct net_card *card, const unsigned char *bits, size_t count)
{
    start(card, bits, count, true);
}

struct virtqueue_position net_card_stop_queue(struct net_card *card, unsigned index)
{
    card->running[index] = false;
    return card->backend->ops->queue_stop(card->backend, (uint16_t)index);
}

void net_card_stop(struct net_card *card)
{
    for (unsigned i = 0; i < NET_CARD_QUEUES; i++) {
        if (card->running[i]) {
            struct virtqueue_position at = net_card_stop_queue(card, i);

            if (at.avail != at.used && !card->needs_reset)
                abort();
        }
        if (card->rings[i].size)
            ring_destroy(&card->rings[i]);
        card->rings[i] = (struct ring){0};
    }
    card->backend->ops->reset(card->backend);
}

void net_card_turn(struct net_card *card)
{
    fake_net_poll(&card->host);
    loop_run_for(card->loop, 0);
}

void net_card_serve(struct net_card *card)
{
    for (unsigned i = 0; i < SERVE_TURNS; i++)
        net_card_turn(card);
}

void net_card_kick(struct net_card *card, unsigned index)
{
    ring_publish(&card->rings[index]);
    eventfd_write(card->kicks[index], 1);
    net_card_serve(card);
}

uint8_t *net_card_at(struct net_card *card, uint64_t address, size_t length)
{
    uint8_t *host = guest_memory_map(&card->memory, GPA(address), MAX(length, (size_t)1));

    if (!host)
        abort();
    return host;
}

uint64_t net_card_alloc(struct net_card *card, size_t length)
{
    uint64_t address = card->next;

    card->next += length;
    memset(net_card_at(card, address, length), 0, length);
    return address;
}

uint64_t net_card_config(struct net_card *card, uint32_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    card->backend->ops->config_read(card->backend, offset, bytes, size);
    return load_le64(bytes);
}

int net_card_command(struct net_card *card, uint8_t class, uint8_t command, const void *data,
                     size_t length, void *reply, size_t *reply_size)
{
    size_t in = 1 + (reply_size ? *reply_size : 0);
    uint64_t out_at = net_card_alloc(card, 2 + length), in_at = net_card_alloc(card, in);
    struct ring_element e[] = {{out_at, (uint32_t)(2 + length), false},
                               {in_at, (uint32_t)in, true}};
    uint8_t *out = net_card_at(card, out_at, 2 + length);
    struct ring_used used;

    out[0] = class;
    out[1] = command;
    if (length)
        memcpy(out + 2, data, length);
    memset(net_card_at(card, in_at, in), 0xee, in);
    if (ring_add(&card->rings[card->control], e, 2, RING_DIRECT) < 0)
        abort();
    net_card_kick(card, card->control);
    if (!ring_collect(&card->rings[card->control], &used))
        return -1;
    if (reply_size) {
        *reply_size = used.length - 1;
        memcpy(reply, net_card_at(card, in_at + 1, *reply_size), *reply_size);
    }
    return *net_card_at(card, in_at, 1);
}
