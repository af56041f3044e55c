/*
 * Where everything is in the guest's physical address space and on its interrupt lines (x86_64).
 *
 *   0x00000000  RAM: what the first instruction needs (below)
 *   0x000a0000  nothing (where PCs had video memory)
 *   0x000e0000  ACPI tables
 *   0x00100000  RAM: kernel, initrd; up to 3 GiB
 *   0xc0000000  PCI memory window
 *   0xe0000000  PCI configuration space (ECAM)
 *   0xfe000000  virtio-mmio devices, 4 KiB each
 *   0xfec00000  I/O APIC;  0xfee00000 local APICs;  0xfeffc000 reserved by KVM
 *   0x100000000 RAM beyond 3 GiB
 *   then        shared memory of virtio-mmio devices, and the 64-bit PCI memory window: half of
 *               what the processor can address each
 */
#ifndef VMM_LAYOUT_X86_64_H
#define VMM_LAYOUT_X86_64_H

#include "base/bytes.h"

/* Low RAM. Kernels need none of it once they run, except the command line, which they copy first.
 */
#define LAYOUT_START_INFO  UINT64_C(0x6000) /* PVH: hvm_start_info */
#define LAYOUT_BOOT_PARAMS UINT64_C(0x7000)
#define LAYOUT_BOOT_TABLES UINT64_C(0x8000) /* GDT and page tables; KVM's probe before that */
#define LAYOUT_CMDLINE     UINT64_C(0x20000)
#define LAYOUT_CMDLINE_MAX UINT64_C(0x10000)
#define LAYOUT_LOW_END     UINT64_C(0xa0000)
#define LAYOUT_ACPI        UINT64_C(0xe0000)
#define LAYOUT_ACPI_MAX    UINT64_C(0x1fff0)  /* up to the reset vector */
#define LAYOUT_LOW_ROM_END UINT64_C(0x100000) /* reserved from LAYOUT_ACPI to here */
#define LAYOUT_KERNEL      UINT64_C(0x100000)

#define LAYOUT_HOLE     (3 * GIB) /* RAM ends here and goes on at 4 GiB */
#define LAYOUT_HOLE_END (4 * GIB)

#define LAYOUT_PCI32       UINT64_C(0xc0000000)
#define LAYOUT_PCI32_SIZE  UINT64_C(0x20000000)
#define LAYOUT_ECAM        UINT64_C(0xe0000000)
#define LAYOUT_ECAM_SIZE   MIB /* one bus */
#define LAYOUT_PCI_IO      UINT64_C(0xc000)
#define LAYOUT_PCI_IO_SIZE UINT64_C(0x2000)

#define LAYOUT_MMIO       UINT64_C(0xfe000000)
#define LAYOUT_MMIO_SLOTS 8

/* Above RAM. Linux addresses no more than 46 bits with four levels of page tables. */
#define LAYOUT_HIGH_ALIGNMENT GIB
#define LAYOUT_HIGH_BITS_MAX  46
#define LAYOUT_HIGH_SIZE_MAX  (256 * GIB) /* of each window */

#define LAYOUT_IOAPIC UINT32_C(0xfec00000)
#define LAYOUT_LAPIC  UINT32_C(0xfee00000)

/* I/O ports. */
#define LAYOUT_SERIAL_PORT  0x3f8
#define LAYOUT_POWER_PORT   0x600 /* sleep control, sleep status, reset (devices/power.h) */
#define LAYOUT_PVPANIC_PORT 0x505

/* Global system interrupts: the I/O APIC's 24 pins. */
#define LAYOUT_GSI_SERIAL    4
#define LAYOUT_GSI_POWER     5
#define LAYOUT_GSI_MMIO      6 /* .. 13 */
#define LAYOUT_GSI_PCI       16
#define LAYOUT_GSI_PCI_COUNT 8

#endif
