#include "vmm/machine_device_internal.h"

#include "base/bytes.h"
#include "transport/shared_memory.h"
#include "transport/virtio_mmio.h"
#include "transport/virtio_pci.h"
#include "vmm/arguments.h"
#include "vmm/device_launch.h"
#include "vmm/layout_x86_64.h"

#include <errno.h>
#include <stdlib.h>

/* --- transports ------------------------------------------------------------------------------- */

/* Addresses for its shared memory, if it has any. Version 1 has no registers that name them. */
static int place_shared(struct machine_device *device, struct device_site *site, uint64_t *base,
                        struct error *err)
{
    uint64_t size;

    if (device->slot.legacy)
        device->virtio.shared_count = 0;
    size = align_up(shared_memory_size(&device->virtio), LAYOUT_HIGH_ALIGNMENT);
    if (size > site->shared.size)
        return error_set(err, ENOSPC, "no addresses are left for the shared memory of %s",
                         device->virtio.name);
    *base = site->shared.base;
    site->shared.base += size;
    site->shared.size -= size;
    return 0;
}

static int plug_mmio(struct machine_device *device, struct device_site *site, struct error *err)
{
    unsigned slot = site->mmio_used;
    struct virtio_mmio_config config = {
        .base = LAYOUT_MMIO + slot * VIRTIO_MMIO_SIZE,
        .gsi = LAYOUT_GSI_MMIO + slot,
        .legacy = device->slot.legacy,
    };
    int ret;

    if (slot >= LAYOUT_MMIO_SLOTS)
        return error_set(err, ENOSPC, "a machine holds at most %d virtio-mmio devices",
                         LAYOUT_MMIO_SLOTS);
    ret = place_shared(device, site, &config.shared_base, err);
    if (ret)
        return ret;
    device->address = config.base;
    device->gsi = config.gsi;
    ret = virtio_mmio_create(&device->virtio, site->platform, &config, &device->mmio, err);
    if (!ret)
        site->mmio_used++;
    return ret;
}

static int plug_pci(struct machine_device *device, struct device_site *site, struct error *err)
{
    const struct virtio_pci_config config = {
        .slot = device->slot.addr ? (int)device->slot.addr : -1,
        .vectors = device->vectors,
        .legacy = device->slot.legacy,
        .page_per_vq = device->slot.page_per_vq,
    };
    int ret = virtio_pci_create(&device->virtio, site->bus, &config, &device->pci, err);

    if (!ret)
        device->address = virtio_pci_slot(device->pci);
    return ret;
}

/* --- life ------------------------------------------------------------------------------------- */

static int machine_device_make(struct machine_device *device, struct device_config *config,
                               const char *default_id, struct device_site *site, struct error *err)
{
    const char *origin = config->options.origin;
    int ret = machine_device_take_options(device, config, default_id, site, err);

    if (ret)
        return ret;
    ret = machine_device_make_virtio(device, site, err);
    if (!ret)
        ret = device->slot.transport == TRANSPORT_MMIO ? plug_mmio(device, site, err)
                                                       : plug_pci(device, site, err);
    if (ret) {
        error_prefix(err, "%s", origin);
        return ret;
    }
    return device_setup_check_wanted(&device->setup, &device->virtio.offered, origin, err);
}

int machine_device_create(struct device_config *config, const char *default_id,
                          struct device_site *site, struct machine_device **out, struct error *err)
{
    struct machine_device *device = calloc(1, sizeof(*device));
    int ret;

    if (!device)
        return error_set(err, ENOMEM, "no memory for a device");
    ret = machine_device_make(device, config, default_id, site, err);
    if (ret) {
        machine_device_destroy(device);
        return ret;
    }
    *out = device;
    return 0;
}

void machine_device_reset(struct machine_device *device)
{
    if (device->mmio)
        virtio_mmio_reset(device->mmio);
    else
        virtio_pci_reset(device->pci);
}

void machine_device_destroy(struct machine_device *device)
{
    if (!device)
        return;
    if (device->mmio)
        virtio_mmio_destroy(device->mmio);
    if (device->pci)
        virtio_pci_destroy(device->pci);
    if (device->virtio_ready)
        virtio_device_destroy(&device->virtio);
    if (device->front_part)
        device->front_part->ops->destroy(device->front_part);
    if (device->process) {
        device_process_destroy(device->process);
        if (device->slot.isolate)
            device_launch_remove_names(&device->setup);
    }
    arguments_free(device->arguments);
    option_release(device_slot_options, device_slot_option_count, &device->slot);
    option_release(device_vdpa_options, device_vdpa_option_count, &device->slot);
    device_setup_release(&device->setup);
    free(device);
}
