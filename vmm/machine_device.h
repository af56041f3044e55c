/*
 * A device plugged into the machine.
 */
#ifndef VMM_MACHINE_DEVICE_H
#define VMM_MACHINE_DEVICE_H

#include "base/error.h"
#include "base/loop.h"
#include "devices/display/display.h"
#include "guest/memory.h"
#include "transport/pci_bus.h"
#include "virtio/device.h"
#include "virtio/vhost_user.h"
#include "vmm/config.h"
#include "vmm/device_process.h"
#include "vmm/device_setup.h"
#include "vmm/iothread.h"

#include <stdbool.h>
#include <stdint.h>

enum device_transport { TRANSPORT_MMIO, TRANSPORT_PCI };
/* AUTO: the kernel where it can, else this program. */
enum device_backend {
    BACKEND_BUILTIN,
    BACKEND_VHOST_USER,
    BACKEND_VHOST,
    BACKEND_VDPA,
    BACKEND_AUTO
};

/* The keys of a device's place in a machine. */
struct device_slot {
    int transport;    /* enum device_transport */
    uint64_t addr;    /* PCI slot, 0: the next free one */
    bool legacy;      /* version 1 (MMIO), transitional (PCI) */
    bool page_per_vq; /* PCI: a page for each queue's notifications */
    char *vectors;    /* of MSI-X; NULL: as many as the device can use */
    char *iothread;   /* which thread serves it, or its interrupts */
    int backend;      /* enum device_backend */
    char *node;       /* of the vDPA device that serves it */
    char *socket;     /* of the process that serves it */
    bool inband;      /* which is told of notifications by messages */
    bool server;      /* which connects to us */
    bool relay;       /* requests are passed on to it one by one */
    char *socket_fd;  /* a connected socket that was inherited */
    char *reconnect;  /* seconds; NULL: RECONNECT_DEFAULT */
    char *program;    /* to start for it; NULL: one that is found, or none is needed */
    bool isolate;     /* built in, but in a process of its own */
};
extern const struct option_spec device_slot_options[];
extern const size_t device_slot_option_count;
extern const struct option_spec device_vdpa_options[]; /* more of them with backend=vdpa */
extern const size_t device_vdpa_option_count;

/* A device in the machine. */
struct machine_device {
    struct device_setup setup;
    struct device_slot slot;
    int vectors;   /* as in struct virtio_pci_config */
    int socket_fd; /* -1: none */
    uint32_t reconnect_s;
    char **arguments;                            /* of a process to start; NULL: none */
    struct device_process *process;              /* that serves it, if we start one */
    struct vhost_user_process process_callbacks; /* how the back end reaches it */
    struct vhost_user_front_part *front_part;    /* what we do ourselves for it; NULL: nothing */
    struct virtio_device virtio;
    bool virtio_ready;
    struct virtio_mmio *mmio; /* one of the two, by slot.transport */
    struct virtio_pci *pci;
    uint64_t address; /* MMIO base, or PCI slot, for people */
    uint32_t gsi;     /* MMIO only */
};

/* Whether a device of this configuration has to share the guest's memory with another process. */
bool machine_device_shares_memory(const struct device_config *config);

/* What a device is plugged into. */
struct device_site {
    struct platform *platform;
    const struct guest_memory *memory;
    struct iothreads *iothreads;
    struct pci_bus *bus;
    struct display *display;  /* NULL: no device has to do with one */
    struct pci_window shared; /* addresses left for shared memory of virtio-mmio devices */
    unsigned cpus;
    bool dry_run;       /* no processes of ours */
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
