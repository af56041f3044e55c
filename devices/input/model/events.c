/*
 * The event queue (5.8.6): groups of events wait in a ring of bounded size until the driver has
 * buffers for a whole one (INP-07).
 *
 * When the ring is full, the oldest group goes. So that no key stays down that way, it is
 * remembered what state the driver would have been left in, and the events that lead there come
 * before the next group.
 */
#include "devices/input/model/model.h"

#include "base/bytes.h"
#include "base/log.h"

/* --- what waits ------------------------------------------------------------------------------- */

bool input_pending(const struct input *in)
{
    return in->pending_whole || in->missed;
}

static struct display_event *pending_at(struct input *in, size_t i)
{
    return &in->pending[(in->pending_first + i) % INPUT_PENDING_SIZE];
}

static bool ends_group(const struct display_event *event)
{
    return event->type == EV_SYN && event->code == SYN_REPORT;
}

static void pending_pop(struct input *in, size_t count)
{
    in->pending_first = (in->pending_first + count) % INPUT_PENDING_SIZE;
    in->pending_count -= count;
    in->pending_whole -= MIN(count, in->pending_whole);
}

/* Of the oldest group, with its end; where none is complete, of all. */
static size_t oldest_length(struct input *in)
{
    size_t length = 0;

    while (length < in->pending_count && !ends_group(pending_at(in, length)))
        length++;
    return MIN(length + 1, in->pending_count);
}

static void drop_oldest(struct input *in)
{
    size_t length = oldest_length(in);

    log_limited(LOG_INFO, "input", "%s: the driver takes no events: the oldest are dropped",
                virtio_builtin_name(in->builtin));
    if (!in->missed)
        in->target = in->guest;
    in->missed = true;
    for (size_t i = 0; i < length; i++)
        input_state_apply(&in->target, pending_at(in, i));
    pending_pop(in, length);
}

/* The driver's side repeats keys (EV_REP), and says what lights and sounds there are: an echo of
 * that could fight with what it says next. */
static bool is_for_driver(const struct input *in, const struct display_event *event)
{
    unsigned type = event->type;

    if (type == EV_SYN)
        return event->code == SYN_REPORT || event->code == SYN_MT_REPORT;
    if (type == EV_LED || type == EV_SND || type == EV_REP || (type == EV_KEY && event->value == 2))
        return false;
    return input_has(&in->capabilities, type, event->code);
}

void input_event(struct input *in, unsigned type, unsigned code, int32_t value)
{
    struct display_event event = {(uint16_t)type, (uint16_t)code, value};

    if (!in->ready || !is_for_driver(in, &event))
        return;
    if (ends_group(&event) && in->pending_count == in->pending_whole)
        return; /* of nothing */
    if (in->pending_count == INPUT_PENDING_SIZE)
        drop_oldest(in);
    *pending_at(in, in->pending_count++) = event;
    if (ends_group(&event))
        in->pending_whole = in->pending_count;
}

/* --- to the driver ---------------------------------------------------------------------------- */

/* DRV-INP-02; such a buffer is used without an event. */
static bool too_short(const struct virtqueue_buffer *buffer)
{
    return buffer->writable_bytes < INPUT_EVENT_SIZE;
}

static void write_event(struct input *in, struct virtqueue *queue, struct virtqueue_buffer *buffer,
                        const struct display_event *event)
{
    uint8_t bytes[INPUT_EVENT_SIZE];

    store_le16(bytes, event->type);
    store_le16(bytes + 2, event->code);
    store_le32(bytes + 4, (uint32_t)event->value);
    virtqueue_write(buffer, 0, bytes, sizeof(bytes));
    virtqueue_push(queue, buffer, sizeof(bytes));
    input_state_apply(&in->guest, event);
}

struct gathered {
    size_t count, good; /* buffers in hand, and those of them that an event fits into */
};

/* So many buffers can be in hand. */
static size_t most_buffers(const struct input *in, const struct virtqueue *queue)
{
    return MIN(queue->size, virtio_builtin_queue_size(in->builtin));
}

/* Take buffers until `wanted` events fit: 0 or a negative errno. */
static int gather(struct input *in, struct virtqueue *queue, size_t wanted, struct gathered *out)
{
    *out = (struct gathered){0};
    while (out->good < wanted && out->count < most_buffers(in, queue)) {
        int r = virtqueue_pop(queue, &in->buffers[out->count]);

        if (r <= 0)
            return r;
        out->good += !too_short(in->buffers[out->count++]);
    }
    return 0;
}

