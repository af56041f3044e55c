/*
 * A 16550A serial port (National Semiconductor PC16550D), whose other end is a character device.
 *
 * Eight I/O ports from `port`; the interrupt is an edge on line `gsi` each time the port's
 * interrupt output rises, as on the ISA bus. The baud rate is kept but means nothing: bytes pass at
 * once.
 *
 * Output is collected and written out at the end of a line, when 1 KiB is there, or a millisecond
 * later. While the host's side takes nothing the transmitter stays busy (THRE and TEMT clear) once
 * 4 KiB wait; a guest that sends nevertheless overwrites, as in hardware.
 *
 * Input is held back at the host until the guest raises RTS (MCR bit 1), as a terminal with
 * hardware flow control does: nothing typed or piped before the guest's driver is up gets lost.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include "base/error.h"
#include "base/loop.h"
#include "base/platform.h"
#include "devices/chardev/chardev.h"

#include <stddef.h>
#include <stdint.h>

struct serial;

/* The platform, loop and character device must outlive the serial port. `loop` is the chardev's. */
int serial_create(struct platform *platform, struct loop *loop, uint16_t port, uint32_t gsi,
                  struct chardev *chardev, struct serial **out, struct error *err);

/* Writes out what is left, waiting for a slow reader as serial_flush. No vCPU may run. [any] */
void serial_destroy(struct serial *serial);

/* Registers as after power-on; received bytes are forgotten, sent ones still go out. No vCPU may
 * run. [any] */
void serial_reset(struct serial *serial);

/* Write out all there is, waiting as long as the reader takes something at least every second.
 * Any thread, holding no lock. */
void serial_flush(struct serial *serial);

/* The other end sends a break: a NUL with the break bit. Any thread. */
void serial_send_break(struct serial *serial);

/* Show every byte the guest sends to `fn`, at once, on the vCPU's thread, under the port's lock;
 * before vCPUs run. */
void serial_set_observer(struct serial *serial,
                         void (*fn)(void *opaque, const uint8_t *data, size_t len), void *opaque);

#endif
