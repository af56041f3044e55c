#include "devices/input/input.h"

#include "base/bytes.h"
#include "virtio/device.h"

#define INPUT_CONFIG_SIZE 136 /* 5.8.4 */
#define INPUT_QUEUES      2   /* 5.8.2: eventq, statusq */

static const char *const kinds[] = {"auto", "keyboard", "mouse", "tablet", "multitouch", NULL};

static const struct option_spec input_option_specs[] = {
    {.key = "kind",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct input_options, kind),
     .initial = "auto",
     .choices = kinds,
     .help = "what it is; auto: as evdev= is, or what script= uses"},
    {.key = "evdev",
     .type = OPTION_STRING,
     .offset = offsetof(struct input_options, evdev),
     .metavar = "PATH",
     .help = "pass this device of the host's through, as in /dev/input/event3"},
    {.key = "grab",
     .type = OPTION_BOOL,
     .offset = offsetof(struct input_options, grab),
     .initial = "on",
     .help = "evdev: nobody else on the host gets its events"},
    {.key = "script",
     .type = OPTION_STRING,
     .offset = offsetof(struct input_options, script),
     .metavar = "FILE",
     .help = "timed events, from when the guest's driver is ready ('vireo help input-script')"},
    {.key = "name",
     .type = OPTION_STRING,
     .offset = offsetof(struct input_options, name),
     .help = "as the guest sees it, at most 128 bytes (default: by its kind)"},
    {.key = "serial",
     .type = OPTION_STRING,
     .offset = offsetof(struct input_options, serial),
     .help = "the same, of its serial number (default: none)"},
    {.key = "output",
     .type = OPTION_STRING,
     .offset = offsetof(struct input_options, output),
     .metavar = "N",
     .help = "tablet, multitouch: only of this output of the display (default: any)"},
};

static uint16_t input_virtqueue_count(const void *options, uint16_t queues)
{
    (void)options, (void)queues;
    return INPUT_QUEUES;
}

static struct display **input_display(void *options)
{
    return &((struct input_options *)options)->display;
}

static int input_describe(const void *options, struct virtio_foreign *out, struct error *err)
{
    (void)options, (void)err;
    out->queue_count = INPUT_QUEUES;
    return 0;
}

static const struct virtio_foreign_type input_foreign = {.describe = input_describe};

const struct virtio_model input_model = {
    .name = "input",
    .id = VIRTIO_ID_INPUT,
    .help = "a keyboard, mouse, tablet or touch screen",
    .options = input_option_specs,
    .option_count = ARRAY_SIZE(input_option_specs),
    .options_size = sizeof(struct input_options),
    .config_size = INPUT_CONFIG_SIZE,
    .queues_default = 1,
    .queues_max = 1,
    .queue_size_default = 64,
    .virtqueue_count = input_virtqueue_count,
    .foreign = &input_foreign,
    .display = input_display,
    .module = "input",
};
