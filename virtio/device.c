#include "virtio/device.h"

#include "base/bytes.h"
#include "virtio/device_internal.h"

#include <errno.h>
#include <string.h>

/* --- what the back end reports: any thread, no lock ------------------------------------------ */

static void on_notify_queue(void *opaque, uint16_t index)
{
    struct virtio_device *dev = opaque;

    dev->transport_ops->notify_queue(dev->transport, index);
}

static void on_config_changed(void *opaque)
{
    struct virtio_device *dev = opaque;

    device_config_stale(dev);
    atomic_store(&dev->config_held, true);
    /* Looked at after it was set: a resume at this moment tells the driver, or we do. */
    if (!device_suspended(dev) && atomic_exchange(&dev->config_held, false) &&
        atomic_load(&dev->status) != 0) /* STAT-06 */
        dev->transport_ops->notify_config(dev->transport);
}

static int on_queue_call_fd(void *opaque, uint16_t index, int fd)
{
    struct virtio_device *dev = opaque;
    const struct virtio_transport_ops *ops = dev->transport_ops;

    return ops->queue_call_fd ? ops->queue_call_fd(dev->transport, index, fd) : fd;
}

/* A peer may ask before there is a transport. */
static const struct virtio_transport_ops *transport_of(struct virtio_device *dev)
{
    return __atomic_load_n(&dev->transport_ops, __ATOMIC_ACQUIRE);
}

static int on_queue_notify_page(void *opaque, uint16_t index, void *page, struct error *err)
{
    struct virtio_device *dev = opaque;
    const struct virtio_transport_ops *ops = transport_of(dev);

    if (!ops || !ops->queue_notify_page)
        return error_set(err, ENOTSUP, "the driver of %s notifies queues at no pages", dev->name);
    return ops->queue_notify_page(dev->transport, index, page, err);
}

static int on_shared_map(void *opaque, const struct virtio_shared_mapping *mapping,
                         struct error *err)
{
    struct virtio_device *dev = opaque;
    const struct virtio_transport_ops *ops = transport_of(dev);

    if (!ops || !ops->shared_map)
        return error_set(err, ENOTSUP, "the driver of %s cannot be shown memory", dev->name);
    return ops->shared_map(dev->transport, mapping, err);
}

static void on_shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    struct virtio_device *dev = opaque;
    const struct virtio_transport_ops *ops = transport_of(dev);

    if (ops && ops->shared_unmap)
        ops->shared_unmap(dev->transport, id, offset, length);
}

static void on_needs_reset(void *opaque)
{
    device_needs_reset(opaque);
}

/* 2.1.2. A device that is reset needs no reset, so an event that comes late leaves no trace. */
void device_needs_reset(struct virtio_device *dev)
{
    unsigned status = atomic_load(&dev->status);

    do {
        if (status == 0 || status & VIRTIO_STATUS_NEEDS_RESET)
            return;
    } while (
        !atomic_compare_exchange_weak(&dev->status, &status, status | VIRTIO_STATUS_NEEDS_RESET));
    if (status & VIRTIO_STATUS_DRIVER_OK) /* STAT-04 */
        dev->transport_ops->notify_config(dev->transport);
}

/* --- creation -------------------------------------------------------------------------------- */

const struct virtio_feature_name *device_feature_unmet(const struct virtio_device *dev,
                                                       const struct virtio_features *f,
                                                       bool by_driver)
{
    const struct virtio_backend *backend = dev->backend;
    const struct virtio_feature_name *row =
        features_unmet(f, virtio_feature_names, virtio_feature_names_count, by_driver);

    return row ? row : features_unmet(f, backend->feature_names, backend->feature_count, by_driver);
}

/* What somebody else's code for rings does not know is not offered. */
static void drop_unserved(struct virtio_features *f, const struct virtio_features *served)
{
    static const unsigned of_rings[] = {VIRTIO_F_INDIRECT_DESC,  VIRTIO_F_EVENT_IDX,
                                        VIRTIO_F_RING_PACKED,    VIRTIO_F_IN_ORDER,
                                        VIRTIO_F_ORDER_PLATFORM, VIRTIO_F_ACCESS_PLATFORM};

    for (size_t i = 0; i < ARRAY_SIZE(of_rings); i++)
        if (!features_has(served, of_rings[i]))
            features_set(f, of_rings[i], false);
}

