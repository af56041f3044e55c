/*
 * Fed by an input device of the host's: its capabilities are the guest's, its events go on, and
 * lights come back.
 *
 * The kernel drops events of readers that are slow (SYN_DROPPED); libevdev then finds out what
 * changed meanwhile.
 */
#include "devices/input/model/model.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libevdev/libevdev.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct evdev_feed {
    struct input *input;
    struct libevdev *device;
    struct loop_fd fd; /* -1 once the device is gone */
    bool writable;     /* lights can be set */
    bool behind;       /* events were lost, and libevdev makes up for them */
};

/* --- events ----------------------------------------------------------------------------------- */

static void forward(struct input *in, const struct input_event *event)
{
    input_event(in, event->type, event->code, event->value);
    if (event->type == EV_SYN && event->code == SYN_REPORT)
        input_flush(in);
}

/* Fingers leave, and keys come up, that are down. */
static void release_all(struct evdev_feed *feed)
{
    struct input *in = feed->input;

    for (int slot = 0; slot < libevdev_get_num_slots(feed->device); slot++)
        if (libevdev_get_slot_value(feed->device, (unsigned)slot, ABS_MT_TRACKING_ID) >= 0) {
            input_event(in, EV_ABS, ABS_MT_SLOT, slot);
            input_event(in, EV_ABS, ABS_MT_TRACKING_ID, -1);
        }
    for (unsigned code = 0; code < KEY_CNT; code++)
        if (libevdev_get_event_value(feed->device, EV_KEY, code))
            input_event(in, EV_KEY, code, 0);
    input_event(in, EV_SYN, SYN_REPORT, 0);
    input_flush(in);
}

static void device_lost(struct evdev_feed *feed, int reason)
{
    struct input *in = feed->input;

    log_warn("input", "%s: %s is gone: %s", virtio_builtin_name(in->builtin), in->options->evdev,
             strerror(reason));
    loop_fd_close(virtio_builtin_loop(in->builtin), &feed->fd);
    release_all(feed);
}

/* To the last one: libevdev keeps what it has read, and nobody would say that there is more. */
static void device_readable(struct loop_fd *self, uint32_t events)
{
    struct evdev_feed *feed = container_of(self, struct evdev_feed, fd);
    struct input_event event;

    (void)events;
    for (;;) {
        unsigned how = feed->behind ? LIBEVDEV_READ_FLAG_SYNC : LIBEVDEV_READ_FLAG_NORMAL;
        int r = libevdev_next_event(feed->device, how, &event);

        if (r == -EAGAIN && feed->behind) {
            feed->behind = false;
            continue;
        }
        if (r == -EAGAIN || r == -EINTR)
            return;
        if (r < 0) {
            device_lost(feed, -r);
            return;
        }
        if (r == LIBEVDEV_READ_STATUS_SYNC)
            feed->behind = true;
        forward(feed->input, &event);
    }
}

/* What does not change is not told of: where axes, switches and fingers are when the driver comes.
 * Keys that are down were not meant for it. */
static void tell_state(struct input *in)
{
    const struct evdev_feed *feed = in->feed;
    struct libevdev *device = feed->device;
    int slots = libevdev_get_num_slots(device);

    if (feed->fd.fd < 0)
        return;
    for (unsigned code = 0; code < SW_CNT; code++)
        if (libevdev_get_event_value(device, EV_SW, code))
            input_event(in, EV_SW, code, 1);
    for (unsigned axis = 0; axis < ABS_MT_SLOT; axis++)
        if (input_has(&in->capabilities, EV_ABS, axis))
            input_event(in, EV_ABS, axis, libevdev_get_event_value(device, EV_ABS, axis));
    for (int slot = 0; slot < slots; slot++) {
        input_event(in, EV_ABS, ABS_MT_SLOT, slot);
        for (unsigned axis = ABS_MT_TOUCH_MAJOR; axis <= ABS_MT_TOOL_Y; axis++)
            input_event(in, EV_ABS, axis, libevdev_get_slot_value(device, (unsigned)slot, axis));
    }
    if (slots > 0)
        input_event(in, EV_ABS, ABS_MT_SLOT, libevdev_get_current_slot(device));
    input_event(in, EV_SYN, SYN_REPORT, 0);
    input_flush(in);
}

