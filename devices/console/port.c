/*
 * The data path of one port: a character device on one side, two virtqueues on the other.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/console/state.h"

#include <stdio.h>

#define TURN_BYTES  (256 * KIB) /* written before others get their turn */
#define WRITE_BYTES (64 * KIB)  /* in one call of the host */
#define EMPTY_COST  64          /* what a buffer costs of a turn besides its bytes */

#define DRAIN_NS       UINT64_C(2000000000) /* for all ports of a device together */
#define DRAIN_PATIENCE 500                  /* ms without progress */
#define DRAIN_BYTES    (4 * KIB)

#define SYSRQ 0x0f /* Ctrl-O: what a break is on Linux's hypervisor consoles (drivers/tty/hvc) */

static const char *name_of(const struct console_port *port)
{
    return virtio_builtin_name(port->console->builtin);
}

/* --- input ----------------------------------------------------------------------------------- */

/* The first so many buffers were pushed. */
static void receive_drop(struct console_port *port, unsigned count)
{
    port->receive_count -= count;
    memmove(port->receive_buffers, port->receive_buffers + count,
            port->receive_count * sizeof(port->receive_buffers[0]));
}

/* Buffers without a byte of room go back, but not before those in front of them: what was popped
 * can only be taken back as a whole. */
static void receive_return_empty(struct console_port *port)
{
    while (port->receive_count && !port->receive_buffers[0]->writable_bytes) {
        virtqueue_push(port->receive_queue, port->receive_buffers[0], 0);
        receive_drop(port, 1);
    }
}

/* Take one more buffer for input; false when the driver has none. */
static bool receive_pop(struct console_port *port)
{
    struct virtqueue *queue = port->receive_queue;
    struct virtqueue_buffer *buffer;
    int r = virtqueue_pop(queue, &buffer);

    if (r < 0)
        virtio_builtin_broken(port->console->builtin, queue);
    if (r <= 0)
        return false;
    if (buffer->readable_count)
        log_limited(LOG_INFO, "console", "%s: port %u: DRV-CON-01: a receive buffer is readable",
                    name_of(port), port->id);
    port->receive_buffers[port->receive_count++] = buffer;
    receive_return_empty(port);
    return true;
}

/* Is the guest's program there to read (CON-16)? Without MULTIPORT nobody says. */
static bool guest_is_open(const struct console_port *port)
{
    return !console_multiport(port->console) || port->guest_open;
}

/* CON-14: what finds no room stays with the host. */
static size_t port_room(void *opaque)
{
    struct console_port *port = opaque;
    size_t room = 0;

    if (!port->receive_queue || !guest_is_open(port))
        return 0;
    receive_return_empty(port);
    for (unsigned i = 0; i < port->receive_queue->size; i++)
        if (port->receive_count == CONSOLE_RECEIVE_BATCH || !receive_pop(port))
            break;
    virtqueue_publish(port->receive_queue);
    for (unsigned i = 0; i < port->receive_count; i++)
        room += port->receive_buffers[i]->writable_bytes;
    return room;
}

/* Never more than there was room for. */
static void port_receive(void *opaque, const uint8_t *data, size_t len)
{
    struct console_port *port = opaque;
    unsigned used = 0;

    while (len && used < port->receive_count) {
        struct virtqueue_buffer *buffer = port->receive_buffers[used++];
        size_t done = virtqueue_write(buffer, 0, data, len);

        virtqueue_push(port->receive_queue, buffer, (uint32_t)done); /* CON-15 */
        data += done;
        len -= done;
    }
    receive_drop(port, used);
    if (used)
        virtqueue_publish(port->receive_queue);
}

static void port_break(void *opaque)
{
    static const uint8_t sysrq = SYSRQ;

    if (port_room(opaque))
        port_receive(opaque, &sysrq, 1);
}

int console_port_receive_ready(struct console_port *port, struct virtqueue *queue)
{
    port->receive_queue = queue;
    if (port->chardev)
        chardev_resume(port->chardev);
    return 0;
}

void console_port_receive_drain(struct console_port *port)
{
    while (port->receive_count)
        virtqueue_unpop(port->receive_queue, port->receive_buffers[--port->receive_count]);
    port->receive_queue = NULL;
}

void console_port_guest_opened(struct console_port *port, bool open)
{
    port->guest_open = open;
    if (open && port->chardev)
        chardev_resume(port->chardev);
}

/* --- output ---------------------------------------------------------------------------------- */

/* Write the buffer on from where it stopped, at most `most` bytes. Returns how many the host took;
 * what goes nowhere counts as taken. */
static size_t write_part(struct console_port *port, size_t most,
                         size_t (*write)(struct chardev *chardev, const uint8_t *data, size_t len))
{
    const struct virtqueue_buffer *buffer = port->transmit_buffer;
    size_t skip = port->transmitted, taken = 0;

    for (unsigned i = 0; i < buffer->readable_count && taken < most; i++) {
        const struct iovec *iov = &buffer->readable[i];
        size_t len, done;

        if (skip >= iov->iov_len) {
            skip -= iov->iov_len;
            continue;
        }
        len = MIN(iov->iov_len - skip, most - taken);
        done = port->chardev ? write(port->chardev, (uint8_t *)iov->iov_base + skip, len) : len;
        taken += done;
        if (done < len)
            break;
        skip = 0;
    }
    port->transmitted += taken;
    return taken;
}

