#include "vmm/dirty.h"

#include <errno.h>

static bool logging(const struct machine *machine)
{
    return machine->dirty_log.bits != NULL;
}

/* Devices from the last of `count` down, then the log itself. */
static void stop(struct machine *machine, size_t count)
{
    while (count-- > 0)
        virtio_device_dirty_log(&machine->devices[count]->virtio, NULL, NULL);
    dirty_log_destroy(&machine->dirty_log);
}

int machine_dirty_start(struct machine *machine, struct error *err)
{
    size_t count = 0;
    int ret;

    if (logging(machine))
        return 0;
    ret = dirty_log_create(&machine->dirty_log, &machine->memory, err);
    if (ret)
        return ret;
    for (; count < machine->device_count && !ret; count++)
        ret = virtio_device_dirty_log(&machine->devices[count]->virtio, &machine->dirty_log, err);
    if (!ret)
        ret = kvm_vm_log_dirty(machine->vm, true, err);
    if (ret)
        stop(machine, count);
    return ret;
}

void machine_dirty_stop(struct machine *machine)
{
    if (!logging(machine))
        return;
    kvm_vm_log_dirty(machine->vm, false, NULL);
    stop(machine, machine->device_count);
}

int machine_dirty_take(struct machine *machine,
                       void (*tell)(void *opaque, gpa_t start, uint64_t pages), void *opaque,
                       uint64_t *pages, struct error *err)
{
    int ret;

    if (!logging(machine))
        return error_set(err, EINVAL, "dirty pages are not being logged");
    ret = kvm_vm_take_dirty(machine->vm, &machine->dirty_log, err);
    if (!ret)
        *pages = dirty_log_take(&machine->dirty_log, tell, opaque);
    return ret;
}

void machine_dirty_all(struct machine *machine)
{
    for (size_t i = 0; logging(machine) && i < machine->memory.count; i++) {
        const struct guest_region *region = &machine->memory.regions[i];

        dirty_log_mark(&machine->dirty_log, GPA(region->start), region->size);
    }
}
