/*
 * Keys by their place on the keyboard: SDL's scancodes (USB's usages) to Linux' key codes.
 */
#ifndef DEVICES_DISPLAY_SDL_KEYS_H
#define DEVICES_DISPLAY_SDL_KEYS_H

#include <stdint.h>

/* KEY_...; 0 (KEY_RESERVED) where Linux has none. Any int. */
uint16_t sdl_key_code(int scancode);

#endif