static void give_back(struct input *in, struct virtqueue *queue, size_t count)
{
    while (count)
        virtqueue_unpop(queue, in->buffers[--count]);
}

/* As many events as the buffers in hand have room for. */
static void use(struct input *in, struct virtqueue *queue, struct gathered buffers,
                const struct display_event *events)
{
    for (size_t i = 0; i < buffers.count; i++) {
        struct virtqueue_buffer *buffer = in->buffers[i];

        if (!too_short(buffer)) {
            write_event(in, queue, buffer, events++);
            continue;
        }
        log_limited(LOG_INFO, "input",
                    "%s: DRV-INP-02: a buffer of the event queue has no 8 writable bytes",
                    virtio_builtin_name(in->builtin));
        virtqueue_push(queue, buffer, 0);
    }
}

/* The oldest group, if there are buffers for it; or as much of it as fills the whole queue. */
static int deliver_group(struct input *in, struct virtqueue *queue)
{
    struct display_event group[INPUT_PENDING_SIZE];
    size_t length = oldest_length(in);
    struct gathered got;
    int r = gather(in, queue, length, &got);

    if (r < 0 || (got.good < length && got.count < most_buffers(in, queue))) {
        give_back(in, queue, got.count);
        return r;
    }
    for (size_t i = 0; i < got.good; i++)
        group[i] = *pending_at(in, i);
    use(in, queue, got, group);
    pending_pop(in, got.good);
    return (int)got.good;
}

/* What was missed, in as many groups as it takes. */
static int deliver_missed(struct input *in, struct virtqueue *queue)
{
    struct display_event events[INPUT_DIFFERENCE_MAX + 1];
    size_t count = input_state_difference(&in->guest, &in->target, events);
    struct gathered got;
    int r;

    if (!count) {
        in->missed = false;
        return 1;
    }
    r = gather(in, queue, count + 1, &got);
    if (r < 0 || got.good < MIN(most_buffers(in, queue), 2u)) {
        give_back(in, queue, got.count);
        return r;
    }
    if (got.good > 1)
        events[got.good - 1] = (struct display_event){EV_SYN, SYN_REPORT, 0};
    use(in, queue, got, events);
    return 1;
}

/* All that there are buffers for: 0 or a negative errno. */
static int deliver(struct input *in, struct virtqueue *queue)
{
    int r = 1;

    while (r > 0 && input_pending(in))
        r = in->missed ? deliver_missed(in, queue) : deliver_group(in, queue);
    return MIN(r, 0);
}

static void tell_drained(struct input *in)
{
    if (!input_pending(in) && in->source->drained)
        in->source->drained(in);
}

void input_flush(struct input *in)
{
    struct virtqueue *queue = virtio_builtin_queue(in->builtin, INPUT_EVENTQ);
    int r;

    if (!queue || in->waiting)
        return;
    r = deliver(in, queue);
    virtqueue_publish(queue);
    if (r < 0)
        virtio_builtin_broken(in->builtin, queue);
    else if (input_pending(in))
        virtio_builtin_kick(in->builtin, queue); /* to be told of buffers, see below */
}

/* --- the driver's side ------------------------------------------------------------------------ */

/* The first buffer says that the driver is up. */
static int look_for_driver(struct input *in, struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;
    int r = virtqueue_pop(queue, &buffer);

    if (r <= 0)
        return r;
    virtqueue_unpop(queue, buffer);
    in->ready = true;
    if (in->source->ready)
        in->source->ready(in);
    return 0;
}

/* Without an event that waits, the driver need not tell of its buffers. */
int input_eventq_ready(struct input *in, struct virtqueue *queue)
{
    int r;

    in->waiting = false;
    r = in->ready ? 0 : look_for_driver(in, queue);
    if (r == 0 && in->ready)
        r = deliver(in, queue);
    if (r < 0)
        return r;
    if (in->ready)
        tell_drained(in);
    in->waiting = input_pending(in);
    return in->ready && !in->waiting ? VIRTIO_QUEUE_QUIET : 0;
}

void input_events_reset(struct input *in)
{
    in->ready = in->waiting = in->missed = false;
    in->pending_first = in->pending_count = in->pending_whole = 0;
    input_state_init(&in->guest);
}
