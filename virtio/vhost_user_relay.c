/*
 * Requests passed on one by one, so that it is known which are in flight, for peers that keep no
 * record of that themselves.
 *
 *     driver's avail ring -->  forward  --> ours --> peer --> ours -->  collect  --> driver's used
 * ring
 *
 * The peer works on an available and a used ring in memory of ours, and on the driver's descriptor
 * table itself. An entry that came in and did not go out is in flight. After a peer has died, its
 * rings are made anew with what was in flight, in the order of the driver.
 *
 * Split rings only, without event indexes. Both directions are carried out on the loop, while
 * `live`; a thread that connects anew makes the rings while they are not.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/event_signal.h"
#include "base/log.h"
#include "base/loop_event.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* 2.7.6, 2.7.8; in either ring le16 flags, le16 idx, entries */
#define IDX               2
#define RING              4
#define USED_ENTRY        8
#define NO_INTERRUPT      1
#define AVAIL_BYTES(size) (RING + 2 * (uint64_t)(size) + 2)
#define USED_BYTES(size)  (RING + USED_ENTRY * (uint64_t)(size) + 2)
#define PAGE              4096
#define MEMORY_AT         (UINT64_C(1) << 46) /* beyond any guest's memory */
#define QUEUE_BYTES(size) (align_up(AVAIL_BYTES(size), PAGE) + align_up(USED_BYTES(size), PAGE))

struct relay_queue {
    struct vhost_user_queue *queue;
    bool live;
    struct loop_fd guest_kick, call; /* the driver's notifications; the peer's interrupts */
    int kick_fd;                     /* tells the peer */
    uint16_t size, in_flight;
    uint64_t counter, *taken; /* by head: when it was passed on, 0 when it is not in flight */
    gpa_t avail_at, used_at;
    uint8_t *avail, *used;               /* the peer's */
    uint8_t *driver_avail, *driver_used; /* of the guest */
    uint16_t next_avail, next_used;      /* of the driver's rings */
    uint16_t peer_avail, peer_used;      /* of the peer's: next to fill, and to collect */
};

struct vhost_user_relay {
    struct guest_memory own;  /* the rings */
    struct guest_memory told; /* to the peer: the guest's regions, and that */
    struct relay_queue queues[];
};

static uint16_t load(const uint8_t *word)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)word, __ATOMIC_SEQ_CST));
}

static void store(uint8_t *word, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)word, htole16(value), __ATOMIC_SEQ_CST);
}

static struct relay_queue *relay_queue(const struct vhost_user *v, uint16_t index)
{
    return &v->relay->queues[index];
}

/* --- while it runs: on the loop --------------------------------------------------------------- */

static void offer(struct relay_queue *q, uint16_t head)
{
    store(q->avail + RING + 2 * (q->peer_avail & (q->size - 1)), head);
    q->peer_avail++;
}

/* The rule that the driver breaks, or NULL. */
static const char *take(struct relay_queue *q, uint16_t *taken)
{
    uint16_t idx = load(q->driver_avail + IDX);

    for (*taken = 0; q->next_avail != idx; q->next_avail++, ++*taken) {
        uint16_t head = load(q->driver_avail + RING + 2 * (q->next_avail & (q->size - 1)));

        if (q->in_flight == q->size)
            return "DRV-RING-02";
        if (head >= q->size)
            return "DRV-RING-03";
        if (q->taken[head])
            return "DRV-RING-08";
        q->taken[head] = ++q->counter;
        q->in_flight++;
        offer(q, head);
    }
    return NULL;
}

static void forward(struct relay_queue *q)
{
    struct virtio_backend *backend = &q->queue->owner->backend;
    uint16_t taken;
    const char *rule = q->live ? take(q, &taken) : NULL;

    if (!q->live)
        return;
    if (rule) {
        q->live = false;
        log_limited(LOG_WARN, "virtio", "%s: queue %u is broken: %s", backend->name,
                    q->queue->index, rule);
        backend->events.needs_reset(backend->events.opaque);
        return;
    }
    store(q->avail + IDX, q->peer_avail);
    if (taken)
        event_signal(q->kick_fd);
}

/* Of the peer's memory, which it may change at any time: each is read once. */
static uint32_t load32(const uint8_t *word)
{
    return le32toh(__atomic_load_n((const uint32_t *)(const void *)word, __ATOMIC_RELAXED));
}

/* Give an entry of the peer's back to the driver; false when it is none of ours. */
static bool give_back(struct relay_queue *q)
{
    const uint8_t *from = q->used + RING + USED_ENTRY * (q->peer_used & (q->size - 1));
    uint8_t *to = q->driver_used + RING + USED_ENTRY * (q->next_used & (q->size - 1));
    uint32_t id = load32(from), length = load32(from + 4);

    if (id >= q->size || !q->taken[id])
        return false;
    q->taken[id] = 0;
    q->in_flight--;
    q->peer_used++;
    store_le32(to, id);
    store_le32(to + 4, length);
    q->next_used++;
    return true;
}

