/*
 * The control queues of MULTIPORT (specification 5.3.6.2).
 *
 * The driver says DEVICE_READY, is told of each port by DEVICE_ADD, says PORT_READY for it, and is
 * told the rest: CONSOLE_PORT, PORT_NAME, PORT_OPEN, RESIZE. Its messages are hostile: one that
 * breaks a rule is logged and dropped.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/console/state.h"

/* CON-06: le32 id, le16 event, le16 value. (Legacy: in the guest's byte order, CON-13, which is
 * little-endian on every guest we run.) */
#define MESSAGE_SIZE 8

/* 5.3.6.2 (CON-07) */
enum control_event {
    DEVICE_READY = 0,
    DEVICE_ADD = 1,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7,
};

struct message {
    uint8_t bytes[MESSAGE_SIZE + CONSOLE_NAME_MAX];
    size_t size;
};

/* --- to the driver --------------------------------------------------------------------------- */

static void message_begin(struct message *m, uint32_t id, enum control_event event, uint16_t value)
{
    store_le32(m->bytes, id);
    store_le16(m->bytes + 4, (uint16_t)event);
    store_le16(m->bytes + 6, value);
    m->size = MESSAGE_SIZE;
}

/* CON-08, ERR-08 */
static void message_add_size(struct message *m, const struct console *console)
{
    unsigned size = atomic_load(&console->size);
    uint16_t columns = (uint16_t)size, rows = (uint16_t)(size >> 16);
    bool rows_first = console->resize_order == CONSOLE_RESIZE_LINUX;

    store_le16(m->bytes + m->size, rows_first ? rows : columns);
    store_le16(m->bytes + m->size + 2, rows_first ? columns : rows);
    m->size += 4;
}

static void message_add_name(struct message *m, const struct console_port *port)
{
    size_t length = strlen(port->name);

    memcpy(m->bytes + m->size, port->name, length);
    m->size += length;
}

static void message_make(struct message *m, const struct console_port *port, enum console_news news)
{
    switch (news) {
    case CONSOLE_NEWS_ADD:
        message_begin(m, port->id, DEVICE_ADD, 1);
        break;
    case CONSOLE_NEWS_CONSOLE:
        message_begin(m, port->id, CONSOLE_PORT, 1);
        break;
    case CONSOLE_NEWS_NAME:
        message_begin(m, port->id, PORT_NAME, 1);
        message_add_name(m, port);
        break;
    case CONSOLE_NEWS_OPEN:
        message_begin(m, port->id, PORT_OPEN, chardev_is_open(port->chardev));
        break;
    case CONSOLE_NEWS_RESIZE:
        message_begin(m, port->id, RESIZE, 1);
        message_add_size(m, port->console);
        break;
    }
}

/* 1 when it was sent, 0 when the driver has no buffer, or what is wrong with the queue. */
static int message_send(struct console *console, const struct message *m)
{
    struct virtqueue_buffer *buffer;
    int r = virtqueue_pop(console->control_in, &buffer);

    if (r <= 0)
        return r;
    if (buffer->writable_bytes < m->size)
        log_limited(LOG_INFO, "console",
                    "%s: DRV-CON-04: a control buffer of %u bytes is too small",
                    virtio_builtin_name(console->builtin), buffer->writable_bytes);
    virtqueue_push(console->control_in, buffer,
                   (uint32_t)virtqueue_write(buffer, 0, m->bytes, m->size));
    return 1;
}

/* Send what there is to be told of the port. */
static int port_flush(struct console_port *port)
{
    while (port->news) {
        enum console_news news = (enum console_news)(port->news & -port->news);
        struct message m;
        int r;

        message_make(&m, port, news);
        r = message_send(port->console, &m);
        if (r <= 0)
            return r;
        port->news &= ~(unsigned)news;
        port->added |= news == CONSOLE_NEWS_ADD;
        port->reply_expected |= news == CONSOLE_NEWS_CONSOLE;
    }
    return 1;
}

static int control_flush(struct console *console)
{
    int r = 1;

    for (uint16_t i = 0; i < console->port_count && r > 0; i++)
        r = port_flush(&console->ports[i]);
    return MIN(r, 0);
}

/* As it is called outside of control_in's own turn. */
static void control_flush_now(struct console *console)
{
    if (!console->control_in)
        return;
    if (control_flush(console) < 0)
        virtio_builtin_broken(console->builtin, console->control_in);
    virtqueue_publish(console->control_in);
}

