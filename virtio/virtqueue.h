/*
 * A virtqueue as a device sees it (specification 2.6 to 2.8): buffers in, completions out.
 *
 * The driver and the device share rings in guest memory. The driver makes a *buffer* available: a
 * chain of descriptors, first those the device may read, then those it may write. The device takes
 * buffers (virtqueue_pop), works on them for as long as it likes and in any order, records each as
 * used (virtqueue_push), and publishes a batch of records with one notification decision
 * (virtqueue_publish).
 *
 *       driver                    device
 *       avail ring  -->  pop      ...     push, publish  -->  used ring  [-> interrupt]
 *
 * A device never sees whether the ring is split or packed, descriptors direct or indirect, or how
 * notifications are suppressed. Everything in guest memory is hostile: each descriptor is copied
 * exactly once and the copy is validated. A ring that breaks a rule is *broken*: pop returns
 * -EPROTO, the rule (tests/CONFORMANCE.md, DRV-...) is in `broken`, and the ring yields
 * nothing more until it is started anew; what was popped before may still be pushed and published.
 * A rule that other devices let pass is only *bent*: remembered in `bent`, for the log.
 *
 * Thread: all calls for one queue come from one thread, the device's loop. No call allocates (but
 * for chains of more than a few descriptors), takes a lock or makes a system call (but for the
 * notification itself).
 */
#ifndef VIRTIO_VIRTQUEUE_H
#define VIRTIO_VIRTQUEUE_H

#include "base/error.h"
#include "guest/memory.h"
#include "virtio/features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQUEUE_SIZE_MAX  32768 /* 2.7, 2.8.10.1 */
#define VIRTQUEUE_CHAIN_MAX 1024  /* descriptors in a chain; longer ones break the ring */

/* Memory that outlives us, to keep record of the buffers in flight in (inflight.h). */
struct virtqueue_record {
    void *region;         /* aligned to INFLIGHT_ALIGNMENT; NULL: no record */
    uint16_t entry_count; /* that it has room for; at least the queue's size */
};

/* What the driver programmed through its transport. */
struct virtqueue_setup {
    uint16_t index; /* of the queue in its device */
    uint16_t size;
    gpa_t desc, driver, device; /* descriptor area, driver (avail) area, device (used) area */
};

/*
 * Where a stopped ring stood, to start it again there. As vhost has it: split, the free-running
 * indexes (2.7); packed, slots of the ring, with the wrap counter in bit 15 (2.8.1).
 */
struct virtqueue_position {
    uint16_t avail; /* next entry to take */
    uint16_t used;  /* next entry to fill */
};

/* A position as vhost's requests have it (VRING_BASE), in one number: packed, both; split, `avail`
 * alone, since a device that goes on finds the other in the ring. */
static inline uint32_t virtqueue_position_base(struct virtqueue_position position, bool packed)
{
    return position.avail | (packed ? (uint32_t)position.used << 16 : 0);
}

static inline struct virtqueue_position virtqueue_position_of_base(uint32_t base, bool packed)
{
    return (struct virtqueue_position){(uint16_t)base, (uint16_t)(packed ? base >> 16 : base)};
}

/*
 * One buffer. Owned by the queue, valid from pop until push (of this buffer) or stop. `readable`
 * and `writable` point at guest memory and never at anything else; their content may change at any
 * time.
 */
struct virtqueue_buffer {
    struct iovec *readable, *writable;
    uint16_t readable_count, writable_count;
    uint32_t readable_bytes, writable_bytes; /* together at most 2^32-1: what used.len can say */

    /* The queue's: */
    uint16_t id;    /* what the driver knows it by: the head's index (2.7.8), its id (2.8.6) */
    uint16_t slots; /* entries of the ring it takes when it is used */
    uint64_t limit; /* in flight, a single's writable_bytes and a chain's 0; or VIRTQUEUE_FREE */
    union {
        struct virtqueue_buffer *next_free; /* packed, a chain's while it is out of flight */
        struct {                            /* while it is in flight: */
            uint32_t written;
            uint16_t entry; /* with record: which one is its */
            bool done;      /* in order: it was pushed, with `written` */
            bool again;     /* with record: it was in flight when the queue started */
        };
    };
    union {
        struct iovec single; /* a single's: what `readable` and `writable` are for good */
        uint16_t capacity;   /* a chain's: of the iovec array behind both parts */
    };
};

