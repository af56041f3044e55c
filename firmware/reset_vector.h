/*
 * What a PC's processor finds at F000:FFF0, where BIOS code would be: an instruction that resets
 * the machine.
 *
 * Linux on hardware-reduced ACPI prefers EFI to the ACPI reset register for reboots; without EFI it
 * falls back to jumping to the BIOS in real mode (native_machine_emergency_restart: BOOT_EFI, then
 * BOOT_BIOS), unless the command line has a reboot= option. With nothing there it would run through
 * zeroes for ever.
 */
#ifndef FIRMWARE_RESET_VECTOR_H
#define FIRMWARE_RESET_VECTOR_H

#include "base/error.h"
#include "guest/memory.h"

#include <stdint.h>

#define RESET_VECTOR      UINT64_C(0xffff0) /* physical address of F000:FFF0 */
#define RESET_VECTOR_SIZE 16                /* up to 1 MiB */

/* Write code to RESET_VECTOR that writes `value` to I/O port `port`. -EFAULT when that is not RAM.
 * The range must be reserved in the memory map. */
int reset_vector_write(struct guest_memory *mem, uint16_t port, uint8_t value, struct error *err);

#endif