/* The buffer to be written: 1, 0 when there is none, or what is wrong with the queue. */
static int transmit_buffer(struct console_port *port)
{
    int r;

    if (port->transmit_buffer)
        return 1;
    r = virtqueue_pop(port->transmit_queue, &port->transmit_buffer);
    if (r <= 0)
        return r;
    port->transmitted = 0;
    if (port->transmit_buffer->writable_count)
        log_limited(LOG_INFO, "console", "%s: port %u: DRV-CON-01: a transmit buffer is writable",
                    name_of(port), port->id);
    return 1;
}

static void transmit_buffer_done(struct console_port *port)
{
    virtqueue_push(port->transmit_queue, port->transmit_buffer, 0); /* CON-15 */
    port->transmit_buffer = NULL;
}

/* Until there is no more, or the host takes no more now, or it is others' turn. */
static int transmit(struct console_port *port)
{
    size_t left = TURN_BYTES;

    while (left > EMPTY_COST) {
        size_t most = MIN(left, WRITE_BYTES), taken;
        int r = transmit_buffer(port);

        if (r <= 0)
            return r;
        taken = write_part(port, most, chardev_write);
        if (port->transmitted == port->transmit_buffer->readable_bytes) {
            transmit_buffer_done(port);
            left -= EMPTY_COST;
        } else if (taken < most) {
            return 0; /* port_writable goes on */
        }
        left -= MIN(taken, left);
    }
    loop_post(virtio_builtin_loop(port->console->builtin), &port->transmit_task);
    return 0;
}

int console_port_transmit_ready(struct console_port *port, struct virtqueue *queue)
{
    if (!port->transmit_queue && port->id == 0)
        console_driver_started(port->console);
    port->transmit_queue = queue;
    port->console->drain_until_ns = 0;
    return transmit(port);
}

/* The same, but not called for the queue. */
static void transmit_on(struct console_port *port)
{
    struct virtqueue *queue = port->transmit_queue;
    int r;

    if (!queue)
        return;
    r = transmit(port);
    virtqueue_publish(queue);
    if (r < 0)
        virtio_builtin_broken(port->console->builtin, queue);
}

static void port_writable(void *opaque)
{
    transmit_on(opaque);
}

static void transmit_task_run(struct loop_task *task)
{
    transmit_on(container_of(task, struct console_port, transmit_task));
}

static size_t write_patiently(struct chardev *chardev, const uint8_t *data, size_t len)
{
    return chardev_write_wait(chardev, data, len, DRAIN_PATIENCE);
}

/* What the guest sent before it ended (or gave the queue back) still goes out, but a host that does
 * not read holds nobody up for ever. */
void console_port_transmit_drain(struct console_port *port, struct virtqueue *queue)
{
    struct console *console = port->console;
    uint64_t now = loop_now_ns();
    bool stuck = false;

    loop_task_cancel(virtio_builtin_loop(console->builtin), &port->transmit_task);
    port->transmit_queue = queue; /* its first kick may still be on its way */
    if (port->id == 0)
        console_driver_stopped(console);
    if (!console->drain_until_ns)
        console->drain_until_ns = now + DRAIN_NS;
    while (!stuck && now < console->drain_until_ns && transmit_buffer(port) > 0) {
        size_t wanted = MIN(port->transmit_buffer->readable_bytes - port->transmitted, DRAIN_BYTES);

        stuck = write_part(port, wanted, write_patiently) < wanted;
        if (port->transmitted == port->transmit_buffer->readable_bytes)
            transmit_buffer_done(port);
        now = loop_now_ns();
    }
    if (stuck)
        console->drain_until_ns = now; /* waited enough, also for the others */
    if (port->transmit_buffer) {
        log_limited(LOG_WARN, "console", "%s: port %u: nobody reads: output is lost", name_of(port),
                    port->id);
        transmit_buffer_done(port);
    }
    port->transmit_queue = NULL;
}

/* --- the host's side ------------------------------------------------------------------------- */

static void port_opened(void *opaque, bool open)
{
    (void)open; /* the message tells how it is when it is sent */
    console_control_tell(opaque, CONSOLE_NEWS_OPEN);
}

static void port_resized(void *opaque)
{
    struct console_port *port = opaque;
    uint16_t columns, rows;

    if (port->id == 0 && !port->console->size_given && chardev_size(port->chardev, &columns, &rows))
        console_set_size(port->console, columns, rows);
}

int console_port_open(struct console_port *port, const char *where, struct error *err)
{
    const struct chardev_client client = {
        .room = port_room,
        .receive = port_receive,
        .writable = port_writable,
        .opened = port_opened,
        .resized = port_resized,
        .opaque = port,
    };
    int ret = chardev_open(where, virtio_builtin_loop(port->console->builtin), &port->chardev, err);

    if (ret)
        return ret;
    port->transmit_task.run = transmit_task_run;
    chardev_set_client(port->chardev, &client);
    chardev_set_break(port->chardev, port_break, port);
    return 0;
}

int console_port_start(struct console_port *port, struct error *err)
{
    int ret;

    if (!port->chardev)
        return 0;
    snprintf(port->label, sizeof(port->label), "%s%s%s", name_of(port), port->id ? " port " : "",
             port->name);
    chardev_set_name(port->chardev, port->label);
    ret = chardev_start(port->chardev, err);
    if (!ret)
        port_resized(port);
    return ret;
}

void console_port_close(struct console_port *port)
{
    if (port->chardev)
        chardev_set_client(port->chardev, NULL);
    chardev_close(port->chardev);
}
