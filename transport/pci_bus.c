#include "transport/pci_bus.h"

#include "base/bytes.h"
#include "transport/pci_bar.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdlib.h>

#define PORT_BASE   0xcf8
#define PORT_SIZE   8
#define PORT_ENABLE BIT(31)

/* "QEMU PCIe Host bridge", the identity guests know for a bridge without registers of its own. */
#define HOST_BRIDGE_VENDOR 0x1b36
#define HOST_BRIDGE_DEVICE 0x0008

struct pci_bus {
    struct pci_bus_config config;
    struct pci_windows windows;
    struct pci_intx_lines lines;
    pthread_mutex_t lock;
    uint32_t port_address; /* CONFIG_ADDRESS, 0xCF8 */
    struct pci_function *slots[PCI_SLOTS];
    struct pci_function host_bridge;
};

/* Bus number, slot, function and register of an access. */
struct pci_target {
    unsigned bus, slot, function;
    uint32_t offset;
};

static struct pci_function *bus_find(struct pci_bus *bus, const struct pci_target *target)
{
    return target->bus == 0 && target->function == 0 ? bus->slots[target->slot] : NULL;
}

static void bus_config_read(struct pci_bus *bus, const struct pci_target *target, void *data,
                            unsigned size)
{
    struct pci_function *function;

    pthread_mutex_lock(&bus->lock);
    function = bus_find(bus, target);
    if (function)
        pci_function_config_read(function, target->offset, data, size);
    else
        memset(data, 0xff, size);
    pthread_mutex_unlock(&bus->lock);
}

/* A BAR left its place: one that was waiting for it may take it now. */
static void bus_retry_blocked(struct pci_bus *bus)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        if (bus->slots[slot] && pci_bars_blocked(bus->slots[slot]))
            pci_bars_update(bus->slots[slot]);
}

static void bus_config_write(struct pci_bus *bus, const struct pci_target *target, const void *data,
                             unsigned size)
{
    struct pci_function *function;

    pthread_mutex_lock(&bus->lock);
    function = bus_find(bus, target);
    if (function && pci_function_config_write(function, target->offset, data, size))
        bus_retry_blocked(bus);
    pthread_mutex_unlock(&bus->lock);
}

/* Enhanced configuration access (PCI Express Base, 7.2.2). */
static struct pci_target ecam_target(uint64_t offset)
{
    return (struct pci_target){
        .bus = (unsigned)(offset >> 20),
        .slot = offset >> 15 & 0x1f,
        .function = offset >> 12 & 7,
        .offset = offset & 0xfff,
    };
}

static void ecam_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    for (unsigned done = 0; done < size; done += 4) {
        struct pci_target target = ecam_target(offset + done);
        bus_config_read(opaque, &target, (uint8_t *)data + done, MIN(size - done, 4u));
    }
}

static void ecam_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    for (unsigned done = 0; done < size; done += 4) {
        struct pci_target target = ecam_target(offset + done);
        bus_config_write(opaque, &target, (const uint8_t *)data + done, MIN(size - done, 4u));
    }
}

/* What CONFIG_DATA at `port` (4..7) means now; false while CONFIG_ADDRESS is not enabled. */
static bool port_target(struct pci_bus *bus, uint64_t port, struct pci_target *target)
{
    uint32_t address;

    pthread_mutex_lock(&bus->lock);
    address = bus->port_address;
    pthread_mutex_unlock(&bus->lock);
    *target = (struct pci_target){
        .bus = address >> 16 & 0xff,
        .slot = address >> 11 & 0x1f,
        .function = address >> 8 & 7,
        .offset = (address & 0xfc) | (port & 3),
    };
    return address & PORT_ENABLE;
}

/* CONFIG_ADDRESS is a dword; narrower accesses are for other devices, of which there are none. */
static void port_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct pci_bus *bus = opaque;
    struct pci_target target;

    memset(data, 0xff, size);
    if (offset == 0 && size == 4) {
        pthread_mutex_lock(&bus->lock);
        store_le32(data, bus->port_address);
        pthread_mutex_unlock(&bus->lock);
    } else if (offset >= 4 && port_target(bus, offset, &target)) {
        bus_config_read(bus, &target, data, size);
    }
}

