/*
 * Characters and named keys (X's keysyms, which is what VNC has) to the keys of a guest's keyboard,
 * by a layout of XKB's.
 */
#ifndef DEVICES_DISPLAY_VNC_KEYMAP_H
#define DEVICES_DISPLAY_VNC_KEYMAP_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct keymap;

struct keymap_key {
    uint16_t code;  /* KEY_... */
    bool character; /* it makes one: what follows matters */
    bool letter;    /* caps lock turns `shift` around */
    bool shift, alt_gr;
};

/* -EINVAL: XKB knows no such layout. */
int keymap_create(const char *layout, struct keymap **out, struct error *err);
void keymap_destroy(struct keymap *keymap);

/* How to make it, by the simplest way; false: the layout cannot. */
bool keymap_find(const struct keymap *keymap, uint32_t keysym, struct keymap_key *out);

#endif