static void offer(struct virtio_device *dev, const struct virtio_features *wanted,
                  const struct virtio_features *masked)
{
    const struct virtio_backend *backend = dev->backend;
    struct virtio_features served;

    backend->ops->features(dev->backend, &served);
    dev->offered = served;
    features_offer(&dev->offered, backend->feature_names, backend->feature_count, wanted, masked);
    if (backend->foreign)
        drop_unserved(&dev->offered, &served);
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        dev->offered.word[i] &= ~backend->lacks.word[i];
}

int virtio_device_init(struct virtio_device *dev, uint16_t id, const char *name,
                       struct virtio_backend *backend, uint16_t queue_count, uint16_t queue_size,
                       const struct virtio_features *wanted, const struct virtio_features *masked,
                       struct error *err)
{
    int ret;

    *dev = (struct virtio_device){.id = id,
                                  .name = name,
                                  .backend = backend,
                                  .shared = backend->shared,
                                  .shared_count = backend->shared_count};
    backend->name = name;
    backend->events = (struct virtio_device_events){
        .notify_queue = on_notify_queue,
        .config_changed = on_config_changed,
        .needs_reset = on_needs_reset,
        .queue_call_fd = on_queue_call_fd,
        .queue_notify_page = on_queue_notify_page,
        .shared_map = on_shared_map,
        .shared_unmap = on_shared_unmap,
        .opaque = dev,
    };
    pthread_mutex_init(&dev->lock, NULL);
    device_config_stale(dev);
    offer(dev, wanted, masked);
    ret = device_create_queues(dev, queue_count, queue_size, err);
    if (ret)
        virtio_device_destroy(dev);
    return ret;
}

void virtio_device_attach(struct virtio_device *dev, const struct virtio_transport_ops *ops,
                          void *transport)
{
    dev->transport = transport;
    __atomic_store_n(&dev->transport_ops, ops, __ATOMIC_RELEASE);
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        dev->offered.word[i] &= ~ops->lacks.word[i];
    features_drop_unmet(&dev->offered, dev->backend->feature_names, dev->backend->feature_count);
}

void virtio_device_detach(struct virtio_device *dev)
{
    __atomic_store_n(&dev->transport_ops, NULL, __ATOMIC_RELEASE);
}

void virtio_device_destroy(struct virtio_device *dev)
{
    virtio_device_reset(dev);
    dev->backend->ops->destroy(dev->backend);
    device_destroy_queues(dev);
    pthread_mutex_destroy(&dev->lock);
}

int virtio_device_start(struct virtio_device *dev, struct error *err)
{
    struct virtio_backend *backend = dev->backend;

    return backend->ops->start ? backend->ops->start(backend, err) : 0;
}

int virtio_device_command(struct virtio_device *dev, const char *name, const char *argument,
                          struct error *err)
{
    DEVICE_LOCK(dev);

    if (!dev->backend->ops->command)
        return error_set(err, ENOENT, "%s takes no commands", dev->name);
    return dev->backend->ops->command(dev->backend, name, argument, err);
}

int virtio_device_dirty_log(struct virtio_device *dev, struct dirty_log *log, struct error *err)
{
    struct virtio_backend *backend = dev->backend;
    DEVICE_LOCK(dev);

    if (backend->ops->dirty_log)
        return backend->ops->dirty_log(backend, log, err);
    return log ? error_set(err, ENOTSUP, "%s (%s) cannot tell what it writes", dev->name,
                           backend->ops->name)
               : 0;
}

/* --- status and reset ------------------------------------------------------------------------ */

uint8_t virtio_device_status(struct virtio_device *dev)
{
    return (uint8_t)atomic_load(&dev->status);
}

void virtio_device_set_status(struct virtio_device *dev, uint8_t value)
{
    DEVICE_LOCK(dev);

    if (value == 0)
        device_reset(dev);
    else
        device_advance_status(dev, value);
}