static void port_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct pci_bus *bus = opaque;
    struct pci_target target;

    if (offset == 0 && size == 4) {
        pthread_mutex_lock(&bus->lock);
        bus->port_address = load_le32(data);
        pthread_mutex_unlock(&bus->lock);
    } else if (offset >= 4 && port_target(bus, offset, &target)) {
        bus_config_write(bus, &target, data, size);
    }
}

static void bus_init_host_bridge(struct pci_bus *bus)
{
    static const struct pci_function_ops ops = {.name = "pci-host"};
    static const struct pci_identity identity = {
        .vendor = HOST_BRIDGE_VENDOR,
        .device = HOST_BRIDGE_DEVICE,
        .class_code = 0x060000, /* bridge, host */
    };

    pci_function_init(&bus->host_bridge, &identity, &ops);
    bus->host_bridge.windows = &bus->windows;
    memcpy(bus->host_bridge.power_on, bus->host_bridge.config, PCI_CONFIG_CONVENTION);
    bus->slots[0] = &bus->host_bridge;
}

static int bus_check_config(const struct pci_bus_config *config, struct error *err)
{
    if (config->ecam.size < MIB || config->ecam.base % MIB)
        return error_set(err, EINVAL, "the PCI configuration window at 0x%" PRIx64 " is unusable",
                         config->ecam.base);
    if (!config->gsi_count || config->gsi_count > PCI_INTX_LINES_MAX)
        return error_set(err, EINVAL, "%" PRIu32 " PCI interrupt lines are not 1 to %d",
                         config->gsi_count, PCI_INTX_LINES_MAX);
    return 0;
}

static int bus_add_ranges(struct pci_bus *bus, struct error *err)
{
    struct platform *platform = bus->config.platform;
    const struct address_range ecam = {
        .space = ADDRESS_MMIO,
        .base = bus->config.ecam.base,
        .size = bus->config.ecam.size,
        .name = "pci-ecam",
        .read = ecam_read,
        .write = ecam_write,
        .opaque = bus,
    };
    const struct address_range ports = {
        .space = ADDRESS_PIO,
        .base = PORT_BASE,
        .size = PORT_SIZE,
        .name = "pci-config",
        .read = port_read,
        .write = port_write,
        .opaque = bus,
    };
    int ret = platform->ops->range_add(platform, &ecam, err);

    if (ret || !bus->config.ports)
        return ret;
    ret = platform->ops->range_add(platform, &ports, err);
    if (ret)
        platform->ops->range_remove(platform, ADDRESS_MMIO, ecam.base);
    return ret;
}

int pci_bus_create(const struct pci_bus_config *config, struct pci_bus **out, struct error *err)
{
    struct pci_bus *bus;
    int ret = bus_check_config(config, err);

    if (ret)
        return ret;
    bus = calloc(1, sizeof(*bus));
    if (!bus)
        return error_set(err, ENOMEM, "no memory for a PCI bus");
    bus->config = *config;
    bus->windows = (struct pci_windows){
        .platform = config->platform,
        .mem32 = config->mem32,
        .mem64 = config->mem64,
        .io = config->io,
    };
    pthread_mutex_init(&bus->lock, NULL);
    pci_intx_lines_init(&bus->lines, config->platform, config->gsi_base, config->gsi_count);
    bus_init_host_bridge(bus);

    ret = bus_add_ranges(bus, err);
    if (ret) {
        pci_intx_lines_destroy(&bus->lines);
        pthread_mutex_destroy(&bus->lock);
        free(bus);
        return ret;
    }
    *out = bus;
    return 0;
}

void pci_bus_destroy(struct pci_bus *bus)
{
    struct platform *platform;

    if (!bus)
        return;
    platform = bus->config.platform;
    platform->ops->range_remove(platform, ADDRESS_MMIO, bus->config.ecam.base);
    if (bus->config.ports)
        platform->ops->range_remove(platform, ADDRESS_PIO, PORT_BASE);
    pci_intx_lines_destroy(&bus->lines);
    pthread_mutex_destroy(&bus->lock);
    free(bus);
}

/* The end of the BAR that was given addresses within [base, base+size) of a space, 0 for none. */
static uint64_t bus_occupied(struct pci_bus *bus, bool io, uint64_t base, uint64_t size)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned i = 0; bus->slots[slot] && i < PCI_BARS; i++) {
            const struct pci_bar *bar = &bus->slots[slot]->bars[i];
            if (bar->kind == PCI_BAR_NONE || (bar->kind == PCI_BAR_IO) != io || !bar->preassigned)
                continue;
            if (bar->preassigned < base + size && base < bar->preassigned + bar->size)
                return bar->preassigned + bar->size;
        }
    }
    return 0;
}