/* All that the peer has done. False: it says that it did what nobody asked for. */
static bool collect(struct relay_queue *q)
{
    struct virtio_backend *backend = &q->queue->owner->backend;
    uint16_t idx = load(q->used + IDX), before = q->next_used;
    bool sound = true;

    while (sound && q->peer_used != idx)
        sound = give_back(q);
    store(q->driver_used + IDX, q->next_used);
    if (q->next_used != before && !(load(q->driver_avail) & NO_INTERRUPT))
        backend->events.notify_queue(backend->events.opaque, q->queue->index);
    return sound;
}

static void guest_kick_ready(struct loop_fd *self, uint32_t events)
{
    struct relay_queue *q = container_of(self, struct relay_queue, guest_kick);

    (void)events;
    if (loop_event_take(self->fd))
        forward(q);
}

static void call_ready(struct loop_fd *self, uint32_t events)
{
    struct relay_queue *q = container_of(self, struct relay_queue, call);
    struct vhost_user *v = q->queue->owner;

    (void)events;
    if (!loop_event_take(self->fd) || !q->live || collect(q))
        return;
    log_limited(LOG_WARN, "vhost-user", "%s: it uses buffers that it was not given",
                v->backend.name);
    q->live = false;
    pthread_mutex_lock(&v->lock);
    v->given_up = true;
    vhost_user_disconnect(v);
    pthread_mutex_unlock(&v->lock);
}

/* Without a peer, once there is one. */
static void go(void *arg)
{
    struct relay_queue *q = arg;

    q->live = q->queue->owner->watched;
    if (!q->live)
        return;
    collect(q);
    forward(q);
}

void vhost_user_relay_go(struct vhost_user *v, uint16_t index)
{
    if (v->relay)
        loop_call(v->loop, go, relay_queue(v, index));
}

