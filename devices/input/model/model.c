/*
 * virtio-input (specification 5.8): life, configuration, status queue.
 */
#include "devices/input/model/model.h"

#include "base/bytes.h"
#include "base/log.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

extern const struct virtio_model vireo_module_input;

/* --- configuration (5.8.4) -------------------------------------------------------------------- */

static void config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    struct input *in = model;
    unsigned selected = atomic_load(&in->selected);
    uint8_t config[INPUT_CONFIG_BYTES];

    memset(data, 0, len);
    if (offset >= sizeof(config))
        return;
    input_config_fill(&in->capabilities, (uint8_t)selected, (uint8_t)(selected >> 8), config);
    memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

/* Two bytes can be written (INP-02). Some write all of the configuration to write these. */
static void config_write(void *model, uint32_t offset, const void *data, uint32_t len)
{
    struct input *in = model;
    unsigned selected = atomic_load(&in->selected);
    uint8_t bytes[] = {(uint8_t)selected, (uint8_t)(selected >> 8)};

    if (offset >= sizeof(bytes)) {
        log_limited(LOG_INFO, "input", "%s: DRV-INP-01: configuration is written at %u",
                    virtio_builtin_name(in->builtin), offset);
        return;
    }
    memcpy(bytes + offset, data, MIN(len, sizeof(bytes) - offset));
    atomic_store(&in->selected, bytes[0] | (unsigned)bytes[1] << 8);
}

/* --- queues ----------------------------------------------------------------------------------- */

/* Only what the device has: a driver could do more to a device of the host's than the keyboard's
 * lights and sounds. */
static void take_status(struct input *in, const struct virtqueue_buffer *buffer)
{
    uint8_t bytes[INPUT_EVENT_SIZE];
    struct display_event event;

    if (virtqueue_read(buffer, 0, bytes, sizeof(bytes)) < sizeof(bytes)) {
        log_limited(LOG_INFO, "input",
                    "%s: DRV-INP-02: a buffer of the status queue has no 8 readable bytes",
                    virtio_builtin_name(in->builtin));
        return;
    }
    event = (struct display_event){load_le16(bytes), load_le16(bytes + 2),
                                   (int32_t)load_le32(bytes + 4)};
    if ((event.type == EV_LED || event.type == EV_SND) && in->source->status &&
        input_has(&in->capabilities, event.type, event.code))
        in->source->status(in, &event);
}

static int statusq_ready(struct input *in, struct virtqueue *queue)
{
    struct virtqueue_buffer *buffer;
    int r;

    while ((r = virtqueue_pop(queue, &buffer)) > 0) {
        take_status(in, buffer);
        virtqueue_push(queue, buffer, 0);
    }
    return r;
}

static int queue_ready(void *model, struct virtqueue *queue)
{
    return queue->index == INPUT_EVENTQ ? input_eventq_ready(model, queue)
                                        : statusq_ready(model, queue);
}

static void get_features(void *model, struct virtio_features *out) /* INP-01: the type has none */
{
    (void)model, (void)out;
}

static void reset(void *model)
{
    struct input *in = model;

    if (in->ready && in->source->gone)
        in->source->gone(in);
    input_events_reset(in);
    atomic_store(&in->selected, 0);
}

/* --- state: what is selected, and the keys that the driver's side thinks are down ------------- */

enum { STATE_SELECTED = 0, STATE_KEYS = 2, STATE_BYTES = STATE_KEYS + KEY_CNT / 8 };

static void state_save(void *model, uint8_t *out)
{
    const struct input *in = model;

    store_le16(out + STATE_SELECTED, (uint16_t)atomic_load(&in->selected));
    memcpy(out + STATE_KEYS, in->guest.keys, sizeof(in->guest.keys));
}

/* They are not down here. */
static int state_load(void *model, const uint8_t *bytes, struct error *err)
{
    struct input *in = model;

    (void)err;
    atomic_store(&in->selected, load_le16(bytes + STATE_SELECTED));
    in->target = in->guest;
    memcpy(in->guest.keys, bytes + STATE_KEYS, sizeof(in->guest.keys));
    in->missed = true;
    return 0;
}

static const struct virtio_model_state state = {STATE_BYTES, state_save, state_load};

/* --- life ------------------------------------------------------------------------------------- */

