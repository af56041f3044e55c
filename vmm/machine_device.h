/*
 * The devices a user can name, and one such device plugged into the machine.
 */
#ifndef VMM_MACHINE_DEVICE_H
#define VMM_MACHINE_DEVICE_H

#include "base/error.h"
#include "base/loop.h"
#include "guest/memory.h"
#include "transport/pci_bus.h"
#include "virtio/builtin.h"
#include "virtio/device.h"
#include "vmm/config.h"
#include "vmm/iothread.h"

#include <stdbool.h>
#include <stdint.h>

/* Every built-in device model; NULL-terminated. */
extern const struct virtio_model *const device_models[];

const struct virtio_model *device_model_find(const char *type);

enum device_transport { TRANSPORT_MMIO, TRANSPORT_PCI };

/* The keys every device has, before the type's own. */
struct device_common {
    char *id;
    int transport;               /* enum device_transport */
    uint64_t addr;               /* PCI slot, 0: the next free one */
    bool legacy;                 /* version 1 (MMIO), transitional (PCI) */
    char *vectors;               /* of MSI-X; NULL: as many as the device can use */
    uint64_t queues, queue_size; /* 0: the model's default */
    char *iothread;              /* which thread serves it */
};
extern const struct option_spec device_common_options[];
extern const size_t device_common_option_count;

/* A device in the machine. */
struct machine_device {
    const struct virtio_model *model;
    struct device_common common;
    void *options;                         /* the model's, by its table */
    int vectors;                           /* as in struct virtio_pci_config */
    struct virtio_features wanted, masked; /* by NAME=on and NAME=off */
    struct virtio_device virtio;
    bool virtio_ready;
    struct virtio_mmio *mmio; /* one of the two, by common.transport */
    struct virtio_pci *pci;
    uint64_t address; /* MMIO base, or PCI slot, for people */
    uint32_t gsi;     /* MMIO only */
};

/* What a device is plugged into. */
struct device_site {
    struct platform *platform;
    const struct guest_memory *memory;
    struct iothreads *iothreads;
    struct pci_bus *bus;
    unsigned cpus;
    unsigned mmio_used; /* slots taken so far */
};

/*
 * Check the options of `config` against the type's table and make the device on its transport.
 * Errors name the option as the user wrote it. `default_id` is its name if the user gave
 * none.
 */
int machine_device_create(struct device_config *config, const char *default_id,
                          struct device_site *site, struct machine_device **out, struct error *err);
void machine_device_reset(struct machine_device *device); /* machine reset; no vCPU runs */
void machine_device_destroy(struct machine_device *device);

#endif
