#include "devices/console/console.h"

#include "base/bytes.h"
#include "devices/console/state.h"
#include "virtio/device.h"

#include <errno.h>
#include <stdlib.h>

#define SIZE_DELAY_NS UINT64_C(100000000)

static const char *const resize_orders[] = {"spec", "linux", NULL};

static const struct option_spec console_option_specs[] = {
    {.key = "to",
     .type = OPTION_STRING,
     .offset = offsetof(struct console_options, to),
     .metavar = "WHERE",
     .help = "the console (port 0, hvc0): stdio, null, file:PATH, pty, unix:PATH or fd:N"},
    {.key = "port",
     .type = OPTION_STRINGS,
     .offset = offsetof(struct console_options, ports),
     .metavar = "NAME:WHERE",
     .help = "one more port, /dev/virtio-ports/NAME in the guest; may be given again"},
    {.key = "winsize",
     .type = OPTION_STRING,
     .offset = offsetof(struct console_options, winsize),
     .metavar = "COLUMNSxROWS",
     .help = "of the console (default: that of the terminal it is on)"},
    /* ERR-08 */
    {.key = "resize",
     .type = OPTION_CHOICE,
     .offset = offsetof(struct console_options, resize),
     .initial = "spec",
     .choices = resize_orders,
     .help = "RESIZE messages as specified, or as Linux reads them (with port)"},
};

static const struct virtio_feature_name console_feature_names[] = {
    {"size", CONSOLE_F_SIZE, -1, "columns and rows of the console"},
    {"multiport", CONSOLE_F_MULTIPORT, -1, "more ports, and messages about them (with port=)"},
    {"emerg_write", CONSOLE_F_EMERG_WRITE, -1, "output without a queue (with to=)"},
};

static bool parse_size(const char *text, uint16_t *columns, uint16_t *rows)
{
    char first[8] = "";
    size_t length = strcspn(text, "x");
    uint64_t c, r;

    if (length >= sizeof(first) || !text[length])
        return false;
    memcpy(first, text, length);
    if (option_parse_uint("columns", first, 1, UINT16_MAX, &c, NULL) ||
        option_parse_uint("rows", text + length + 1, 1, UINT16_MAX, &r, NULL))
        return false;
    *columns = (uint16_t)c;
    *rows = (uint16_t)r;
    return true;
}

/* CON-12 */
void console_set_size(struct console *console, uint16_t columns, uint16_t rows)
{
    unsigned size = columns | (unsigned)rows << 16;

    if (atomic_exchange(&console->size, size) == size)
        return;
    if (features_has(&console->negotiated, CONSOLE_F_SIZE))
        virtio_builtin_config_changed(console->builtin);
    console_control_tell(&console->ports[0], CONSOLE_NEWS_RESIZE);
}

/*
 * Linux looks at the size in the configuration only when it is told of a change, and then only once
 * its console is registered, some time after it began to use it. So it is told then.
 */
static void size_timer_expired(struct loop_timer *timer)
{
    virtio_builtin_config_changed(container_of(timer, struct console, size_timer)->builtin);
}

void console_driver_started(struct console *console)
{
    if (features_has(&console->negotiated, CONSOLE_F_SIZE) && !console_multiport(console) &&
        atomic_load(&console->size))
        loop_timer_set(virtio_builtin_loop(console->builtin), &console->size_timer, SIZE_DELAY_NS);
}

void console_driver_stopped(struct console *console)
{
    loop_timer_cancel(virtio_builtin_loop(console->builtin), &console->size_timer);
}

static int command_size(void *model, const char *argument, struct error *err)
{
    uint16_t columns, rows;

    if (!parse_size(argument, &columns, &rows))
        return error_set(err, EINVAL, "'%s' is no size, such as 80x25", argument);
    console_set_size(model, columns, rows);
    return 0;
}

static const struct virtio_command console_commands[] = {
    {"size", "COLUMNSxROWS", "tell the guest the size of its console", command_size},
};

/* --- queues ---------------------------------------------------------------------------------- */

uint16_t console_queue_count(size_t ports)
{
    return (uint16_t)(ports ? 4 + 2 * ports : 2);
}