/* More than any limit. */
#define VIRTQUEUE_FREE UINT64_MAX

/* A driver rule and what was seen of it; literals. `id` is NULL for none. */
struct virtqueue_rule {
    const char *id, *what;
};

struct dirty_log;
struct virtqueue_format;
struct virtqueue_inflight;
struct virtqueue_logged_buffer;

struct virtqueue {
    const struct guest_memory *memory;
    struct guest_region region; /* of memory: where the last buffer was */
    uint16_t index, size;
    bool indirect, event_idx, packed, in_order; /* negotiated */
    bool kicks_enabled;                         /* the driver is asked to notify us */
    struct virtqueue_rule broken;               /* .id is NULL while the ring is sound */
    struct virtqueue_rule bent;                 /* the last one bent; whoever logs it clears it */

    /* How this ring is laid out, NULL while stopped; and of its calls the two for each buffer. */
    const struct virtqueue_format *format;
    int (*pop)(struct virtqueue *queue, struct virtqueue_buffer **out);
    void (*push)(struct virtqueue *queue, struct virtqueue_buffer *buffer, uint32_t written);

    /*
     * Entries of the ring that pop may take before it looks at anything else: none of them is
     * beyond the budget, beyond what the driver may make available or, packed, beyond the end of
     * the ring. 0 as well while the queue is stopped or broken, so that pop has one thing to look
     * at. They are counted as taken (budget, slots_free, slots_seen) from the start of such a run
     * on; virtqueue_end_run gives back what is left of it. Below 0 only within virtqueue_pop.
     */
    int64_t ready;

    /* Buffers pop may still hand out, besides those: see virtqueue_set_budget. 0 while the queue is
     * stopped or broken. */
    uint64_t budget;

    /* Host pointers to the three areas, checked at start for the whole size of each. Packed: the
     * descriptor ring, the driver's and the device's event suppression structure. */
    uint8_t *desc, *avail, *used;

    /* Split: next entry to take and next one to fill. Free-running (2.7.6), so that differences are
     * right across a wrap at 65536. */
    uint16_t next_avail, next_used;

    uint32_t mask;           /* split: an index's slot is what these bits of it say: size - 1 */
    uint16_t avail_seen;     /* split: avail.idx when we last looked: entries below may be taken */
    uint16_t published_used; /* split: used.idx as the driver sees it */

    /*
     * Packed. The next descriptor to take and the next one to fill, either in the ring or, when
     * that is the first one of the next round, at its end. The wrap counters of the round (2.8.1)
     * are kept as what they make the word be that has a descriptor's id and flags, if the id is 0:
     * of a writable one that is ours to take, and of one that was used and written to.
     */
    uint8_t *avail_slot, *used_slot, *desc_end;
    uint32_t avail_word, used_word;
    uint8_t *used_end; /* end of the ring; or used_slot, when nothing is held: push has to look */
    uint8_t *held;     /* the first descriptor used since publish, or NULL: it lacks its... */
    uint16_t held_flags;
    uint32_t slots_free; /* slots the driver may make available, next to those it has */
    int64_t slots_seen;  /* available from avail_slot on, when kicks were last enabled */
    uint32_t id_count;   /* `size` again, as wide as a word */
    bool *id_in_flight;  /* of each 16-bit id that is not below it */
    struct virtqueue_buffer *free;

    /*
     * Two for each entry of the ring. The first `size` are for chains: indexed by head when split,
     * handed out from `free` when packed. The others are `singles`, for what is most buffers: one
     * descriptor. They are indexed by head or id; while a chain has that, its single is in flight
     * with it. Packed, ids that are not below `size` are for chains alone.
     */
    struct virtqueue_buffer *buffers, *singles;
    struct iovec *iovecs; /* for each of those for chains as many as short ones need */

    /* In order (2.7.9): what was popped and is not used yet, a ring of `size`. */
    struct virtqueue_buffer **order;
    uint16_t order_first, order_count;

    /* Where to keep record of the buffers in flight. Set before start; .region NULL: nowhere. */
    struct virtqueue_record record;
    struct virtqueue_inflight *inflight; /* virtqueue_inflight.h; NULL: no record is kept */
    /* The pages that are written to are marked here. Set before start; NULL: nowhere. */
    struct dirty_log *log;
    const struct virtqueue_format *logged; /* the one it would have without */
    struct virtqueue_logged_buffer *logged_buffers;

