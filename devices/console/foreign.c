/*
 * A console that another process serves: how many queues it has follows from its ports.
 */
#include "devices/console/state.h"

#include "base/bytes.h"

struct console_foreign_options {
    uint64_t ports; /* besides port 0 */
};

static const struct option_spec option_specs[] = {
    {.key = "ports",
     .type = OPTION_UINT,
     .offset = offsetof(struct console_foreign_options, ports),
     .max = CONSOLE_PORTS_MAX - 1,
     .help = "how many named ports it has besides the console"},
};

static int describe(const void *options, struct virtio_foreign *out, struct error *err)
{
    uint64_t ports = ((const struct console_foreign_options *)options)->ports;

    (void)err;
    out->queue_count = console_queue_count(ports);
    features_set(&out->masked, CONSOLE_F_MULTIPORT, !ports);
    return 0;
}

const struct virtio_foreign_type console_foreign = {
    .options = option_specs,
    .option_count = ARRAY_SIZE(option_specs),
    .options_size = sizeof(struct console_foreign_options),
    .describe = describe,
};
