/*
 * What an input device has, and how its configuration says so (specification 5.8.4).
 */
#ifndef DEVICES_INPUT_MODEL_CAPABILITIES_H
#define DEVICES_INPUT_MODEL_CAPABILITIES_H

#include <linux/input.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 5.8.4: select, subsel, size, 5 reserved bytes, and the answer. */
enum input_config_offset {
    INPUT_CONFIG_SELECT = 0,
    INPUT_CONFIG_SUBSEL = 1,
    INPUT_CONFIG_SIZE = 2,
    INPUT_CONFIG_ANSWER = 8,
    INPUT_CONFIG_BYTES = 136,
};
#define INPUT_ANSWER_MAX (INPUT_CONFIG_BYTES - INPUT_CONFIG_ANSWER)

enum input_config_select {
    INPUT_SELECT_UNSET = 0x00,
    INPUT_SELECT_ID_NAME = 0x01,
    INPUT_SELECT_ID_SERIAL = 0x02,
    INPUT_SELECT_ID_DEVIDS = 0x03,
    INPUT_SELECT_PROP_BITS = 0x10,
    INPUT_SELECT_EV_BITS = 0x11,
    INPUT_SELECT_ABS_INFO = 0x12,
};

#define INPUT_SLOTS       10  /* fingers of a touch screen */
#define INPUT_WHEEL_NOTCH 120 /* in REL_WHEEL_HI_RES */

struct input_capabilities {
    char name[INPUT_ANSWER_MAX + 1], serial[INPUT_ANSWER_MAX + 1];
    struct input_id ids;
    uint8_t properties[(INPUT_PROP_CNT + 7) / 8];
    uint8_t codes[EV_CNT][KEY_CNT / 8]; /* a type without a code is not there */
    struct input_absinfo axes[ABS_CNT]; /* of the codes of EV_ABS that are */
};

bool input_has(const struct input_capabilities *c, unsigned type, unsigned code);

/* Both may be any number; what is out of range is nothing. */
void input_add(struct input_capabilities *c, unsigned type, unsigned code);

/* Everything a device of these kinds (enum display_input_kind) has. */
void input_add_kinds(struct input_capabilities *c, unsigned kinds);

/* A key that our keyboards have. */
bool input_is_key(unsigned code);

/* The configuration with these two written to it, all bytes; size 0 where there is no answer. */
void input_config_fill(const struct input_capabilities *c, uint8_t select, uint8_t subsel,
                       uint8_t out[INPUT_CONFIG_BYTES]);

#endif