/* The first free aligned place in a window, or 0. Address 0 is never given away: to guests it means
 * that a BAR has no address. */
static uint64_t bus_place(struct pci_bus *bus, const struct pci_window *window, bool io,
                          uint64_t size)
{
    uint64_t base = align_up(MAX(window->base, UINT64_C(1)), size);
    uint64_t end;

    while (base - window->base < window->size && window->size - (base - window->base) >= size) {
        end = bus_occupied(bus, io, base, size);
        if (!end)
            return base;
        base = align_up(end, size);
    }
    return 0;
}

static int bus_assign_bars(struct pci_bus *bus, struct pci_function *function, struct error *err)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &function->bars[i];
        bool io = bar->kind == PCI_BAR_IO;

        if (bar->kind == PCI_BAR_NONE)
            continue;
        bar->preassigned =
            bar->kind == PCI_BAR_MEM64 ? bus_place(bus, &bus->windows.mem64, false, bar->size) : 0;
        if (!bar->preassigned)
            bar->preassigned =
                bus_place(bus, io ? &bus->windows.io : &bus->windows.mem32, io, bar->size);
        if (!bar->preassigned)
            return error_set(err, ENOSPC,
                             "no room for 0x%" PRIx64 " bytes of %s in the windows of the PCI bus",
                             bar->size, function->ops->name);
        pci_bar_set_address(bar, bar->preassigned);
    }
    return 0;
}

static int bus_choose_slot(struct pci_bus *bus, int wanted, struct error *err)
{
    if (wanted >= PCI_SLOTS || wanted < -1)
        return error_set(err, EINVAL, "PCI slot %d does not exist", wanted);
    if (wanted >= 0)
        return bus->slots[wanted] ? error_set(err, EBUSY, "PCI slot %d is taken", wanted) : wanted;
    for (int slot = 1; slot < PCI_SLOTS; slot++)
        if (!bus->slots[slot])
            return slot;
    return error_set(err, ENOSPC, "all %d slots of the PCI bus are taken", PCI_SLOTS);
}

/* Under the lock. */
static int bus_plug(struct pci_bus *bus, int wanted, struct pci_function *function,
                    struct error *err)
{
    int slot = bus_choose_slot(bus, wanted, err);
    int ret;

    if (slot < 0)
        return slot;
    function->slot = (unsigned)slot;
    function->windows = &bus->windows;
    bus->slots[slot] = function;
    ret = bus_assign_bars(bus, function, err);
    if (ret) {
        bus->slots[slot] = NULL;
        return ret;
    }
    if (function->config[PCI_INTERRUPT_PIN]) {
        pci_intx_attach(&function->intx, &bus->lines, function->slot,
                        function->config[PCI_INTERRUPT_PIN] - 1u);
        function->config[PCI_INTERRUPT_LINE] = (uint8_t)pci_intx_gsi(&function->intx);
    }
    memcpy(function->power_on, function->config, PCI_CONFIG_CONVENTION);
    return 0;
}

int pci_bus_add(struct pci_bus *bus, int slot, struct pci_function *function, struct error *err)
{
    int ret;

    pthread_mutex_lock(&bus->lock);
    ret = bus_plug(bus, slot, function, err);
    pthread_mutex_unlock(&bus->lock);
    return ret;
}

void pci_bus_remove(struct pci_bus *bus, struct pci_function *function)
{
    pthread_mutex_lock(&bus->lock);
    pci_bars_unmap(function);
    if (function->config[PCI_INTERRUPT_PIN])
        pci_intx_set_pending(&function->intx, false);
    bus->slots[function->slot] = NULL;
    bus_retry_blocked(bus);
    pthread_mutex_unlock(&bus->lock);
}

uint32_t pci_bus_slots(struct pci_bus *bus)
{
    uint32_t slots = 0;

    pthread_mutex_lock(&bus->lock);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        if (bus->slots[slot])
            slots |= (uint32_t)BIT(slot);
    pthread_mutex_unlock(&bus->lock);
    return slots;
}

struct platform *pci_bus_platform(struct pci_bus *bus)
{
    return bus->config.platform;
}

void pci_bus_reset(struct pci_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    bus->port_address = 0;
    pci_function_reset(&bus->host_bridge);
    pthread_mutex_unlock(&bus->lock);
}
