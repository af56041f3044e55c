#include "vmm/machine_device_internal.h"

#include "base/log.h"
#include "virtio/device_legacy.h"
#include "virtio/vhost_user.h"
#include "virtio/vhost_vdpa.h"

#include <errno.h>

/* --- vDPA ------------------------------------------------------------------------------------- */

static int make_vdpa(const struct machine_device *device, const struct device_site *site,
                     const struct virtio_foreign *foreign, struct loop *loop,
                     struct virtio_backend **out, struct error *err)
{
    const struct virtio_model *model = device->setup.model;
    const struct vhost_vdpa_options options = {
        .path = device->slot.node,
        .type = foreign->id,
        .feature_names = model->features,
        .feature_count = model->feature_count,
        .system = &vhost_system_host,
    };

    if (foreign->stand_in.key)
        return error_set(err, EINVAL, "%s: a vDPA device serves its own configuration",
                         foreign->stand_in.key);
    return vhost_vdpa_create(&options, site->memory, loop, out, err);
}

/* Its queues are as the host's driver has them. */
static int fit_vdpa_queues(struct machine_device *device, struct error *err)
{
    struct virtio_device *virtio = &device->virtio;
    uint16_t largest = vhost_vdpa_largest_queue(virtio->backend);

    if (device->setup.common.queue_size > largest)
        return error_set(err, EINVAL, "queue-size: the queues of %s hold at most %u",
                         device->slot.node, largest);
    for (uint16_t i = 0; i < virtio->queue_count; i++)
        virtio_device_limit_queue(virtio, i, vhost_vdpa_queue_size(virtio->backend, i));
    return 0;
}

/* --- processes -------------------------------------------------------------------------------- */

/* Takes the arguments. */
static int make_process(struct machine_device *device, char **arguments, struct error *err)
{
    bool isolate = device->slot.isolate;
    int ret =
        device_process_create(device->setup.common.id, arguments, isolate,
                              isolate ? device->setup.model->hang_ms : 0, &device->process, err);

    if (!ret)
        device->process_callbacks = device_process_callbacks(device->process);
    return ret;
}

/* What we do ourselves for a device of the type that a process serves. */
static int make_front_part(struct machine_device *device, const struct device_site *site,
                           struct error *err)
{
    const struct device_setup *setup = &device->setup;
    const struct virtio_foreign_type *foreign = setup->model->foreign;

    if (!foreign || !foreign->make_front_part)
        return 0;
    return foreign->make_front_part(setup->options, !setup->elsewhere, site->display,
                                    setup->common.id, &device->front_part, err);
}

/* By a process that is there, or that we start. */
static int connect_vhost_user(struct machine_device *device, const struct device_site *site,
                              const struct virtio_foreign *foreign, struct loop *loop,
                              struct virtio_backend **out, struct error *err)
{
    const struct virtio_model *model = device->setup.model;
    const struct vhost_user_options options = {
        .path = device->slot.socket,
        .fd = device->socket_fd,
        .process = device->process ? &device->process_callbacks : NULL,
        .server = device->slot.server,
        .relay = device->slot.relay,
        .reconnect_s = device->reconnect_s,
        .id = foreign->id,
        .inband = device->slot.inband,
        .notify_pages = device->slot.page_per_vq && !device->slot.legacy,
        .queue_count = foreign->queue_count,
        .queue_size = device_setup_queue_size(&device->setup),
        .config_size = foreign->config_size,
        .feature_names = model->features,
        .feature_count = model->feature_count,
        .stand_in = foreign->has_stand_in ? &foreign->stand_in : NULL,
        .front_part = device->front_part,
    };
    int ret = vhost_user_create(&options, site->memory, loop, out, err);

    if (ret && device->process)
        device_process_explain(device->process, err);
    return ret;
}

static int make_vhost_user(struct machine_device *device, const struct device_site *site,
                           const struct virtio_foreign *foreign, struct loop *loop,
                           struct virtio_backend **out, struct error *err)
{
    int ret = make_front_part(device, site, err);

    return ret ? ret : connect_vhost_user(device, site, foreign, loop, out, err);
}

/* --- any -------------------------------------------------------------------------------------- */

