#include "tests/driver/driver.h"

#include "base/loop.h"

#include <linux/virtio_config.h>

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

bool driver_wait(struct driver *d, unsigned causes, int timeout_ms)
{
    uint64_t deadline = loop_now_ns() + (uint64_t)timeout_ms * 1000000;
    unsigned seen = 0;

    for (;;) {
        uint64_t now = loop_now_ns();

        seen |= d->ops->interrupts(d);
        if ((seen & causes) == causes)
            return true;
        if (now >= deadline)
            return false;
        fake_wait_interrupt(d->fake, (int)((deadline - now) / 1000000 + 1));
    }
}