int console_control_in_ready(struct console *console, struct virtqueue *queue)
{
    console->control_in = queue;
    return control_flush(console);
}

void console_control_tell(struct console_port *port, enum console_news news)
{
    if (!port->ready)
        return;
    port->news |= news;
    control_flush_now(port->console);
}

/* --- from the driver ------------------------------------------------------------------------- */

static void driver_broke(const struct console *console, const char *rule, const char *what)
{
    log_limited(LOG_WARN, "console", "%s: %s: %s", virtio_builtin_name(console->builtin), rule,
                what);
}

/* CON-09, CON-11: every port is announced once. Port 0 that goes nowhere is not. */
static void device_ready(struct console *console, uint16_t value)
{
    if (value != 1) {
        driver_broke(console, "DRV-CON-02", "the driver could not set the device up");
        return;
    }
    if (console->control_ready)
        return;
    console->control_ready = console->ports_announced = true;
    for (uint16_t i = 0; i < console->port_count; i++)
        if (console->ports[i].chardev)
            console->ports[i].news = CONSOLE_NEWS_ADD;
}

/* Linux, when it resumes after a reset, remembers the ports and does not say DEVICE_READY again. */
static void not_ready(struct console *console)
{
    driver_broke(console, "DRV-CON-02", "a control message before DEVICE_READY");
    if (!console->ports_announced)
        return;
    console->control_ready = true;
    for (uint16_t i = 0; i < console->port_count; i++)
        console->ports[i].added = console->ports[i].chardev != NULL;
}

static void port_ready(struct console_port *port, uint16_t value)
{
    if (value != 1) {
        driver_broke(port->console, "DRV-CON-04", "the driver could not set a port up");
        return;
    }
    if (port->ready)
        return;
    port->ready = true;
    if (port->id == 0) {
        port->news |= CONSOLE_NEWS_CONSOLE;
        if (atomic_load(&port->console->size))
            port->news |= CONSOLE_NEWS_RESIZE;
    } else {
        port->news |= CONSOLE_NEWS_NAME;
    }
    if (chardev_is_open(port->chardev))
        port->news |= CONSOLE_NEWS_OPEN;
}

static void port_open(struct console_port *port, uint16_t value)
{
    if (port->reply_expected && value != 1)
        driver_broke(port->console, "DRV-CON-03", "CONSOLE_PORT is not answered by PORT_OPEN 1");
    port->reply_expected = false;
    console_port_guest_opened(port, value != 0);
}

static void handle_message(struct console *console, const uint8_t message[MESSAGE_SIZE])
{
    uint32_t id = load_le32(message);
    uint16_t event = load_le16(message + 4), value = load_le16(message + 6);
    struct console_port *port = id < console->port_count ? &console->ports[id] : NULL;

    if (event != DEVICE_READY && !console->control_ready)
        not_ready(console);
    if (event == DEVICE_READY)
        device_ready(console, value);
    else if (!console->control_ready)
        return;
    else if (event != PORT_READY && event != PORT_OPEN)
        driver_broke(console, "DRV-CON-04", "an event that is not the driver's, or unknown");
    else if (!port || !port->added)
        driver_broke(console, "DRV-CON-04", "a control message for a port that does not exist");
    else if (event == PORT_READY)
        port_ready(port, value);
    else
        port_open(port, value);
}

int console_control_out_ready(struct console *console, struct virtqueue *queue)
{
    bool framed = !features_has(&console->negotiated, VIRTIO_F_VERSION_1) &&
                  !features_has(&console->negotiated, VIRTIO_F_ANY_LAYOUT);
    struct virtqueue_buffer *buffer;
    int r;

    while ((r = virtqueue_pop(queue, &buffer)) > 0) {
        uint8_t message[MESSAGE_SIZE];

        if (framed && buffer->readable_count != 1) /* RING-18 */
            driver_broke(console, "DRV-CON-05", "a control message is not one descriptor");
        if (virtqueue_read(buffer, 0, message, sizeof(message)) < sizeof(message))
            driver_broke(console, "DRV-CON-04", "a control message has less than 8 bytes");
        else if (console_multiport(console))
            handle_message(console, message);
        virtqueue_push(queue, buffer, 0);
    }
    control_flush_now(console);
    return r;
}

void console_control_reset(struct console *console)
{
    console->control_ready = false;
    for (uint16_t i = 0; i < console->port_count; i++) {
        struct console_port *port = &console->ports[i];

        port->news = 0;
        port->added = port->ready = port->guest_open = port->reply_expected = false;
    }
}
