/*
 * Escape keys on a terminal: Ctrl-A and one more.
 */
#ifndef DEVICES_CHARDEV_ESCAPE_H
#define DEVICES_CHARDEV_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

struct escape {
    bool prefixed; /* the last key was Ctrl-A */
};

enum escape_action {
    ESCAPE_PASS,    /* the key is the guest's */
    ESCAPE_SWALLOW, /* Ctrl-A, or an unknown key after it: nobody's */
    ESCAPE_QUIT,
    ESCAPE_BREAK,
    ESCAPE_HELP,
};

enum escape_action escape_key(struct escape *escape, uint8_t key);

#endif
