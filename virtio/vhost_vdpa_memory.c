/*
 * Guest memory for a vDPA device: mapped at its guest addresses, and pinned by the kernel.
 */
#include "virtio/vhost_vdpa_internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* --- before anything starts ------------------------------------------------------------------- */

int vhost_vdpa_check_range(struct vhost_vdpa *v, struct error *err)
{
    struct vhost_vdpa_iova_range range;
    const struct guest_memory *memory = v->backend.memory;
    int ret = VHOST_FD_REQUEST(&v->fd, VHOST_VDPA_GET_IOVA_RANGE, &range, err);

    for (size_t i = 0; !ret && i < memory->count; i++) {
        const struct guest_region *region = &memory->regions[i];

        if (region->start < range.first || region->start + (region->size - 1) > range.last)
            ret =
                error_set(err, ERANGE,
                          "%s: the device reaches addresses 0x%llx to 0x%llx, and not all of the "
                          "guest's memory",
                          v->path, (unsigned long long)range.first, (unsigned long long)range.last);
    }
    return ret;
}

/* The kernel counts each device's pages against the process's limit, whoever owns the process. */
static atomic_uint pinning_devices;

/* As much as is needed, if that is allowed: always up to the hard limit, and beyond for root. */
static void raise_limit(struct rlimit *limit, uint64_t needed)
{
    const struct rlimit raised = {needed, MAX(limit->rlim_max, needed)};

    if (setrlimit(RLIMIT_MEMLOCK, &raised) == 0)
        *limit = raised;
}

int vhost_vdpa_allow_pinning(struct vhost_vdpa *v, struct error *err)
{
    uint64_t size = guest_memory_size(v->backend.memory), needed;
    struct rlimit limit;

    v->counted = true;
    needed = (atomic_fetch_add(&pinning_devices, 1) + 1) * size;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return error_errno(err, errno, "cannot read RLIMIT_MEMLOCK");
    if (limit.rlim_cur < needed)
        raise_limit(&limit, needed);
    if (limit.rlim_cur >= needed)
        return 0;
    return error_set(err, EPERM,
                     "vDPA devices pin the guest's memory, each all of it: that is %llu KiB, and "
                     "this process may lock %llu KiB (ulimit -l, LimitMEMLOCK=)",
                     (unsigned long long)(needed / KIB),
                     (unsigned long long)(limit.rlim_max / KIB));
}

void vhost_vdpa_end_pinning(struct vhost_vdpa *v)
{
    if (v->counted)
        atomic_fetch_sub(&pinning_devices, 1);
    v->counted = false;
}

/* --- while queues run ------------------------------------------------------------------------- */

/* Whoever used the device before us may have given its groups address spaces of their own. */
static int join_groups(struct vhost_vdpa *v, struct error *err)
{
    int ret = 0;

    if (v->address_spaces > 1)
        for (uint32_t group = 0; !ret && group < v->group_count; group++)
            ret = VHOST_FD_VRING_NUMBER(&v->fd, VHOST_VDPA_SET_GROUP_ASID, group, 0, err);
    return ret;
}

int vhost_vdpa_map(struct vhost_vdpa *v, struct error *err)
{
    int ret;

    if (v->mapped)
        return 0;
    ret = join_groups(v, err);
    if (ret)
        return ret;
    v->mapped = true;
    ret = vhost_fd_map_memory(&v->fd, 0, v->backend.memory, err);
    if (ret)
        vhost_vdpa_unmap(v);
    return ret;
}

void vhost_vdpa_unmap(struct vhost_vdpa *v)
{
    struct error err = ERROR_INIT;

    if (!v->mapped)
        return;
    v->mapped = false;
    if (vhost_fd_unmap_memory(&v->fd, 0, v->backend.memory, &err))
        vhost_vdpa_complain(v, &err);
}
