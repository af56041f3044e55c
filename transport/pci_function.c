#include "transport/pci_function.h"

#include "base/bytes.h"
#include "transport/pci_bar.h"

#include <linux/pci_regs.h>
#include <stdlib.h>

#define CAPABILITIES_START 0x40 /* after the type 0 header */

/* PCI_EXP_FLAGS: version 2, device type "root complex integrated endpoint" (7.5.3.2). */
#define PCIE_FLAGS  (2 | PCI_EXP_TYPE_RC_END << 4)
#define PCIE_LENGTH 0x3c

void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                       const struct pci_function_ops *ops)
{
    uint8_t *config = function->config;

    memset(function, 0, sizeof(*function));
    function->ops = ops;
    function->next_capability = CAPABILITIES_START;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        function->bars[i].function = function;
        function->bars[i].index = i;
    }

    store_le16(&config[PCI_VENDOR_ID], identity->vendor);
    store_le16(&config[PCI_DEVICE_ID], identity->device);
    store_le32(&config[PCI_CLASS_REVISION], identity->class_code << 8 | identity->revision);
    store_le16(&config[PCI_SUBSYSTEM_VENDOR_ID], identity->subsystem_vendor);
    store_le16(&config[PCI_SUBSYSTEM_ID], identity->subsystem);

    pci_function_set_writable(function, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    pci_function_set_writable(function, PCI_CACHE_LINE_SIZE, 1, 0xff);
    pci_function_set_writable(function, PCI_INTERRUPT_LINE, 1, 0xff);
}

void pci_function_set_writable(struct pci_function *function, unsigned offset, unsigned size,
                               uint32_t mask)
{
    for (unsigned i = 0; i < size; i++)
        function->writable[offset + i] |= (uint8_t)(mask >> (8 * i));
}

void pci_function_add_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind,
                          uint64_t size)
{
    struct pci_bar *bar = &function->bars[index];

    bar->kind = kind;
    bar->size = size;
    pci_bar_init_register(bar);
    pci_function_set_writable(function, PCI_COMMAND, 2,
                              kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

unsigned pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned length)
{
    unsigned offset = function->next_capability;
    uint8_t *config = function->config;

    if (offset + length > PCI_CONFIG_CONVENTION)
        abort();
    config[offset + PCI_CAP_LIST_ID] = id;
    if (function->last_capability)
        config[function->last_capability + PCI_CAP_LIST_NEXT] = (uint8_t)offset;
    else
        config[PCI_CAPABILITY_LIST] = (uint8_t)offset;
    config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    function->last_capability = offset;
    function->next_capability = (unsigned)align_up(offset + length, 4);
    return offset;
}

void pci_function_add_pcie(struct pci_function *function)
{
    unsigned offset = pci_function_add_capability(function, PCI_CAP_ID_EXP, PCIE_LENGTH);
    uint32_t reset = function->ops->reset ? PCI_EXP_DEVCAP_FLR : 0;

    function->pcie = offset;
    store_le16(&function->config[offset + PCI_EXP_FLAGS], PCIE_FLAGS);
    store_le32(&function->config[offset + PCI_EXP_DEVCAP], PCI_EXP_DEVCAP_RBER | reset);
    /* The enables of Device Control have nothing to act on, but are required to be writable:
     * error reporting, relaxed ordering, payload size, no-snoop, read request size. */
    pci_function_set_writable(function, offset + PCI_EXP_DEVCTL, 2, 0x78ff);
}

void pci_function_use_intx(struct pci_function *function)
{
    function->config[PCI_INTERRUPT_PIN] = 1;
    pci_function_set_writable(function, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
}

uint16_t pci_function_command(const struct pci_function *function)
{
    return load_le16(&function->config[PCI_COMMAND]);
}

static bool access_valid(uint32_t offset, unsigned size)
{
    return size && (offset & 3) + size <= 4 && offset < PCI_CONFIG_SIZE;
}

static bool touches(uint32_t offset, unsigned size, uint32_t start, uint32_t length)
{
    return offset < start + length && start < offset + size;
}

void pci_function_config_read(struct pci_function *function, uint32_t offset, void *data,
                              unsigned size)
{
    if (!access_valid(offset, size)) {
        memset(data, 0xff, size);
        return;
    }
    if (touches(offset, size, PCI_STATUS, 2)) {
        uint8_t *status = &function->config[PCI_STATUS];
        bool pending = function->config[PCI_INTERRUPT_PIN] && pci_intx_pending(&function->intx);
        *status =
            (uint8_t)((*status & ~PCI_STATUS_INTERRUPT) | (pending ? PCI_STATUS_INTERRUPT : 0));
    }
    if (function->ops->config_read)
        function->ops->config_read(function, offset, size);
    memcpy(data, &function->config[offset], size);
}

/* Whether the write sets Initiate Function Level Reset, bit 15 of Device Control. */
static bool starts_reset(const struct pci_function *function, uint32_t offset, const uint8_t *bytes,
                         unsigned size)
{
    uint32_t control = function->pcie + PCI_EXP_DEVCTL + 1;

    return function->pcie && function->ops->reset && touches(offset, size, control, 1) &&
           bytes[control - offset] & PCI_EXP_DEVCTL_BCR_FLR >> 8;
}

bool pci_function_config_write(struct pci_function *function, uint32_t offset, const void *data,
                               unsigned size)
{
    const uint8_t *bytes = data;
    bool command, bars, left = false;

    if (!access_valid(offset, size) || offset >= PCI_CONFIG_CONVENTION)
        return false;
    if (starts_reset(function, offset, bytes, size)) {
        function->ops->reset(function);
        return pci_function_reset(function);
    }
    for (unsigned i = 0; i < size; i++) {
        uint8_t *byte = &function->config[offset + i];
        uint8_t mask = function->writable[offset + i];
        *byte = (uint8_t)((*byte & ~mask) | (bytes[i] & mask));
    }

    command = touches(offset, size, PCI_COMMAND, 2);
    bars = touches(offset, size, PCI_BASE_ADDRESS_0, 4 * PCI_BARS);
    if (command && function->config[PCI_INTERRUPT_PIN])
        pci_intx_set_disabled(&function->intx,
                              pci_function_command(function) & PCI_COMMAND_INTX_DISABLE);
    if (command || bars)
        left = pci_bars_update(function);
    if (function->ops->config_written)
        function->ops->config_written(function, offset, size);
    return left;
}

bool pci_function_reset(struct pci_function *function)
{
    bool left;

    memcpy(function->config, function->power_on, PCI_CONFIG_CONVENTION);
    left = pci_bars_update(function);
    if (function->config[PCI_INTERRUPT_PIN]) {
        pci_intx_set_pending(&function->intx, false);
        pci_intx_set_disabled(&function->intx, false);
    }
    return left;
}
