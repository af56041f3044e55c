#include "transport/pci_bar.h"

#include "base/bytes.h"
#include "base/log.h"

#include <inttypes.h>
#include <linux/pci_regs.h>

static unsigned bar_register(const struct pci_bar *bar)
{
    return PCI_BASE_ADDRESS_0 + 4 * bar->index;
}

/* The low, read-only bits: what kind of BAR this is (6.2.5.1). */
static uint32_t bar_flags(const struct pci_bar *bar)
{
    switch (bar->kind) {
    case PCI_BAR_IO:
        return PCI_BASE_ADDRESS_SPACE_IO;
    case PCI_BAR_MEM64:
        return PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
    default:
        return 0;
    }
}

void pci_bar_init_register(struct pci_bar *bar)
{
    struct pci_function *function = bar->function;
    uint64_t mask = ~(bar->size - 1);

    store_le32(&function->config[bar_register(bar)], bar_flags(bar));
    pci_function_set_writable(function, bar_register(bar), 4, (uint32_t)mask);
    if (bar->kind == PCI_BAR_MEM64)
        pci_function_set_writable(function, bar_register(bar) + 4, 4, (uint32_t)(mask >> 32));
}

void pci_bar_set_address(struct pci_bar *bar, uint64_t address)
{
    uint8_t *reg = &bar->function->config[bar_register(bar)];

    store_le32(reg, (uint32_t)address | bar_flags(bar));
    if (bar->kind == PCI_BAR_MEM64)
        store_le32(reg + 4, (uint32_t)(address >> 32));
}

static uint64_t bar_address(const struct pci_bar *bar)
{
    const uint8_t *reg = &bar->function->config[bar_register(bar)];
    uint64_t address = load_le32(reg);

    if (bar->kind == PCI_BAR_MEM64)
        address |= (uint64_t)load_le32(reg + 4) << 32;
    return address & ~(bar->size - 1);
}

static bool window_holds(const struct pci_window *window, uint64_t address, uint64_t size)
{
    return size <= window->size && address >= window->base &&
           address - window->base <= window->size - size;
}

/* Whether the guest wants the BAR decoded, at an address the bus forwards. */
static bool bar_wanted(const struct pci_bar *bar, uint64_t address)
{
    const struct pci_windows *windows = bar->function->windows;
    uint16_t command = pci_function_command(bar->function);

    switch (bar->kind) {
    case PCI_BAR_IO:
        return command & PCI_COMMAND_IO && window_holds(&windows->io, address, bar->size);
    case PCI_BAR_MEM32:
    case PCI_BAR_MEM64:
        return command & PCI_COMMAND_MEMORY && (window_holds(&windows->mem32, address, bar->size) ||
                                                window_holds(&windows->mem64, address, bar->size));
    default:
        return false;
    }
}

static enum address_space bar_space(const struct pci_bar *bar)
{
    return bar->kind == PCI_BAR_IO ? ADDRESS_PIO : ADDRESS_MMIO;
}

static void bar_range_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct pci_bar *bar = opaque;

    bar->function->ops->bar_read(bar->function, bar->index, offset, data, size);
}

static void bar_range_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct pci_bar *bar = opaque;

    bar->function->ops->bar_write(bar->function, bar->index, offset, data, size);
}

static void bar_map(struct pci_bar *bar, uint64_t address)
{
    struct pci_function *function = bar->function;
    struct platform *platform = function->windows->platform;
    struct address_range range = {
        .space = bar_space(bar),
        .base = address,
        .size = bar->size,
        .name = function->ops->name,
        .read = bar_range_read,
        .write = bar_range_write,
        .opaque = bar,
    };
    struct error err = ERROR_INIT;

    bar->blocked = platform->ops->range_add(platform, &range, &err) != 0;
    if (bar->blocked) {
        log_limited(LOG_WARN, "pci", "slot %u: BAR %u at 0x%" PRIx64 " cannot be decoded: %s",
                    function->slot, bar->index, address, err.text);
        return;
    }
    bar->mapped = true;
    bar->address = address;
    log_limited(LOG_DEBUG, "pci", "slot %u: BAR %u at 0x%" PRIx64, function->slot, bar->index,
                address);
    if (function->ops->bar_mapped)
        function->ops->bar_mapped(function, bar->index, address);
}

static bool bar_unmap(struct pci_bar *bar)
{
    struct pci_function *function = bar->function;
    struct platform *platform = function->windows->platform;

    bar->blocked = false;
    if (!bar->mapped)
        return false;
    if (function->ops->bar_unmapped)
        function->ops->bar_unmapped(function, bar->index);
    platform->ops->range_remove(platform, bar_space(bar), bar->address);
    bar->mapped = false;
    return true;
}

bool pci_bars_update(struct pci_function *function)
{
    bool left = false;

    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &function->bars[i];
        uint64_t address;
        bool wanted;

        if (bar->kind == PCI_BAR_NONE)
            continue;
        address = bar_address(bar);
        wanted = bar_wanted(bar, address);
        if (wanted && bar->mapped && bar->address == address)
            continue;
        left |= bar_unmap(bar);
        if (wanted)
            bar_map(bar, address);
    }
    return left;
}

void pci_bars_unmap(struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++)
        bar_unmap(&function->bars[i]);
}

bool pci_bars_blocked(const struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (function->bars[i].blocked)
            return true;
    return false;
}