void virtio_device_reset(struct virtio_device *dev)
{
    DEVICE_LOCK(dev);

    device_reset(dev);
}

/* 2.4 Device reset. Status stays as it is until nothing is in flight any more (STAT-07). */
void device_reset(struct virtio_device *dev)
{
    dev->negotiated = false;
    device_reset_queues(dev);
    dev->backend->ops->reset(dev->backend);
    dev->driver = (struct virtio_features){0};
    dev->interface = VIRTIO_UNBOUND;
    atomic_store(&dev->config_held, false);
    device_config_stale(dev); /* the driver may have written some of it */
    atomic_store(&dev->status, 0);
}

/* --- features -------------------------------------------------------------------------------- */

uint32_t virtio_device_features(struct virtio_device *dev, uint32_t word)
{
    return word < VIRTIO_FEATURE_WORDS ? dev->offered.word[word] : 0; /* constant: no lock */
}

uint32_t virtio_device_driver_features(struct virtio_device *dev, uint32_t word)
{
    DEVICE_LOCK(dev);

    return word < VIRTIO_FEATURE_WORDS ? dev->driver.word[word] : 0;
}

bool virtio_device_negotiated(struct virtio_device *dev, unsigned bit)
{
    DEVICE_LOCK(dev);

    return device_negotiated(dev, bit);
}

void virtio_device_set_driver_features(struct virtio_device *dev, uint32_t word, uint32_t bits)
{
    DEVICE_LOCK(dev);
    uint32_t words = dev->interface == VIRTIO_LEGACY ? 1 : VIRTIO_FEATURE_WORDS;

    if (dev->negotiated)
        device_complain(dev, "DRV-INIT-07", "features written after they were agreed");
    else if (word < words)
        dev->driver.word[word] = bits;
    else if (bits)
        device_complain(dev, "DRV-INIT-05", "features written in word %u", word);
}

/* Bits that a driver should take when they are offered, though the device works without them. */
static void check_recommended(struct virtio_device *dev)
{
    static const struct {
        unsigned bit;
        const char *name;
    } recommended[] = {
        {VIRTIO_F_ACCESS_PLATFORM, "ACCESS_PLATFORM"},
        {VIRTIO_F_RING_PACKED, "RING_PACKED"},
        {VIRTIO_F_ORDER_PLATFORM, "ORDER_PLATFORM"},
        {VIRTIO_F_NOTIF_CONFIG_DATA, "NOTIF_CONFIG_DATA"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(recommended); i++)
        if (features_has(&dev->offered, recommended[i].bit) &&
            !features_has(&dev->driver, recommended[i].bit))
            log_limited(LOG_INFO, "virtio", "%s: DRV-INIT-09: %s not accepted", dev->name,
                        recommended[i].name);
}

int device_settle_features(struct virtio_device *dev)
{
    struct virtio_backend *backend = dev->backend;
    int ret;

    device_config_stale(dev); /* some fields start with what was negotiated */
    ret = backend->ops->set_features(backend, &dev->driver);
    dev->negotiated = !ret;
    if (device_negotiated(dev, VIRTIO_F_RING_PACKED))
        device_reset_queues(dev); /* which may have other sizes now (PCIC-12) */
    return ret;
}

/* 2.2.2: whether the device will work with the driver's choice. */
int device_accept_features(struct virtio_device *dev)
{
    const struct virtio_features *choice = &dev->driver;
    const struct virtio_feature_name *row = device_feature_unmet(dev, choice, true);

    if (!features_subset(choice, &dev->offered)) {
        device_complain(dev, "DRV-INIT-05", "features accepted that were not offered");
        return -EINVAL;
    }
    if (!features_has(choice, VIRTIO_F_VERSION_1)) { /* FEAT-05 */
        device_complain(dev, "DRV-INIT-08", "VERSION_1 not accepted");
        return -EINVAL;
    }
    if (row) {
        device_complain(dev, "DRV-INIT-06", "%s accepted without feature bit %d", row->name,
                        row->needs & 0xff);
        return -EINVAL;
    }
    check_recommended(dev);
    return device_settle_features(dev);
}
