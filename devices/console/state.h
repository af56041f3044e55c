/*
 * One virtio-console device: what console.c, port.c and control.c share.
 *
 * All of it belongs to the device's loop, except where said otherwise.
 */
#ifndef DEVICES_CONSOLE_STATE_H
#define DEVICES_CONSOLE_STATE_H

#include "devices/chardev/chardev.h"
#include "devices/console/console.h"

#include <stdatomic.h>

/* 5.3.3 Feature bits (CON-02) */
enum console_feature {
    CONSOLE_F_SIZE = 0,
    CONSOLE_F_MULTIPORT = 1,
    CONSOLE_F_EMERG_WRITE = 2,
};

/* 5.3.2 Virtqueues (CON-01): receive and transmit of port 0, control in, control out, then receive
 * and transmit of port 1, and so on. */
enum console_queue { CONSOLE_QUEUE_CONTROL_IN = 2, CONSOLE_QUEUE_CONTROL_OUT = 3 };

#define CONSOLE_PORTS_MAX 32 /* with port 0 */
#define CONSOLE_NAME_MAX  64 /* bytes of a port's name */

/* Buffers filled by one read of the host, and published together. */
#define CONSOLE_RECEIVE_BATCH 8

/* What the driver is still to be told of a port, in this order. Each message tells how things are
 * when it is sent: however long the driver has no buffer for them, these bits are all there is. */
enum console_news {
    CONSOLE_NEWS_ADD = 1,
    CONSOLE_NEWS_CONSOLE = 2,
    CONSOLE_NEWS_NAME = 4,
    CONSOLE_NEWS_OPEN = 8,
    CONSOLE_NEWS_RESIZE = 16,
};

struct console_port {
    struct console *console;
    uint16_t id;
    char name[CONSOLE_NAME_MAX + 1]; /* "" for port 0 */
    char label[128];                 /* device and port, for messages */
    struct chardev *chardev;         /* NULL: port 0 without `to` */

    /* While the queue runs, and since its first kick; else NULL. */
    struct virtqueue *receive_queue, *transmit_queue;

    /* Popped and not yet filled: where the next input goes. */
    struct virtqueue_buffer *receive_buffers[CONSOLE_RECEIVE_BATCH];
    unsigned receive_count;

    /* Popped, and how much of it is written; or NULL. */
    struct virtqueue_buffer *transmit_buffer;
    size_t transmitted;

    struct loop_task transmit_task; /* there is more to do, after others had their turn */

    /* With MULTIPORT: */
    unsigned news;       /* enum console_news */
    bool added, ready;   /* DEVICE_ADD was sent; the driver said PORT_READY */
    bool guest_open;     /* as the driver said by PORT_OPEN */
    bool reply_expected; /* the PORT_OPEN that answers CONSOLE_PORT (DRV-CON-03) */
};

struct console {
    struct virtio_builtin *builtin;
    struct virtio_features negotiated;
    atomic_uint size;             /* columns, and rows from bit 16 on; 0: unknown. Any thread. */
    struct loop_timer size_timer; /* see console_driver_started */
    bool size_given;              /* by the user: the terminal's does not matter */
    enum console_resize_order resize_order;

    struct virtqueue *control_in; /* while it runs, and since its first kick; else NULL */
    bool control_ready;           /* the driver said DEVICE_READY */
    bool ports_announced;         /* to a driver, perhaps before a reset */
    uint64_t drain_until_ns; /* how long stopping queues may wait for slow hosts; 0: not begun */

    uint16_t port_count; /* at least 1: port 0 */
    struct console_port ports[CONSOLE_PORTS_MAX];
};

static inline bool console_multiport(const struct console *console)
{
    return features_has(&console->negotiated, CONSOLE_F_MULTIPORT);
}

/* port.c */
int console_port_open(struct console_port *port, const char *where, struct error *err);
int console_port_start(struct console_port *port, struct error *err);
void console_port_close(struct console_port *port);
int console_port_receive_ready(struct console_port *port, struct virtqueue *queue);
int console_port_transmit_ready(struct console_port *port, struct virtqueue *queue);
void console_port_receive_drain(struct console_port *port);
void console_port_transmit_drain(struct console_port *port, struct virtqueue *queue);
void console_port_guest_opened(struct console_port *port, bool open);

/* console.c: the driver sends for the first time: it is up. */
void console_driver_started(struct console *console);
void console_driver_stopped(struct console *console);

/* console.c, foreign.c: 5.3.2, with so many named ports. */
uint16_t console_queue_count(size_t ports);

extern const struct virtio_foreign_type console_foreign;

/* console.c: the console has this size now. */
void console_set_size(struct console *console, uint16_t columns, uint16_t rows);

/* control.c */
int console_control_in_ready(struct console *console, struct virtqueue *queue);
int console_control_out_ready(struct console *console, struct virtqueue *queue);
void console_control_reset(struct console *console);

/* Something changed: tell the driver, now or when it has buffers for it. Nothing without MULTIPORT,
 * or before the driver is ready for the port. */
void console_control_tell(struct console_port *port, enum console_news news);

#endif