static uint16_t console_virtqueue_count(const void *options, uint16_t queues)
{
    const struct console_options *o = options;

    (void)queues;
    return console_queue_count(
        MIN(o->ports.count, (size_t)CONSOLE_PORTS_MAX - 1)); /* create refuses more */
}

/* The port a queue belongs to; not the control queues. */
static struct console_port *queue_port(struct console *console, uint16_t index)
{
    return &console->ports[index < CONSOLE_QUEUE_CONTROL_IN ? 0 : index / 2 - 1];
}

static int console_queue_ready(void *model, struct virtqueue *queue)
{
    struct console *console = model;

    if (queue->index >= CONSOLE_QUEUE_CONTROL_IN && !console_multiport(console))
        return 0; /* CON-01: they do not exist */
    if (queue->index == CONSOLE_QUEUE_CONTROL_IN)
        return console_control_in_ready(console, queue);
    if (queue->index == CONSOLE_QUEUE_CONTROL_OUT)
        return console_control_out_ready(console, queue);
    if (queue->index % 2)
        return console_port_transmit_ready(queue_port(console, queue->index), queue);
    return console_port_receive_ready(queue_port(console, queue->index), queue);
}

static void console_queue_drain(void *model, struct virtqueue *queue)
{
    struct console *console = model;

    if (queue->index >= CONSOLE_QUEUE_CONTROL_IN && !console_multiport(console))
        return; /* not served */
    if (queue->index == CONSOLE_QUEUE_CONTROL_IN)
        console->control_in = NULL;
    else if (queue->index == CONSOLE_QUEUE_CONTROL_OUT)
        return; /* every message was handled when it came */
    else if (queue->index % 2)
        console_port_transmit_drain(queue_port(console, queue->index), queue);
    else
        console_port_receive_drain(queue_port(console, queue->index));
}

/* --- features and configuration -------------------------------------------------------------- */

static void console_get_features(void *model, struct virtio_features *out)
{
    const struct console *console = model;

    features_set(out, CONSOLE_F_SIZE, true);
    features_set(out, CONSOLE_F_MULTIPORT, console->port_count > 1);
    features_set(out, CONSOLE_F_EMERG_WRITE, console->ports[0].chardev != NULL);
}

static void console_set_features(void *model, const struct virtio_features *negotiated)
{
    struct console *console = model;

    console->negotiated = *negotiated;
}

static void console_reset(void *model)
{
    struct console *console = model;

    console->negotiated = (struct virtio_features){0};
    console_control_reset(console);
}

/* 5.3.4 (CON-03). Columns come first, as in all devices and drivers there are (ERR-08). */
enum console_config_offset {
    CONSOLE_CONFIG_COLUMNS = 0,
    CONSOLE_CONFIG_ROWS = 2,
    CONSOLE_CONFIG_MAX_PORTS = 4,
    CONSOLE_CONFIG_EMERGENCY = 8,
    CONSOLE_CONFIG_SIZE = 12,
};

static void console_config_read(void *model, uint32_t offset, void *data, uint32_t len)
{
    struct console *console = model;
    unsigned size = atomic_load(&console->size);
    uint8_t config[CONSOLE_CONFIG_SIZE] = {0};

    store_le16(config + CONSOLE_CONFIG_COLUMNS, (uint16_t)size);
    store_le16(config + CONSOLE_CONFIG_ROWS, (uint16_t)(size >> 16));
    store_le32(config + CONSOLE_CONFIG_MAX_PORTS, console->port_count);
    memset(data, 0, len);
    if (offset < sizeof(config))
        memcpy(data, config + offset, MIN(len, sizeof(config) - offset));
}

/* CON-04, CON-05: at any time, whatever the driver has set up. A host that is full loses it: there
 * is nowhere to keep it. */
static void console_config_write(void *model, uint32_t offset, const void *data, uint32_t len)
{
    struct console *console = model;

    if (offset == CONSOLE_CONFIG_EMERGENCY && len && console->ports[0].chardev)
        chardev_write(console->ports[0].chardev, data, 1);
}

/* --- life ------------------------------------------------------------------------------------ */

