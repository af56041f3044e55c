/*
 * virtio-console (specification 5.3): ports that carry bytes between the guest and the host.
 *
 * Port 0 is the console, a terminal of the guest's (hvc0 in Linux). With `port=` there are further
 * ones, which the guest finds by their names (/dev/virtio-ports/NAME in Linux), and the device
 * offers MULTIPORT; without it there is port 0 alone. Every port leads to a character device
 * (devices/chardev).
 *
 *   console.c   options, features, configuration, commands
 *   port.c      the data path of one port
 *   control.c   the control queues of MULTIPORT
 *   foreign.c   consoles that another process serves
 *
 * Nothing is buffered here either. Output stays in the guest's buffer until the host took all of
 * it; input stays with the host until the guest has a buffer for it, and while the guest does not
 * have the port open. Where nobody is connected output is dropped, as on a serial line.
 */
#ifndef DEVICES_CONSOLE_CONSOLE_H
#define DEVICES_CONSOLE_CONSOLE_H

#include "virtio/builtin.h"

struct console_options {
    char *to;                    /* where port 0 goes; NULL: there is none but in name */
    struct option_strings ports; /* "NAME:WHERE" */
    char *winsize;               /* "COLUMNSxROWS"; NULL: the terminal's */
    int resize;                  /* enum console_resize_order */
};

/* 5.3.6.2 has columns first in RESIZE messages. Linux has read rows first since it knows them. */
enum console_resize_order { CONSOLE_RESIZE_SPEC, CONSOLE_RESIZE_LINUX };

extern const struct virtio_model console_model;

#endif
