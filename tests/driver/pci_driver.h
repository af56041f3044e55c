/*
 * The test driver on virtio-pci (specification 4.1), with MSI-X or with INTx.
 *
 * It finds the device's structures through the capability list, as a driver must, in configuration
 * space at an ECAM address. With MSI-X, vector 0 is for configuration changes and 1 + n for queue
 * n, as far as there are vectors; the queues beyond share the last.
 *
 * The legacy driver (4.1.4.10) knows the I/O BAR alone, and queues of the size the device has, at
 * the page of `desc`.
 */
#ifndef TESTS_DRIVER_PCI_DRIVER_H
#define TESTS_DRIVER_PCI_DRIVER_H

#include "tests/driver/driver.h"

#include <stdbool.h>
#include <stdint.h>

#define PCI_DRIVER_MSI_ADDRESS UINT64_C(0xfee01000)
#define PCI_DRIVER_MSI_DATA    0x40 /* of vector 0 */

struct pci_driver {
    struct driver driver;
    uint64_t ecam; /* of the function */
    uint32_t gsi;
    bool msix;
    uint64_t common, notify, isr, device; /* guest addresses of the structures */
    uint64_t io;                          /* of the legacy interface */
    uint32_t notify_multiplier;
    uint32_t window; /* register of the PCI_CFG capability */
    uint32_t msix_capability;
    uint64_t msix_table, msix_pba;
    uint16_t msix_count;
};

/* Find the structures of the function in `slot` below `ecam`, enable memory decoding and bus
 * mastering, and with `msix` fill the table and switch it on. False: not a modern virtio device. */
bool pci_driver_init(struct pci_driver *d, struct fake_platform *fake, uint64_t ecam, unsigned slot,
                     uint32_t gsi, bool msix);

/* The same for the legacy interface of a transitional device. False: it has none. */
bool pci_driver_init_legacy(struct pci_driver *d, struct fake_platform *fake, uint64_t ecam,
                            unsigned slot, uint32_t gsi, bool msix);

/* The I/O BAR. */
uint32_t pci_driver_io_read(struct pci_driver *d, uint32_t offset, unsigned size);
void pci_driver_io_write(struct pci_driver *d, uint32_t offset, unsigned size, uint32_t value);

/* Configuration space. */
uint32_t pci_driver_config_read(struct pci_driver *d, uint32_t offset, unsigned size);
void pci_driver_config_write(struct pci_driver *d, uint32_t offset, unsigned size, uint32_t value);

/* The common configuration structure. */
uint64_t pci_driver_common_read(struct pci_driver *d, uint32_t offset, unsigned size);
void pci_driver_common_write(struct pci_driver *d, uint32_t offset, unsigned size, uint64_t value);

/* The first capability with this id, and for vendor capabilities this cfg_type; 0: none. */
uint32_t pci_driver_find(struct pci_driver *d, uint8_t id, uint8_t cfg_type);

#endif
