/*
 * The power hardware of ACPI's hardware-reduced profile, and the paravirtual panic port.
 *
 * Three I/O ports from `port`, for the FADT: sleep control, sleep status (ACPI 6.4,
 * section 4.8.3.7) and reset (section 4.8.3.6). One more for pvpanic (QEMU0001): the guest writes
 * why it panicked. The power button is an edge on line `gsi`, for a generic event device.
 */
#ifndef DEVICES_POWER_H
#define DEVICES_POWER_H

#include "base/error.h"
#include "base/platform.h"

#include <stdint.h>

/* What the tables must say, for the `port` of power_create. */
#define POWER_SLEEP_CONTROL(port) ((uint16_t)(port))
#define POWER_SLEEP_STATUS(port)  ((uint16_t)((port) + 1))
#define POWER_RESET_CONTROL(port) ((uint16_t)((port) + 2))
#define POWER_RESET_VALUE         0x01

/* SLP_TYPx of \_S5, soft off. */
#define POWER_SLEEP_TYPE_S5 5

enum power_event {
    POWER_OFF,
    POWER_RESET,
    POWER_PANIC, /* the guest's kernel is lost; it may still reset afterwards */
};

struct power;

/*
 * `event` is called on the vCPU's thread that asked, several at once on different ones, and returns
 * at once: the vCPU goes on until somebody stops it. pvpanic_port 0: none.
 */
int power_create(struct platform *platform, uint16_t port, uint16_t pvpanic_port, uint32_t gsi,
                 void (*event)(void *opaque, enum power_event event), void *opaque,
                 struct power **out, struct error *err);
void power_destroy(struct power *power);

/* Press and release the power button. Any thread, also in a signal handler. */
void power_button_press(struct power *power);

#endif
