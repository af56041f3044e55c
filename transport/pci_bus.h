/*
 * One PCI Express root bus: a host bridge in slot 0 and up to 31 single-function devices.
 *
 * Configuration space is reached two ways, which show the same registers:
 *   ECAM        memory at ecam.base + (bus << 20 | slot << 15 | function << 12 | register);
 *   port pair   0xCF8 selects, 0xCFC..0xCFF transfer (PCI Local Bus 3.0, 3.2.2.3.2); optional.
 * Linux on x86 prefers the ports for the first 256 bytes when it finds them, at two exits an
 * access instead of one.
 *
 * Locks: `lock` in the bus orders all configuration accesses, and the mapping of BARs that follows
 * from them. It comes before any other lock: a configuration access may enter a device (the
 * virtio PCI_CFG window) and takes its locks, while BAR handlers never take this one.
 */
#ifndef TRANSPORT_PCI_BUS_H
#define TRANSPORT_PCI_BUS_H

#include "base/error.h"
#include "base/platform.h"
#include "transport/pci_function.h"

#include <stdbool.h>
#include <stdint.h>

#define PCI_SLOTS 32

struct pci_bus_config {
    struct platform *platform;
    struct pci_window ecam;  /* 1 MiB a bus; only bus 0 has anything in it */
    struct pci_window mem32; /* where BARs are assigned and decoded, below 4 GiB */
    struct pci_window mem64; /* where 64-bit BARs go if there is room; size 0: nowhere */
    struct pci_window io;    /* size 0: no I/O BARs */
    uint32_t gsi_base;       /* INTA..INTD of slot s, pin p: base + (s + p) % count */
    uint32_t gsi_count;
    bool ports; /* also offer 0xCF8/0xCFC */
};

struct pci_bus;

/* Make the bus with its host bridge. `platform` is borrowed. Errors: -EEXIST when addresses are
 * taken, -EINVAL for impossible windows, -ENOMEM. */
int pci_bus_create(const struct pci_bus_config *config, struct pci_bus **out, struct error *err);

/* All functions must have been removed. */
void pci_bus_destroy(struct pci_bus *bus);

/*
 * Plug a function into `slot`, 1..31, or -1 for the lowest free one, and give its BARs addresses:
 * in the 32-bit window, or for a 64-bit BAR in the 64-bit window first. The function is borrowed
 * until pci_bus_remove. Errors: -EBUSY slot taken, -ENOSPC no slot or no addresses left, -EINVAL no
 * such slot.
 */
int pci_bus_add(struct pci_bus *bus, int slot, struct pci_function *function, struct error *err);
void pci_bus_remove(struct pci_bus *bus, struct pci_function *function);

/* Bit n: slot n is occupied (bit 0, the host bridge, always). For the firmware tables. */
uint32_t pci_bus_slots(struct pci_bus *bus);

/* The services a function's owner needs: the machine's. */
struct platform *pci_bus_platform(struct pci_bus *bus);

/* The bus's own registers to power-on values; each function's owner resets its own. No vCPU runs.
 */
void pci_bus_reset(struct pci_bus *bus);

#endif