/* By the kernel if it can; why not is for who asks. */
static int make_auto(const struct machine_device *device, const struct device_site *site,
                     struct loop *loop, struct virtio_backend **out, struct error *err)
{
    const struct device_setup *setup = &device->setup;
    struct error why = ERROR_INIT;

    if (!virtio_model_exists(setup->model))
        return device_setup_vhost(setup, site->memory, loop, site->cpus, out, err);
    if (device_setup_vhost(setup, site->memory, loop, site->cpus, out, &why) == 0)
        return 0;
    log_info("vmm", "%s: not served by the kernel: %s", setup->common.id, why.text);
    return device_setup_builtin(setup, site->memory, loop, site->cpus, out, err);
}

/* In a dry run a device that would be isolated is only checked. */
static int make_backend(struct machine_device *device, const struct device_site *site,
                        const struct virtio_foreign *foreign, struct loop *loop,
                        struct virtio_backend **out, struct error *err)
{
    const struct device_setup *setup = &device->setup;
    bool isolate = device->slot.isolate && !site->dry_run;
    char **arguments = device->arguments;
    int ret;

    device->arguments = isolate || device->slot.backend == BACKEND_VHOST_USER ? NULL : arguments;
    if (arguments && !device->arguments) {
        ret = make_process(device, arguments, err);
        return ret ? ret : make_vhost_user(device, site, foreign, loop, out, err);
    }
    switch (device->slot.backend) {
    case BACKEND_VHOST_USER:
        return make_vhost_user(device, site, foreign, loop, out, err);
    case BACKEND_VHOST:
        return device_setup_vhost(setup, site->memory, loop, site->cpus, out, err);
    case BACKEND_VDPA:
        return make_vdpa(device, site, foreign, loop, out, err);
    case BACKEND_AUTO:
        return make_auto(device, site, loop, out, err);
    default:
        return device_setup_builtin(setup, site->memory, loop, site->cpus, out, err);
    }
}

/* Unless told otherwise, one queue where another process serves it, as most programs do. */
static int describe(const struct machine_device *device, const struct device_site *site,
                    struct virtio_foreign *out, struct error *err)
{
    const struct device_setup *setup = &device->setup;

    if (machine_device_served_elsewhere(&device->slot))
        return device_setup_foreign(setup, 1, out, err);
    *out = (struct virtio_foreign){
        .id = setup->model->id,
        .queue_count = device_setup_queue_count(setup, site->cpus),
        .config_size = setup->model->config_size,
    };
    return 0;
}

/* A device of ours that has to do with the display lives on its thread. A process may keep its
 * front end waiting, and not the display. */
static const char *thread_of(const struct machine_device *device)
{
    if (device->setup.model->display && !device->setup.elsewhere && !device->slot.isolate)
        return IOTHREAD_DISPLAY;
    return device->slot.iothread ? device->slot.iothread : IOTHREAD_DEFAULT;
}

static int check_legacy(const struct machine_device *device, uint16_t id, struct error *err)
{
    if (!device->slot.legacy || virtio_device_type_has_legacy(id))
        return 0;
    return error_set(err, EINVAL, "legacy: %s devices have no legacy interface",
                     device->setup.model->name);
}

int machine_device_make_virtio(struct machine_device *device, const struct device_site *site,
                               struct error *err)
{
    const struct device_setup *setup = &device->setup;
    struct virtio_features masked = setup->masked;
    struct virtio_backend *backend;
    struct virtio_foreign what;
    struct loop *loop;
    int ret = describe(device, site, &what, err);

    if (!ret)
        ret = check_legacy(device, what.id, err);
    if (!ret)
        ret = iothreads_get(site->iothreads, thread_of(device), &loop, err);
    if (!ret) {
        device_setup_display(setup, site->display);
        ret = make_backend(device, site, &what, loop, &backend, err);
    }
    if (ret)
        return ret;
    for (int i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        masked.word[i] |= what.masked.word[i];
    if (device->slot.backend == BACKEND_VDPA)
        what.queue_count = vhost_vdpa_queue_count(backend);
    ret = virtio_device_init(&device->virtio, what.id, setup->common.id, backend, what.queue_count,
                             device_setup_queue_size(setup), &setup->wanted, &masked, err);
    device->virtio_ready = !ret;
    if (!ret && device->slot.backend == BACKEND_VDPA)
        ret = fit_vdpa_queues(device, err);
    return ret;
}