static void take_status(struct input *in, const struct display_event *event)
{
    const struct evdev_feed *feed = in->feed;
    const struct input_event events[] = {
        {.type = event->type, .code = event->code, .value = event->value},
        {.type = EV_SYN, .code = SYN_REPORT},
    };

    if (feed->writable && feed->fd.fd >= 0 && write(feed->fd.fd, events, sizeof(events)) < 0)
        log_limited(LOG_INFO, "input", "%s: cannot write to %s: %s",
                    virtio_builtin_name(in->builtin), in->options->evdev, strerror(errno));
}

/* --- life ------------------------------------------------------------------------------------- */

static int feed_start(struct input *in, struct error *err)
{
    struct evdev_feed *feed = in->feed;
    int r = in->options->grab ? libevdev_grab(feed->device, LIBEVDEV_GRAB) : 0;

    if (r == -EBUSY)
        return error_set(err, EBUSY, "grab: another program has grabbed %s", in->options->evdev);
    if (r < 0)
        return error_errno(err, -r, "grab: cannot grab %s", in->options->evdev);
    return loop_fd_add(virtio_builtin_loop(in->builtin), &feed->fd, err);
}

static void feed_destroy(struct input *in)
{
    struct evdev_feed *feed = in->feed;

    libevdev_free(feed->device);
    loop_fd_close(virtio_builtin_loop(in->builtin), &feed->fd);
    free(feed);
}

static const struct input_source source_evdev = {
    .start = feed_start,
    .ready = tell_state,
    .status = take_status,
    .destroy = feed_destroy,
};

static void copy_codes(struct input_capabilities *c, const struct libevdev *device)
{
    static const unsigned types[] = {EV_KEY, EV_REL, EV_ABS, EV_MSC, EV_SW, EV_LED, EV_SND};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        for (unsigned code = 0; code < KEY_CNT; code++)
            if (libevdev_has_event_code(device, types[i], code))
                input_add(c, types[i], code);
    for (unsigned axis = 0; axis < ABS_CNT; axis++)
        if (input_has(c, EV_ABS, axis))
            c->axes[axis] = *libevdev_get_abs_info(device, axis);
    if (libevdev_has_event_type(device, EV_REP)) {
        input_add(c, EV_REP, REP_DELAY);
        input_add(c, EV_REP, REP_PERIOD);
    }
}

static void copy_capabilities(struct input_capabilities *c, const struct libevdev *device)
{
    const char *serial = libevdev_get_uniq(device);

    snprintf(c->name, sizeof(c->name), "%s", libevdev_get_name(device));
    snprintf(c->serial, sizeof(c->serial), "%s", serial ? serial : "");
    c->ids = (struct input_id){
        .bustype = (uint16_t)libevdev_get_id_bustype(device),
        .vendor = (uint16_t)libevdev_get_id_vendor(device),
        .product = (uint16_t)libevdev_get_id_product(device),
        .version = (uint16_t)libevdev_get_id_version(device),
    };
    for (unsigned property = 0; property < INPUT_PROP_CNT; property++)
        if (libevdev_has_property(device, property))
            c->properties[property / 8] |= (uint8_t)(1u << property % 8);
    copy_codes(c, device);
}

static int feed_open(struct evdev_feed *feed, const char *path, struct error *err)
{
    int flags = O_NONBLOCK | O_CLOEXEC | O_NOCTTY, r;

    feed->fd.fd = open(path, O_RDWR | flags);
    feed->writable = feed->fd.fd >= 0;
    if (feed->fd.fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS))
        feed->fd.fd = open(path, O_RDONLY | flags);
    if (feed->fd.fd < 0)
        return error_errno(err, errno, "evdev: cannot open %s", path);
    r = libevdev_new_from_fd(feed->fd.fd, &feed->device);
    if (r == -ENOTTY || r == -EINVAL)
        return error_set(err, EINVAL, "evdev: %s is no event device", path);
    return r < 0 ? error_errno(err, -r, "evdev: %s", path) : 0;
}

int input_source_evdev(struct input *in, struct error *err)
{
    struct evdev_feed *feed = calloc(1, sizeof(*feed));
    int ret;

    if (!feed)
        return error_set(err, ENOMEM, "no memory for an input device");
    *feed = (struct evdev_feed){
        .input = in,
        .fd = {.fd = -1, .events = EPOLLIN, .ready = device_readable},
    };
    in->feed = feed;
    in->source = &source_evdev;
    ret = feed_open(feed, in->options->evdev, err);
    if (!ret)
        copy_capabilities(&in->capabilities, feed->device);
    return ret;
}