static int console_start(void *model, struct error *err)
{
    struct console *console = model;
    int ret = 0;

    for (uint16_t i = 0; i < console->port_count && !ret; i++)
        ret = console_port_start(&console->ports[i], err);
    return ret;
}

static bool name_taken(const struct console *console, const char *name)
{
    for (uint16_t i = 1; i < console->port_count; i++)
        if (strcmp(console->ports[i].name, name) == 0)
            return true;
    return false;
}

/* "NAME:WHERE" */
static int add_port(struct console *console, const char *text, struct error *err)
{
    struct console_port *port = &console->ports[console->port_count];
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;

    if (!length || !colon[1])
        return error_set(err, EINVAL, "port: '%s' is not like NAME:WHERE", text);
    if (length > CONSOLE_NAME_MAX || memchr(text, '/', length))
        return error_set(err, EINVAL, "port: '%.*s': a name has at most %d bytes and no '/'",
                         (int)length, text, CONSOLE_NAME_MAX);
    if (console->port_count == CONSOLE_PORTS_MAX)
        return error_set(err, EINVAL, "port: at most %d", CONSOLE_PORTS_MAX - 1);
    memcpy(port->name, text, length);
    if (name_taken(console, port->name))
        return error_set(err, EINVAL, "port: '%s' is named twice", port->name);
    port->console = console;
    port->id = console->port_count++;
    if (console_port_open(port, colon + 1, err)) {
        error_prefix(err, "port: %s", port->name);
        return -EINVAL;
    }
    return 0;
}

static int console_open(struct console *console, const struct console_options *o, struct error *err)
{
    uint16_t columns, rows;
    int ret = 0;

    if (!o->to && !o->ports.count)
        return error_set(err, EINVAL, "needs to=WHERE, or port=NAME:WHERE");
    if (o->winsize && !parse_size(o->winsize, &columns, &rows))
        return error_set(err, EINVAL, "winsize: '%s' is no size, such as 80x25", o->winsize);
    if (o->winsize)
        console_set_size(console, columns, rows);
    console->size_given = o->winsize;
    if (o->to)
        ret = console_port_open(&console->ports[0], o->to, err);
    if (ret)
        error_prefix(err, "to");
    for (size_t i = 0; i < o->ports.count && !ret; i++)
        ret = add_port(console, o->ports.items[i], err);
    return ret;
}

static void console_destroy(void *model)
{
    struct console *console = model;

    for (uint16_t i = 0; i < console->port_count; i++)
        console_port_close(&console->ports[i]);
    free(console);
}

static int console_create(struct virtio_builtin *b, const void *options, void **out,
                          struct error *err)
{
    const struct console_options *o = options;
    struct console *console = calloc(1, sizeof(*console));
    int ret;

    if (!console)
        return error_errno(err, ENOMEM, "cannot create the console");
    console->builtin = b;
    console->resize_order = (enum console_resize_order)o->resize;
    console->size_timer.expired = size_timer_expired;
    console->port_count = 1;
    console->ports[0].console = console;
    ret = console_open(console, o, err);
    if (ret) {
        console_destroy(console);
        return ret;
    }
    *out = console;
    return 0;
}

const struct virtio_model console_model = {
    .name = "console",
    .id = VIRTIO_ID_CONSOLE,
    .help = "a terminal for the guest (hvc0), and ports it finds by name",
    .options = console_option_specs,
    .option_count = ARRAY_SIZE(console_option_specs),
    .options_size = sizeof(struct console_options),
    .features = console_feature_names,
    .feature_count = ARRAY_SIZE(console_feature_names),
    .config_size = CONSOLE_CONFIG_SIZE,
    .queues_default = 1,
    .queues_max = 1,
    .queue_size_default = 64,
    .virtqueue_count = console_virtqueue_count,
    .foreign = &console_foreign,
    .commands = console_commands,
    .command_count = ARRAY_SIZE(console_commands),
    .create = console_create,
    .destroy = console_destroy,
    .start = console_start,
    .get_features = console_get_features,
    .set_features = console_set_features,
    .config_read = console_config_read,
    .config_write = console_config_write,
    .queue_ready = console_queue_ready,
    .queue_drain = console_queue_drain,
    .reset = console_reset,
};
