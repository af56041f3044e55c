#include "tests/driver/mmio_driver.h"

#include "base/bytes.h"

#include <linux/virtio_mmio.h>

#define MMIO_DRIVER_QUEUE_RESET 0x0c0 /* 4.2.2, newer than the kernel's header */

uint32_t mmio_driver_read(struct mmio_driver *d, uint32_t offset)
{
    return (uint32_t)fake_read(d->driver.fake, ADDRESS_MMIO, d->base + offset, 4);
}

void mmio_driver_write(struct mmio_driver *d, uint32_t offset, uint32_t value)
{
    fake_write(d->driver.fake, ADDRESS_MMIO, d->base + offset, 4, value);
}

static struct mmio_driver *mmio_of(struct driver *d)
{
    return container_of(d, struct mmio_driver, driver);
}

static uint16_t mmio_device_id(struct driver *d)
{
    return (uint16_t)mmio_driver_read(mmio_of(d), VIRTIO_MMIO_DEVICE_ID);
}

static uint8_t mmio_status(struct driver *d)
{
    return (uint8_t)mmio_driver_read(mmio_of(d), VIRTIO_MMIO_STATUS);
}

static void mmio_set_status(struct driver *d, uint8_t value)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_STATUS, value);
}

static uint32_t mmio_device_features(struct driver *d, uint32_t word)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
    return mmio_driver_read(mmio_of(d), VIRTIO_MMIO_DEVICE_FEATURES);
}

static void mmio_set_driver_features(struct driver *d, uint32_t word, uint32_t bits)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_DRIVER_FEATURES, bits);
}

static uint32_t mmio_generation(struct driver *d)
{
    return mmio_driver_read(mmio_of(d), VIRTIO_MMIO_CONFIG_GENERATION);
}

static uint64_t mmio_config_read(struct driver *d, uint32_t offset, unsigned size)
{
    return fake_read(d->fake, ADDRESS_MMIO, mmio_of(d)->base + VIRTIO_MMIO_CONFIG + offset, size);
}

static void mmio_config_write(struct driver *d, uint32_t offset, unsigned size, uint64_t value)
{
    fake_write(d->fake, ADDRESS_MMIO, mmio_of(d)->base + VIRTIO_MMIO_CONFIG + offset, size, value);
}

static uint16_t mmio_queue_size_max(struct driver *d, uint16_t index)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    return (uint16_t)mmio_driver_read(mmio_of(d), VIRTIO_MMIO_QUEUE_NUM_MAX);
}

static void mmio_write_address(struct driver *d, uint32_t low, uint32_t high, uint64_t address)
{
    mmio_driver_write(mmio_of(d), low, (uint32_t)address);
    mmio_driver_write(mmio_of(d), high, (uint32_t)(address >> 32));
}

/* 4.2.3.2 Virtqueue Configuration */
static void mmio_queue_enable(struct driver *d, uint16_t index, uint16_t size, uint64_t desc,
                              uint64_t driver_area, uint64_t device_area)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_NUM, size);
    mmio_write_address(d, VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, desc);
    mmio_write_address(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, driver_area);
    mmio_write_address(d, VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, device_area);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_READY, 1);
}

static bool mmio_queue_enabled(struct driver *d, uint16_t index)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    return mmio_driver_read(mmio_of(d), VIRTIO_MMIO_QUEUE_READY) == 1;
}

static void mmio_queue_disable(struct driver *d, uint16_t index)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_READY, 0);
}

static bool mmio_queue_reset(struct driver *d, uint16_t index)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    mmio_driver_write(mmio_of(d), MMIO_DRIVER_QUEUE_RESET, 1);
    while (mmio_driver_read(mmio_of(d), MMIO_DRIVER_QUEUE_RESET))
        ;
    return !mmio_queue_enabled(d, index);
}

static void mmio_kick(struct driver *d, uint16_t index)
{
    uint32_t data =
        features_has(&d->negotiated, VIRTIO_F_NOTIFICATION_DATA) ? (uint32_t)d->next << 16 : 0;

    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_NOTIFY, index | data);
}

/* --- version 1 (4.2.4) --- */

static uint32_t no_generation(struct driver *d)
{
    (void)d;
    return 0;
}

static void legacy_queue_enable(struct driver *d, uint16_t index, uint16_t size, uint64_t desc,
                                uint64_t driver_area, uint64_t device_area)
{
    (void)driver_area;
    (void)device_area;
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_NUM, size);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_ALIGN, 4096);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_PFN, (uint32_t)(desc >> 12));
}

static bool legacy_queue_enabled(struct driver *d, uint16_t index)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    return mmio_driver_read(mmio_of(d), VIRTIO_MMIO_QUEUE_PFN) != 0;
}

static void legacy_queue_disable(struct driver *d, uint16_t index)
{
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_SEL, index);
    mmio_driver_write(mmio_of(d), VIRTIO_MMIO_QUEUE_PFN, 0);
}

static unsigned mmio_interrupts(struct driver *d)
{
    uint32_t causes = 0;

    if (fake_take_edges(d->fake, mmio_of(d)->gsi)) {
        causes = mmio_driver_read(mmio_of(d), VIRTIO_MMIO_INTERRUPT_STATUS);
        mmio_driver_write(mmio_of(d), VIRTIO_MMIO_INTERRUPT_ACK, causes);
    }
    return causes;
}

static const struct driver_ops mmio_driver_ops = {
    .name = "mmio",
    .device_id = mmio_device_id,
    .status = mmio_status,
    .set_status = mmio_set_status,
    .device_features = mmio_device_features,
    .set_driver_features = mmio_set_driver_features,
    .generation = mmio_generation,
    .config_read = mmio_config_read,
    .config_write = mmio_config_write,
    .queue_size_max = mmio_queue_size_max,
    .queue_enable = mmio_queue_enable,
    .queue_enabled = mmio_queue_enabled,
    .queue_disable = mmio_queue_disable,
    .queue_reset = mmio_queue_reset,
    .kick = mmio_kick,
    .interrupts = mmio_interrupts,
};

static const struct driver_ops mmio_legacy_driver_ops = {
    .name = "mmio-legacy",
    .device_id = mmio_device_id,
    .status = mmio_status,
    .set_status = mmio_set_status,
    .device_features = mmio_device_features,
    .set_driver_features = mmio_set_driver_features,
    .generation = no_generation,
    .config_read = mmio_config_read,
    .config_write = mmio_config_write,
    .queue_size_max = mmio_queue_size_max,
    .queue_enable = legacy_queue_enable,
    .queue_enabled = legacy_queue_enabled,
    .queue_disable = legacy_queue_disable,
    .kick = mmio_kick,
    .interrupts = mmio_interrupts,
};

void mmio_driver_init(struct mmio_driver *d, struct fake_platform *fake, uint64_t base,
                      uint32_t gsi)
{
    *d = (struct mmio_driver){
        .driver = {.ops = &mmio_driver_ops, .fake = fake}, .base = base, .gsi = gsi};
    if (mmio_driver_read(d, VIRTIO_MMIO_VERSION) != 1)
        return;
    d->driver.ops = &mmio_legacy_driver_ops;
    d->driver.legacy = true;
    mmio_driver_write(d, VIRTIO_MMIO_GUEST_PAGE_SIZE, 4096);
}
