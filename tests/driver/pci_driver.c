#include "tests/driver/pci_driver.h"

#include "base/bytes.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

/* 4.1.4.3, newer than the kernel's header */
#define COMMON_NOTIF_CONFIG_DATA 0x38
#define COMMON_QUEUE_RESET       0x3a

uint32_t pci_driver_config_read(struct pci_driver *d, uint32_t offset, unsigned size)
{
    return (uint32_t)fake_read(d->driver.fake, ADDRESS_MMIO, d->ecam + offset, size);
}

void pci_driver_config_write(struct pci_driver *d, uint32_t offset, unsigned size, uint32_t value)
{
    fake_write(d->driver.fake, ADDRESS_MMIO, d->ecam + offset, size, value);
}

uint64_t pci_driver_common_read(struct pci_driver *d, uint32_t offset, unsigned size)
{
    return fake_read(d->driver.fake, ADDRESS_MMIO, d->common + offset, size);
}

void pci_driver_common_write(struct pci_driver *d, uint32_t offset, unsigned size, uint64_t value)
{
    fake_write(d->driver.fake, ADDRESS_MMIO, d->common + offset, size, value);
}

static struct pci_driver *pci_of(struct driver *d)
{
    return container_of(d, struct pci_driver, driver);
}

uint32_t pci_driver_find(struct pci_driver *d, uint8_t id, uint8_t cfg_type)
{
    uint32_t at = pci_driver_config_read(d, PCI_CAPABILITY_LIST, 1);

    for (unsigned i = 0; at && i < 48; i++) {
        uint32_t type = pci_driver_config_read(d, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
        if (pci_driver_config_read(d, at + PCI_CAP_LIST_ID, 1) == id &&
            (id != PCI_CAP_ID_VNDR || type == cfg_type))
            return at;
        at = pci_driver_config_read(d, at + PCI_CAP_LIST_NEXT, 1);
    }
    return 0;
}

static uint64_t bar_address(struct pci_driver *d, uint32_t bar)
{
    uint32_t at = PCI_BASE_ADDRESS_0 + 4 * bar;
    uint32_t low = pci_driver_config_read(d, at, 4);
    uint64_t address = low & PCI_BASE_ADDRESS_MEM_MASK;

    if (low & PCI_BASE_ADDRESS_MEM_TYPE_64)
        address |= (uint64_t)pci_driver_config_read(d, at + 4, 4) << 32;
    return address;
}

/* The guest address of the structure a virtio capability names; 0: not there. */
static uint64_t find_structure(struct pci_driver *d, uint8_t cfg_type)
{
    uint32_t cap = pci_driver_find(d, PCI_CAP_ID_VNDR, cfg_type);

    if (!cap)
        return 0;
    return bar_address(d, pci_driver_config_read(d, cap + VIRTIO_PCI_CAP_BAR, 1)) +
           pci_driver_config_read(d, cap + VIRTIO_PCI_CAP_OFFSET, 4);
}

static uint64_t find_msix_part(struct pci_driver *d, uint32_t reg)
{
    uint32_t value = pci_driver_config_read(d, d->msix_capability + reg, 4);

    return bar_address(d, value & 7) + (value & ~7u);
}

static void enable_msix(struct pci_driver *d)
{
    for (uint16_t i = 0; i < d->msix_count; i++) {
        uint64_t entry = d->msix_table + (uint64_t)i * PCI_MSIX_ENTRY_SIZE;
        struct fake_platform *fake = d->driver.fake;
        fake_write(fake, ADDRESS_MMIO, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4,
                   PCI_DRIVER_MSI_ADDRESS & UINT32_MAX);
        fake_write(fake, ADDRESS_MMIO, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4,
                   PCI_DRIVER_MSI_ADDRESS >> 32);
        fake_write(fake, ADDRESS_MMIO, entry + PCI_MSIX_ENTRY_DATA, 4, PCI_DRIVER_MSI_DATA + i);
        fake_write(fake, ADDRESS_MMIO, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
    }
    pci_driver_config_write(d, d->msix_capability + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static uint16_t pci_device_id(struct driver *d)
{
    uint16_t id = (uint16_t)pci_driver_config_read(pci_of(d), PCI_DEVICE_ID, 2);

    if (id < 0x1040) /* transitional */
        return (uint16_t)pci_driver_config_read(pci_of(d), PCI_SUBSYSTEM_ID, 2);
    return (uint16_t)(id - 0x1040);
}

static uint8_t pci_status(struct driver *d)
{
    return (uint8_t)pci_driver_common_read(pci_of(d), VIRTIO_PCI_COMMON_STATUS, 1);
}

static void pci_set_status(struct driver *d, uint8_t value)
{
    pci_driver_common_write(pci_of(d), VIRTIO_PCI_COMMON_STATUS, 1, value);
    /* A reset unmapped the vectors (4.1.5.1.2.1). */
    if (!value && pci_of(d)->msix)
        pci_driver_common_write(pci_of(d), VIRTIO_PCI_COMMON_MSIX, 2, 0);
}

static uint32_t pci_device_features(struct driver *d, uint32_t word)
{
    pci_driver_common_write(pci_of(d), VIRTIO_PCI_COMMON_DFSELECT, 4, word);
    return (uint32_t)pci_driver_common_read(pci_of(d), VIRTIO_PCI_COMMON_DF, 4);
}

static void pci_set_driver_features(struct driver *d, uint32_t word, uint32_t bits)
{
    pci_driver_common_write(pci_of(d), VIRTIO_PCI_COMMON_GFSELECT, 4, word);
    pci_driver_common_write(pci_of(d), VIRTIO_PCI_COMMON_GF, 4, bits);
}

static uint32_t pci_generation(struct driver *d)
{
    return (uint32_t)pci_driver_common_read(pci_of(d), VIRTIO_PCI_COMMON_CFGGENERATION, 1);
}

static uint64_t pci_config_read(struct driver *d, uint32_t offset, unsigned size)
{
    return fake_read(d->fake, ADDRESS_MMIO, pci_of(d)->device + offset, size);
}

static void pci_config_write(struct driver *d, uint32_t offset, unsigned size, uint64_t value)
{
    fake_write(d->fake, ADDRESS_MMIO, pci_of(d)->device + offset, size, value);
}

static void select_queue(struct driver *d, uint16_t index)
{
    pci_driver_common_write(pci_of(d), VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
}

static uint16_t pci_queue_size_max(struct driver *d, uint16_t index)
{
    select_queue(d, index);
    return (uint16_t)pci_driver_common_read(pci_of(d), VIRTIO_PCI_COMMON_Q_SIZE, 2);
}

static void write_address(struct driver *d, uint32_t low, uint64_t address)
{
    pci_driver_common_write(pci_of(d), low, 4, (uint32_t)address);
    pci_driver_common_write(pci_of(d), low + 4, 4, (uint32_t)(address >> 32));
}

/* 4.1.5.1.3 Virtqueue Configuration */
static void pci_queue_enable(struct driver *d, uint16_t index, uint16_t size, uint64_t desc,
                             uint64_t driver_area, uint64_t device_area)
{
    struct pci_driver *pci = pci_of(d);
    uint16_t vector = (uint16_t)MIN(index + 1, pci->msix_count - 1);

    select_queue(d, index);
    pci_driver_common_write(pci, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
    if (pci->msix)
        pci_driver_common_write(pci, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
    write_address(d, VIRTIO_PCI_COMMON_Q_DESCLO, desc);
    write_address(d, VIRTIO_PCI_COMMON_Q_AVAILLO, driver_area);
    write_address(d, VIRTIO_PCI_COMMON_Q_USEDLO, device_area);
    pci_driver_common_write(pci, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static bool pci_queue_enabled(struct driver *d, uint16_t index)
{
    select_queue(d, index);
    return pci_driver_common_read(pci_of(d), VIRTIO_PCI_COMMON_Q_ENABLE, 2) == 1;
}

static bool pci_queue_reset(struct driver *d, uint16_t index)
{
    select_queue(d, index);
    pci_driver_common_write(pci_of(d), COMMON_QUEUE_RESET, 2, 1);
    while (pci_driver_common_read(pci_of(d), COMMON_QUEUE_RESET, 2))
        ;
    return !pci_queue_enabled(d, index);
}

/* 4.1.5.2 Available Buffer Notifications */
static void pci_kick(struct driver *d, uint16_t index)
{
    struct pci_driver *pci = pci_of(d);
    bool with_data = features_has(&d->negotiated, VIRTIO_F_NOTIFICATION_DATA);
    uint32_t value = index;
    uint64_t offset;

    select_queue(d, index);
    offset = pci_driver_common_read(pci, VIRTIO_PCI_COMMON_Q_NOFF, 2) * pci->notify_multiplier;
    if (features_has(&d->negotiated, VIRTIO_F_NOTIF_CONFIG_DATA))
        value = (uint32_t)pci_driver_common_read(pci, COMMON_NOTIF_CONFIG_DATA, 2);
    if (with_data)
        value |= (uint32_t)d->next << 16;
    fake_write(d->fake, ADDRESS_MMIO, pci->notify + offset, with_data ? 4 : 2, value);
}

static unsigned pci_interrupts(struct driver *d)
{
    struct pci_driver *pci = pci_of(d);
    struct msi_message message;
    unsigned causes = 0;

    if (!pci->msix)
        return fake_level(d->fake, pci->gsi)
                   ? (unsigned)fake_read(d->fake, ADDRESS_MMIO, pci->isr, 1)
                   : 0;
    while (fake_take_msi(d->fake, &message))
        causes |=
            message.data == PCI_DRIVER_MSI_DATA ? DRIVER_INTERRUPT_CONFIG : DRIVER_INTERRUPT_QUEUE;
    return causes;
}

static const struct driver_ops pci_driver_ops = {
    .name = "pci",
    .device_id = pci_device_id,
    .status = pci_status,
    .set_status = pci_set_status,
    .device_features = pci_device_features,
    .set_driver_features = pci_set_driver_features,
    .generation = pci_generation,
    .config_read = pci_config_read,
    .config_write = pci_config_write,
    .queue_size_max = pci_queue_size_max,
    .queue_enable = pci_queue_enable,
    .queue_enabled = pci_queue_enabled,
    .queue_reset = pci_queue_reset,
    .kick = pci_kick,
    .interrupts = pci_interrupts,
};

/* --- the legacy interface (4.1.4.10) --- */

uint32_t pci_driver_io_read(struct pci_driver *d, uint32_t offset, unsigned size)
{
    return (uint32_t)fake_read(d->driver.fake, ADDRESS_PIO, d->io + offset, size);
}

void pci_driver_io_write(struct pci_driver *d, uint32_t offset, unsigned size, uint32_t value)
{
    fake_write(d->driver.fake, ADDRESS_PIO, d->io + offset, size, value);
}

static uint16_t io_device_id(struct driver *d)
{
    return (uint16_t)pci_driver_config_read(pci_of(d), PCI_SUBSYSTEM_ID, 2);
}

static uint8_t io_status(struct driver *d)
{
    return (uint8_t)pci_driver_io_read(pci_of(d), VIRTIO_PCI_STATUS, 1);
}

static void io_set_status(struct driver *d, uint8_t value)
{
    pci_driver_io_write(pci_of(d), VIRTIO_PCI_STATUS, 1, value);
    if (!value && pci_of(d)->msix)
        pci_driver_io_write(pci_of(d), VIRTIO_MSI_CONFIG_VECTOR, 2, 0);
}

static uint32_t io_device_features(struct driver *d, uint32_t word)
{
    return word ? 0 : pci_driver_io_read(pci_of(d), VIRTIO_PCI_HOST_FEATURES, 4);
}

static void io_set_driver_features(struct driver *d, uint32_t word, uint32_t bits)
{
    (void)word;
    pci_driver_io_write(pci_of(d), VIRTIO_PCI_GUEST_FEATURES, 4, bits);
}

static uint32_t io_generation(struct driver *d)
{
    (void)d;
    return 0;
}

static uint64_t io_config(struct driver *d, uint32_t offset)
{
    return pci_of(d)->io + VIRTIO_PCI_CONFIG_OFF(pci_of(d)->msix) + offset;
}

static uint64_t io_config_read(struct driver *d, uint32_t offset, unsigned size)
{
    return fake_read(d->fake, ADDRESS_PIO, io_config(d, offset), size);
}

static void io_config_write(struct driver *d, uint32_t offset, unsigned size, uint64_t value)
{
    fake_write(d->fake, ADDRESS_PIO, io_config(d, offset), size, value);
}

static void io_select_queue(struct driver *d, uint16_t index)
{
    pci_driver_io_write(pci_of(d), VIRTIO_PCI_QUEUE_SEL, 2, index);
}

static uint16_t io_queue_size_max(struct driver *d, uint16_t index)
{
    io_select_queue(d, index);
    return (uint16_t)pci_driver_io_read(pci_of(d), VIRTIO_PCI_QUEUE_NUM, 2);
}

static void io_queue_enable(struct driver *d, uint16_t index, uint16_t size, uint64_t desc,
                            uint64_t driver_area, uint64_t device_area)
{
    struct pci_driver *pci = pci_of(d);

    (void)size;
    (void)driver_area;
    (void)device_area;
    io_select_queue(d, index);
    pci_driver_io_write(pci, VIRTIO_PCI_QUEUE_PFN, 4,
                        (uint32_t)(desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT));
    if (pci->msix)
        pci_driver_io_write(pci, VIRTIO_MSI_QUEUE_VECTOR, 2, MIN(index + 1u, pci->msix_count - 1u));
}

static bool io_queue_enabled(struct driver *d, uint16_t index)
{
    io_select_queue(d, index);
    return pci_driver_io_read(pci_of(d), VIRTIO_PCI_QUEUE_PFN, 4) != 0;
}

static void io_queue_disable(struct driver *d, uint16_t index)
{
    io_select_queue(d, index);
    pci_driver_io_write(pci_of(d), VIRTIO_PCI_QUEUE_PFN, 4, 0);
}

static void io_kick(struct driver *d, uint16_t index)
{
    pci_driver_io_write(pci_of(d), VIRTIO_PCI_QUEUE_NOTIFY, 2, index);
}

static unsigned io_interrupts(struct driver *d)
{
    if (pci_of(d)->msix)
        return pci_interrupts(d);
    return fake_level(d->fake, pci_of(d)->gsi) ? pci_driver_io_read(pci_of(d), VIRTIO_PCI_ISR, 1)
                                               : 0;
}

static const struct driver_ops pci_legacy_driver_ops = {
    .name = "pci-legacy",
    .device_id = io_device_id,
    .status = io_status,
    .set_status = io_set_status,
    .device_features = io_device_features,
    .set_driver_features = io_set_driver_features,
    .generation = io_generation,
    .config_read = io_config_read,
    .config_write = io_config_write,
    .queue_size_max = io_queue_size_max,
    .queue_enable = io_queue_enable,
    .queue_enabled = io_queue_enabled,
    .queue_disable = io_queue_disable,
    .kick = io_kick,
    .interrupts = io_interrupts,
};

/* --- finding the device --- */

/* Decode the BARs, let the device write memory; with `msix`, as many vectors as there are. */
static bool probe(struct pci_driver *d, struct fake_platform *fake, uint64_t function, uint32_t gsi,
                  bool msix)
{
    uint32_t command;

    *d = (struct pci_driver){.driver = {.fake = fake}, .ecam = function, .gsi = gsi, .msix = msix};
    if (pci_driver_config_read(d, PCI_VENDOR_ID, 2) != 0x1af4)
        return false;
    command = pci_driver_config_read(d, PCI_COMMAND, 2);
    pci_driver_config_write(d, PCI_COMMAND, 2,
                            command | PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    d->msix_capability = pci_driver_find(d, PCI_CAP_ID_MSIX, 0);
    if (!d->msix_capability)
        return !msix;
    d->msix_count = (uint16_t)((pci_driver_config_read(d, d->msix_capability + PCI_MSIX_FLAGS, 2) &
                                PCI_MSIX_FLAGS_QSIZE) +
                               1);
    d->msix_table = find_msix_part(d, PCI_MSIX_TABLE);
    d->msix_pba = find_msix_part(d, PCI_MSIX_PBA);
    if (msix)
        enable_msix(d);
    return true;
}

bool pci_driver_init(struct pci_driver *d, struct fake_platform *fake, uint64_t ecam, unsigned slot,
                     uint32_t gsi, bool msix)
{
    uint32_t notify;

    if (!probe(d, fake, ecam + ((uint64_t)slot << 15), gsi, msix))
        return false;
    d->driver.ops = &pci_driver_ops;
    d->common = find_structure(d, VIRTIO_PCI_CAP_COMMON_CFG);
    d->notify = find_structure(d, VIRTIO_PCI_CAP_NOTIFY_CFG);
    d->isr = find_structure(d, VIRTIO_PCI_CAP_ISR_CFG);
    d->device = find_structure(d, VIRTIO_PCI_CAP_DEVICE_CFG);
    d->window = pci_driver_find(d, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
    notify = pci_driver_find(d, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);
    d->notify_multiplier = pci_driver_config_read(d, notify + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
    return d->common && d->notify && d->isr && d->window;
}

bool pci_driver_init_legacy(struct pci_driver *d, struct fake_platform *fake, uint64_t ecam,
                            unsigned slot, uint32_t gsi, bool msix)
{
    uint32_t bar;

    if (!probe(d, fake, ecam + ((uint64_t)slot << 15), gsi, msix))
        return false;
    d->driver.ops = &pci_legacy_driver_ops;
    d->driver.legacy = true;
    bar = pci_driver_config_read(d, PCI_BASE_ADDRESS_0, 4);
    d->io = bar & PCI_BASE_ADDRESS_IO_MASK;
    return pci_driver_config_read(d, PCI_REVISION_ID, 1) == 0 && bar & PCI_BASE_ADDRESS_SPACE_IO;
}
