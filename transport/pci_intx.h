/*
 * PCI interrupt pins: wired-OR lines shared by functions (PCI Local Bus 3.0, 2.2.6 and 6.2.4).
 *
 * INTx of a function drives GSI base + (slot + pin) % count, pin 0 being INTA; the firmware tables
 * say the same. Several functions may share a line: it is high while any of them asserts it.
 *
 * Any thread may call; `lock` is a leaf, held for the platform's line_set so that levels arrive in
 * order.
 */
#ifndef TRANSPORT_PCI_INTX_H
#define TRANSPORT_PCI_INTX_H

#include "base/platform.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_INTX_LINES_MAX 32

struct pci_intx_lines {
    struct platform *platform;
    uint32_t gsi_base, gsi_count;
    pthread_mutex_t lock;
    uint32_t asserted[PCI_INTX_LINES_MAX]; /* bit n: slot n asserts the line */
};

/* One function's pin. `pending` and `disabled` are guarded by lines->lock. */
struct pci_intx_pin {
    struct pci_intx_lines *lines;
    unsigned slot;
    unsigned line;
    bool pending;  /* the function wants an interrupt: Status bit 3 */
    bool disabled; /* Command bit 10 */
};

/* `gsi_count` is 1..PCI_INTX_LINES_MAX. */
void pci_intx_lines_init(struct pci_intx_lines *lines, struct platform *platform, uint32_t gsi_base,
                         uint32_t gsi_count);
void pci_intx_lines_destroy(struct pci_intx_lines *lines);

/* `pin` 0 is INTA. */
void pci_intx_attach(struct pci_intx_pin *self, struct pci_intx_lines *lines, unsigned slot,
                     unsigned pin);
uint32_t pci_intx_gsi(const struct pci_intx_pin *self);

void pci_intx_set_pending(struct pci_intx_pin *self, bool pending);
void pci_intx_set_disabled(struct pci_intx_pin *self, bool disabled);
bool pci_intx_pending(struct pci_intx_pin *self);

#endif