unsigned input_kinds_of(const struct input_options *options)
{
    static const unsigned kinds[] = {
        [INPUT_AUTO] = 0,
        [INPUT_KEYBOARD] = DISPLAY_KEYS,
        [INPUT_MOUSE] = DISPLAY_RELATIVE,
        [INPUT_TABLET] = DISPLAY_ABSOLUTE,
        [INPUT_MULTITOUCH] = DISPLAY_TOUCH,
    };

    return kinds[options->kind];
}

void input_name_kinds(struct input *in, unsigned kinds)
{
    static const struct {
        unsigned kind;
        const char *name;
    } names[] = {
        {DISPLAY_KEYS, "keyboard"},
        {DISPLAY_RELATIVE, "mouse"},
        {DISPLAY_ABSOLUTE, "tablet"},
        {DISPLAY_TOUCH, "touch screen"},
    };
    char *name = in->capabilities.name;
    size_t size = sizeof(in->capabilities.name);

    snprintf(name, size, "Vireo");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (kinds & names[i].kind)
            snprintf(name + strlen(name), size - strlen(name), " %s", names[i].name);
    in->capabilities.ids =
        (struct input_id){.bustype = BUS_VIRTUAL, .product = (uint16_t)kinds, .version = 1};
}

static int take_text(char out[INPUT_ANSWER_MAX + 1], const char *key, const char *text,
                     struct error *err)
{
    if (!text)
        return 0;
    if (!*text || strlen(text) > INPUT_ANSWER_MAX)
        return error_set(err, EINVAL, "%s: must have 1 to %d bytes", key, INPUT_ANSWER_MAX);
    strcpy(out, text);
    return 0;
}

static int check_options(const struct input_options *o, struct error *err)
{
    if (o->evdev && o->script)
        return error_set(err, EINVAL, "script: there is evdev= already");
    if (o->evdev && o->kind != INPUT_AUTO)
        return error_set(err, EINVAL, "kind: the device of evdev= is what it is");
    if (!o->evdev && !o->grab)
        return error_set(err, EINVAL, "grab: goes with evdev=");
    if (input_is_fed_by_display(o) && o->kind == INPUT_AUTO)
        return error_set(err, EINVAL,
                         "kind: must be keyboard, mouse, tablet or multitouch without evdev= or "
                         "script=");
    if (input_is_fed_by_display(o) && !o->display)
        return error_set(err, EINVAL,
                         "kind: there is no display here to feed it: evdev= or script= would");
    if (o->output && (!input_is_fed_by_display(o) || o->kind < INPUT_TABLET))
        return error_set(err, EINVAL,
                         "output: goes with kind=tablet and kind=multitouch of a display");
    return 0;
}

static int open_source(struct input *in, struct error *err)
{
    const struct input_options *o = in->options;
    int ret = check_options(o, err);

    if (!ret)
        ret = o->evdev    ? input_source_evdev(in, err)
              : o->script ? input_source_script(in, err)
                          : input_source_display(in, err);
    if (!ret)
        ret = take_text(in->capabilities.name, "name", o->name, err);
    return ret ? ret : take_text(in->capabilities.serial, "serial", o->serial, err);
}

static void destroy(void *model)
{
    struct input *in = model;

    if (in->source)
        in->source->destroy(in);
    free(in->buffers);
    free(in);
}

static int create(struct virtio_builtin *b, const void *options, void **out, struct error *err)
{
    struct input *in = calloc(1, sizeof(*in));
    int ret;

    if (in)
        in->buffers = calloc(virtio_builtin_queue_size(b), sizeof(struct virtqueue_buffer *));
    if (!in || !in->buffers) {
        free(in);
        return error_set(err, ENOMEM, "no memory for an input device");
    }
    in->builtin = b;
    in->options = options;
    input_events_reset(in);
    ret = open_source(in, err);
    if (ret) {
        destroy(in);
        return ret;
    }
    *out = in;
    return 0;
}

static int start(void *model, struct error *err)
{
    struct input *in = model;

    return in->source->start ? in->source->start(in, err) : 0;
}

const struct virtio_model vireo_module_input = {
    .name = "input",
    .id = VIRTIO_ID_INPUT,
    .create = create,
    .destroy = destroy,
    .start = start,
    .get_features = get_features,
    .config_read = config_read,
    .config_write = config_write,
    .queue_ready = queue_ready,
    .reset = reset,
    .state = &state,
};