    /* Called by publish when the driver wants an interrupt (2.7.7.2). Set before start. */
    void (*notify)(void *opaque, uint16_t index);
    void *notify_opaque;
};

/* Where a ring stands that was just set up. */
struct virtqueue_position virtqueue_position_first(const struct virtio_features *negotiated);

/*
 * Start a queue: check sizes, alignment (DRV-QCFG-01..06, -17) and that each area lies in guest
 * memory. `queue` was zeroed or stopped before; `notify` fields, `record` and `log` are kept.
 * -EINVAL names the rule in err. With a record of buffers in flight that is not fresh, pop hands
 * those out first, and `position` is not looked at.
 */
int virtqueue_start(struct virtqueue *queue, const struct guest_memory *memory,
                    const struct virtqueue_setup *setup, const struct virtio_features *negotiated,
                    struct virtqueue_position position, struct error *err);

/* Where a ring's areas are in this process. */
struct virtqueue_areas {
    uint8_t *desc, *driver, *device;
};

/* Find the areas of a ring that somebody else is to serve, with the checks of virtqueue_start. */
int virtqueue_find_areas(const struct guest_memory *memory, const struct virtqueue_setup *setup,
                         const struct virtio_features *negotiated, struct virtqueue_areas *out,
                         struct error *err);

/* Forget the rings; buffers in flight become invalid. Returns where the ring stood. A stopped queue
 * may still be popped from and published: it is empty. */
struct virtqueue_position virtqueue_stop(struct virtqueue *queue);

/* Mark nothing in the log any more, from now on and after the next start. */
void virtqueue_stop_logging(struct virtqueue *queue);

/* The rest of pop when nothing is ready. */
int virtqueue_pop_unready(struct virtqueue *queue, struct virtqueue_buffer **out);

/* Take the next buffer: 1 and *out, 0 when none is available, -EPROTO when the ring is broken,
 * -ENOMEM when there is no memory to describe it. A buffer may be empty (DRV-RING-13). */
static inline int virtqueue_pop(struct virtqueue *queue, struct virtqueue_buffer **out)
{
    /* Taken off here, it is one instruction with the look whether there is any. */
    return --queue->ready < 0 ? virtqueue_pop_unready(queue, out) : queue->pop(queue, out);
}

/* Take back a pop: the next pop hands the buffer out again. Only the buffer popped last can be
 * taken back; then the one before it, and so on. */
void virtqueue_unpop(struct virtqueue *queue, struct virtqueue_buffer *buffer);

/* Record a buffer as used; `written` bytes of its writable part hold data (RING-10: never too
 * many). */
static inline void virtqueue_push(struct virtqueue *queue, struct virtqueue_buffer *buffer,
                                  uint32_t written)
{
    queue->push(queue, buffer, written);
}

/* Make all pushes since the last publish visible and notify the driver unless it does not want it.
 */
void virtqueue_publish(struct virtqueue *queue);

/*
 * Ask the driver to notify us of new buffers, or not to. `virtqueue_enable_kicks` returns true when
 * buffers came in that pop has not seen: handle them first (EVT-06). After it returned false, the
 * next buffer brings a kick, also when older ones were left in the ring. Kicks may come although
 * they were disabled (EVT-05).
 */
bool virtqueue_enable_kicks(struct virtqueue *queue);
void virtqueue_disable_kicks(struct virtqueue *queue);

/*
 * Let pop hand out `buffers` more before it feigns an empty ring: with it whoever serves several
 * queues keeps a driver that never stops adding from holding the loop. UINT64_MAX: no limit, as at
 * the start. virtqueue_budget_spent tells whether all of it was used.
 */
void virtqueue_set_budget(struct virtqueue *queue, uint64_t buffers);
bool virtqueue_budget_spent(const struct virtqueue *queue);

/* Copies between a buffer's parts and plain memory, from byte `offset`; returns the bytes copied.
 */
size_t virtqueue_read(const struct virtqueue_buffer *buffer, size_t offset, void *data, size_t len);
size_t virtqueue_write(const struct virtqueue_buffer *buffer, size_t offset, const void *data,
                       size_t len);

#endif
