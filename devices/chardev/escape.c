#include "devices/chardev/escape.h"

#define CTRL_A 0x01

enum escape_action escape_key(struct escape *escape, uint8_t key)
{
    if (!escape->prefixed) {
        escape->prefixed = key == CTRL_A;
        return escape->prefixed ? ESCAPE_SWALLOW : ESCAPE_PASS;
    }
    escape->prefixed = false;
    switch (key) {
    case CTRL_A:
        return ESCAPE_PASS;
    case 'x':
        return ESCAPE_QUIT;
    case 'c':
        return ESCAPE_BREAK;
    case 'h':
        return ESCAPE_HELP;
    default:
        return ESCAPE_SWALLOW;
    }
}
