#include "devices/power.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SLEEP_CONTROL, SLEEP_STATUS, RESET_CONTROL, PORTS };

/* SLEEP_CONTROL_REG (ACPI 6.4, table 4.20) */
#define SLP_TYP(value) ((value) >> 2 & 7)
#define SLP_EN         0x20

/* pvpanic: QEMU's docs/specs/pvpanic */
#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02 /* a crash kernel takes over: it is not the end */

struct power {
    struct platform *platform;
    uint16_t port, pvpanic_port;
    uint32_t gsi;
    int button_fd;
    void (*event)(void *opaque, enum power_event event);
    void *opaque;
};

static void port_written(struct power *power, uint64_t port, uint8_t value)
{
    switch (port) {
    case SLEEP_CONTROL:
        if (!(value & SLP_EN))
            break;
        if (SLP_TYP(value) == POWER_SLEEP_TYPE_S5)
            power->event(power->opaque, POWER_OFF);
        else
            log_limited(LOG_WARN, "power", "the guest wants to sleep in a way it was not offered");
        break;
    case RESET_CONTROL:
        if (value == POWER_RESET_VALUE)
            power->event(power->opaque, POWER_RESET);
        break;
    }
}

static void power_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        port_written(opaque, offset + i, ((const uint8_t *)data)[i]);
}

/* WAK_STS stays clear: this machine never wakes from anything. */
static void power_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    (void)opaque;
    (void)offset;
    memset(data, 0, size);
}

static void pvpanic_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct power *power = opaque;
    uint8_t value = *(const uint8_t *)data;

    (void)offset;
    (void)size;
    if (value & PVPANIC_CRASH_LOADED)
        log_limited(LOG_WARN, "power", "the guest panicked and starts its crash kernel");
    if (value & PVPANIC_PANICKED)
        power->event(power->opaque, POWER_PANIC);
}

static void pvpanic_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    (void)opaque;
    (void)offset;
    memset(data, 0, size);
    *(uint8_t *)data = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static int ranges_add(struct power *power, struct error *err)
{
    const struct platform_ops *ops = power->platform->ops;
    const struct address_range sleep = {
        ADDRESS_PIO, power->port, PORTS, "power", power_read, power_write, power,
    };
    const struct address_range pvpanic = {
        ADDRESS_PIO, power->pvpanic_port, 1, "pvpanic", pvpanic_read, pvpanic_write, power,
    };
    int ret = ops->range_add(power->platform, &sleep, err);

    if (ret || !power->pvpanic_port)
        return ret;
    ret = ops->range_add(power->platform, &pvpanic, err);
    if (ret)
        ops->range_remove(power->platform, ADDRESS_PIO, power->port);
    return ret;
}

static int attach(struct power *power, struct error *err)
{
    const struct platform_ops *ops = power->platform->ops;
    int ret;

    power->button_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (power->button_fd < 0)
        return error_errno(err, errno, "cannot create an eventfd for the power button");
    ret = ops->line_irqfd_add(power->platform, power->gsi, power->button_fd, err);
    if (!ret) {
        ret = ranges_add(power, err);
        if (ret)
            ops->line_irqfd_remove(power->platform, power->gsi, power->button_fd);
    }
    if (ret)
        close(power->button_fd);
    return ret;
}

int power_create(struct platform *platform, uint16_t port, uint16_t pvpanic_port, uint32_t gsi,
                 void (*event)(void *opaque, enum power_event event), void *opaque,
                 struct power **out, struct error *err)
{
    struct power *power = calloc(1, sizeof(*power));
    int ret;

    if (!power)
        return error_set(err, ENOMEM, "no memory for the power hardware");
    *power = (struct power){
        .platform = platform,
        .port = port,
        .pvpanic_port = pvpanic_port,
        .gsi = gsi,
        .event = event,
        .opaque = opaque,
    };
    ret = attach(power, err);
    if (ret) {
        free(power);
        return ret;
    }
    *out = power;
    return 0;
}

void power_destroy(struct power *power)
{
    const struct platform_ops *ops;

    if (!power)
        return;
    ops = power->platform->ops;
    ops->range_remove(power->platform, ADDRESS_PIO, power->port);
    if (power->pvpanic_port)
        ops->range_remove(power->platform, ADDRESS_PIO, power->pvpanic_port);
    ops->line_irqfd_remove(power->platform, power->gsi, power->button_fd);
    close(power->button_fd);
    free(power);
}

void power_button_press(struct power *power)
{
    const uint64_t one = 1;
    ssize_t written = write(power->button_fd, &one, sizeof(one));

    (void)written;
}
