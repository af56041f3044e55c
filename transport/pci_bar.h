/*
 * Base address registers (PCI Local Bus 3.0, 6.2.5): their bits, their addresses, and when the
 * guest's writes put them on the bus. Private to the PCI files; under the bus's lock.
 */
#ifndef TRANSPORT_PCI_BAR_H
#define TRANSPORT_PCI_BAR_H

#include "transport/pci_function.h"

#include <stdbool.h>
#include <stdint.h>

/* Set up the register bits of a BAR that pci_function_add_bar described. */
void pci_bar_init_register(struct pci_bar *bar);

/* Put an address into the register, without decoding it. */
void pci_bar_set_address(struct pci_bar *bar, uint64_t address);

/* Decode every BAR where command register and addresses say; true when one left its place. */
bool pci_bars_update(struct pci_function *function);

/* Decode none. */
void pci_bars_unmap(struct pci_function *function);

/* Some BAR should be decoded and is not, because its place was taken. */
bool pci_bars_blocked(const struct pci_function *function);

#endif
