/*
 * A PCI function: 4 KiB of configuration space with writable bits, base address registers (BARs),
 * capabilities and an interrupt pin (PCI Local Bus 3.0, chapter 6; PCI Express Base, chapter 7).
 *
 * A device embeds a `struct pci_function`, describes itself with the builder calls below, and hands
 * it to pci_bus_add, which gives its BARs addresses as firmware would. From then on the guest's
 * accesses come back through the ops.
 *
 * Memory and I/O decoding are off at power-on, with addresses assigned. Guests that trust firmware
 * only have to switch decoding on; and sizing BARs, for which guests switch decoding off and on
 * again, costs nothing. A BAR is decoded only inside the bus's windows, so the all-ones of sizing
 * never become an address.
 *
 * Locks: configuration accesses come under the bus's lock, and so do bar_mapped, bar_unmapped,
 * config_read and config_written. BAR accesses come without any, from several vCPUs at once, and
 * must not take the bus's lock: moving a BAR holds it while it waits for accesses under way.
 */
#ifndef TRANSPORT_PCI_FUNCTION_H
#define TRANSPORT_PCI_FUNCTION_H

#include "base/platform.h"
#include "transport/pci_intx.h"

#include <stdbool.h>
#include <stdint.h>

#define PCI_CONFIG_SIZE       4096
#define PCI_CONFIG_CONVENTION 256 /* what CF8/CFC reach; writable bits exist only here */
#define PCI_BARS              6

struct pci_function;

struct pci_window {
    uint64_t base, size; /* size 0: absent */
};

/* Where BARs are decoded; belongs to the bus. */
struct pci_windows {
    struct platform *platform;
    struct pci_window mem32, mem64, io;
};

/* MEM64 is prefetchable: reads have no side effects. */
enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
    struct pci_function *function;
    unsigned index;
    enum pci_bar_kind kind; /* NONE also for the upper half of a MEM64 */
    uint64_t size;
    uint64_t preassigned; /* address at power-on */
    uint64_t address;     /* where it is decoded while `mapped` */
    bool mapped;
    bool blocked; /* should be mapped, but something else is there */
};

struct pci_function_ops {
    const char *name;

    /* An access of 1, 2, 4 or 8 bytes at `offset` of a BAR. NULL when there are no BARs. */
    void (*bar_read)(struct pci_function *f, unsigned bar, uint64_t offset, void *data,
                     unsigned size);
    void (*bar_write)(struct pci_function *f, unsigned bar, uint64_t offset, const void *data,
                      unsigned size);

    /* The BAR is decoded at `address` from now on; it will not be any more. May be NULL. */
    void (*bar_mapped)(struct pci_function *f, unsigned bar, uint64_t address);
    void (*bar_unmapped)(struct pci_function *f, unsigned bar);

    /* Before bytes are read: bring config[] up to date. After bytes were written. May be NULL. */
    void (*config_read)(struct pci_function *f, uint32_t offset, unsigned size);
    void (*config_written)(struct pci_function *f, uint32_t offset, unsigned size);

    /* Function level reset (PCI Express Base, 6.6.2): all but configuration space as at power-on,
     * nothing in flight any more. The bus lock is held; other vCPUs run. NULL: cannot. */
    void (*reset)(struct pci_function *f);
};

struct pci_identity {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem;
    uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
    uint8_t revision;
};

struct pci_function {
    const struct pci_function_ops *ops;
    unsigned slot; /* set by pci_bus_add */
    const struct pci_windows *windows;
    struct pci_intx_pin intx;
    struct pci_bar bars[PCI_BARS];
    unsigned next_capability, last_capability; /* builder: free space, and whose next to patch */
    unsigned pcie;                             /* offset of the PCI Express capability, or 0 */

    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t writable[PCI_CONFIG_CONVENTION];
    uint8_t power_on[PCI_CONFIG_CONVENTION]; /* config[] as pci_bus_add left it */
};

/* Builder: before pci_bus_add. `function` needs no preparation. */
void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                       const struct pci_function_ops *ops);

/* `size` is a power of two, at least 16 (memory) or 4 (I/O); a MEM64 takes `index` and the next. */
void pci_function_add_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind,
                          uint64_t size);

/* Append a capability of `length` bytes, zero but for id and next; returns its offset. All of a
 * device's capabilities fit into the 192 bytes there are: an overflow is a programming error. */
unsigned pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned length);

/* A PCI Express capability of version 2 for an endpoint integrated in the root complex. With it
 * guests look at all 4 KiB of configuration space, of which the upper part is empty, and may reset
 * the function if it has that op. */
void pci_function_add_pcie(struct pci_function *function);

/* Let the guest write the bits of `mask` in the `size` bytes at `offset`. */
void pci_function_set_writable(struct pci_function *function, unsigned offset, unsigned size,
                               uint32_t mask);

/* The function uses INTA. */
void pci_function_use_intx(struct pci_function *function);

/* Accesses that stay within one aligned dword; others read as all ones and write nothing. Bus lock.
 * A write returns true when a BAR was taken off the bus, so that a blocked one may have room. */
void pci_function_config_read(struct pci_function *function, uint32_t offset, void *data,
                              unsigned size);
bool pci_function_config_write(struct pci_function *function, uint32_t offset, const void *data,
                               unsigned size);

/* The command register. */
uint16_t pci_function_command(const struct pci_function *function);

/* Configuration space as at power-on: decoding off, BARs where the VMM put them, INTx low. No vCPU
 * runs, or under the bus lock. True when a BAR was taken off the bus. */
bool pci_function_reset(struct pci_function *function);

#endif