void vhost_user_relay_pause(struct vhost_user *v, uint16_t index)
{
    if (!v->relay || !relay_queue(v, index)->live)
        return;
    collect(relay_queue(v, index));
    relay_queue(v, index)->live = false;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void watch(void *arg)
{
    struct relay_queue *q = arg;

    if (loop_fd_add(q->queue->owner->loop, &q->guest_kick, NULL))
        q->guest_kick.fd = -1;
}

/* A queue that was stopped with requests in flight (the driver had suspended the device) goes on
 * with them; a new one begins where nothing is in flight. */
static bool goes_on(const struct relay_queue *q, struct virtqueue_position position)
{
    return q->in_flight && position.avail == q->next_avail && position.used == q->next_used;
}

static int forget(struct relay_queue *q)
{
    free(q->taken);
    q->taken = calloc(q->size, sizeof(*q->taken));
    q->in_flight = 0;
    return q->taken ? 0 : -ENOMEM;
}

int vhost_user_relay_start(struct vhost_user *v, uint16_t index, struct error *err)
{
    struct vhost_user_queue *queue = &v->queues[index];
    const struct virtqueue_setup *setup = &queue->setup;
    struct relay_queue *q;

    if (!v->relay)
        return 0;
    q = relay_queue(v, index);
    q->size = setup->size;
    q->driver_avail = guest_memory_map(v->backend.memory, setup->driver, AVAIL_BYTES(q->size));
    q->driver_used = guest_memory_map(v->backend.memory, setup->device, USED_BYTES(q->size));
    if (!is_power_of_two(q->size) || q->size > v->options.queue_size || !q->driver_avail ||
        !q->driver_used || setup->driver.value % 2 || setup->device.value % 4)
        return error_set(err, EINVAL,
                         "DRV-QCFG-01, -04, -06: queue %u has a size, or is at an "
                         "address, that cannot be",
                         index);
    if (!goes_on(q, queue->position) && forget(q))
        return error_set(err, ENOMEM, "no memory for queue %u", index);
    q->next_avail = queue->position.avail;
    q->next_used = queue->position.used;
    q->guest_kick = (struct loop_fd){queue->kick_fd, EPOLLIN, guest_kick_ready};
    loop_call(v->loop, watch, q);
    return q->guest_kick.fd >= 0
               ? 0
               : error_set(err, EIO, "cannot listen for queue %u's driver", index);
}

static void stop(void *arg)
{
    struct relay_queue *q = arg;
    struct vhost_user *v = q->queue->owner;

    vhost_user_relay_pause(v, q->queue->index);
    if (q->guest_kick.fd >= 0)
        loop_fd_remove(v->loop, &q->guest_kick);
    q->guest_kick.fd = -1;
    q->queue->position = (struct virtqueue_position){q->next_avail, q->next_used};
}

void vhost_user_relay_stop(struct vhost_user *v, uint16_t index)
{
    if (v->relay)
        loop_call(v->loop, stop, relay_queue(v, index));
}

static int by_time(const void *a, const void *b, void *arg)
{
    const struct relay_queue *q = arg;
    uint64_t x = q->taken[*(const uint16_t *)a], y = q->taken[*(const uint16_t *)b];

    return x < y ? -1 : x > y;
}

/* The rings of a new peer: what is in flight, oldest first. */
int vhost_user_relay_prepare(struct vhost_user *v, uint16_t index, struct error *err)
{
    struct relay_queue *q = relay_queue(v, index);
    uint16_t *heads = calloc(q->size, sizeof(*heads)), count = 0;

    if (!heads)
        return error_set(err, ENOMEM, "no memory for queue %u", index);
    for (uint16_t head = 0; head < q->size; head++)
        if (q->taken[head])
            heads[count++] = head;
    qsort_r(heads, count, sizeof(*heads), by_time, q);
    memset(q->avail, 0, AVAIL_BYTES(q->size));
    memset(q->used, 0, USED_BYTES(q->size));
    q->peer_avail = q->peer_used = 0;
    for (uint16_t i = 0; i < count; i++)
        offer(q, heads[i]);
    store(q->avail + IDX, q->peer_avail);
    free(heads);
    event_signal(q->kick_fd);
    return 0;
}

struct vhost_user_rings vhost_user_relay_rings(const struct vhost_user *v, uint16_t index)
{
    const struct relay_queue *q = relay_queue(v, index);

    return (struct vhost_user_rings){q->avail_at, q->used_at, q->kick_fd, q->call.fd};
}

const struct guest_memory *vhost_user_memory(const struct vhost_user *v)
{
    return v->relay ? &v->relay->told : v->backend.memory;
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_queue(struct vhost_user *v, uint16_t index, struct error *err)
{
    struct relay_queue *q = relay_queue(v, index);
    uint16_t size = v->options.queue_size;

    q->queue = &v->queues[index];
    q->avail_at = GPA(MEMORY_AT + index * QUEUE_BYTES(size));
    q->used_at = GPA(q->avail_at.value + align_up(AVAIL_BYTES(size), PAGE));
    q->avail = guest_memory_map(&v->relay->own, q->avail_at, AVAIL_BYTES(size));
    q->used = guest_memory_map(&v->relay->own, q->used_at, USED_BYTES(size));
    q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->kick_fd < 0)
        return error_errno(err, errno, "cannot make an eventfd");
    return loop_event_open(v->loop, &q->call, call_ready, err);
}

int vhost_user_relay_open(struct vhost_user *v, struct error *err)
{
    const struct guest_memory *memory = v->backend.memory;
    struct vhost_user_relay *relay;
    int ret;

    if (v->relay || !v->options.relay || vhost_user_has(v, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
        return 0;
    if (memory->count == GUEST_MEMORY_REGIONS)
        return error_set(err, ENOSPC, "the guest's memory has too many regions for relay=on");
    relay = calloc(1, sizeof(*relay) + v->queue_count * sizeof(relay->queues[0]));
    if (!relay)
        return error_set(err, ENOMEM, "no memory for a vhost-user device");
    v->relay = relay;
    for (uint16_t i = 0; i < v->queue_count; i++)
        relay->queues[i].guest_kick.fd = relay->queues[i].call.fd = relay->queues[i].kick_fd = -1;
    guest_memory_init(&relay->own);
    ret = guest_memory_add(&relay->own, MEMORY_AT,
                           v->queue_count * QUEUE_BYTES(v->options.queue_size), GUEST_MEMORY_SHARED,
                           err);
    for (uint16_t i = 0; i < v->queue_count && !ret; i++)
        ret = open_queue(v, i, err);
    if (ret)
        return ret;
    relay->told = *memory;
    relay->told.regions[relay->told.count++] = relay->own.regions[0];
    features_set(&v->offered, VIRTIO_F_EVENT_IDX, false);
    features_set(&v->offered, VIRTIO_F_RING_PACKED, false);
    return 0;
}

void vhost_user_relay_close(struct vhost_user *v)
{
    if (!v->relay)
        return;
    for (uint16_t i = 0; i < v->queue_count; i++) {
        struct relay_queue *q = relay_queue(v, i);

        loop_fd_close(v->loop, &q->call);
        if (q->kick_fd >= 0)
            close(q->kick_fd);
        free(q->taken);
    }
    guest_memory_destroy(&v->relay->own);
    free(v->relay);
    v->relay = NULL;
}
