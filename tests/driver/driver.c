#include "tests/driver/driver.h"

#include <linux/virtio_config.h>
#include <time.h>

bool driver_negotiate(struct driver *d, const struct virtio_features *wanted,
                      struct virtio_features *negotiated)
{
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    struct virtio_features chosen = {0};
    uint32_t words = d->legacy ? 1 : VIRTIO_FEATURE_WORDS;

    driver_reset(d);
    d->ops->set_status(d, status);
    status |= VIRTIO_CONFIG_S_DRIVER;
    d->ops->set_status(d, status);
    for (uint32_t word = 0; word < words; word++) {
        chosen.word[word] = d->ops->device_features(d, word) & wanted->word[word];
        d->ops->set_driver_features(d, word, chosen.word[word]);
    }
    d->negotiated = chosen;
    if (negotiated)
        *negotiated = chosen;
    if (d->legacy)
        return true;
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    d->ops->set_status(d, status);
    return d->ops->status(d) == status;
}

void driver_ok(struct driver *d)
{
    d->ops->set_status(d, d->ops->status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_reset(struct driver *d)
{
    d->ops->set_status(d, 0);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool driver_wait(struct driver *d, unsigned causes, int timeout_ms)
{
    int64_t deadline = now_ms() + timeout_ms;
    unsigned seen = 0;

    for (;;) {
        int64_t left = deadline - now_ms();
        seen |= d->ops->interrupts(d);
        if ((seen & causes) == causes)
            return true;
        if (left <= 0)
            return false;
        fake_wait_interrupt(d->fake, (int)left);
    }
}
