/*
 * Giving the guest's memory to a vhost-user peer: all regions in one message, or, with
 * CONFIGURE_MEM_SLOTS, one by one. None is ever taken back: the guest's memory does not change
 * while its devices exist, and the peer forgets it with the connection.
 */
#include "virtio/vhost_user_internal.h"

#include <errno.h>
#include <stddef.h>

static struct vhost_user_region describe(const struct guest_region *region)
{
    return (struct vhost_user_region){
        .guest_address = region->start,
        .size = region->size,
        .user_address = (uintptr_t)region->host,
        .mmap_offset = region->offset,
    };
}

static int tell_table(struct vhost_user *v, struct error *err)
{
    const struct guest_memory *memory = vhost_user_memory(v);
    struct vhost_user_message message = {.header = {.request = VHOST_USER_SET_MEM_TABLE}};
    struct vhost_user_memory *table = &message.payload.memory;

    _Static_assert(GUEST_MEMORY_REGIONS <= VHOST_USER_REGIONS, "they fit one table");
    for (size_t i = 0; i < memory->count; i++) {
        table->regions[table->count++] = describe(&memory->regions[i]);
        message.fds[message.fd_count++] = memory->regions[i].fd;
    }
    message.header.size = (uint32_t)(offsetof(struct vhost_user_memory, regions) +
                                     table->count * sizeof(table->regions[0]));
    return vhost_user_tell(v, &message, err);
}

static int tell_region(struct vhost_user *v, const struct guest_region *region, struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_ADD_MEM_REG,
                   .size = sizeof(struct vhost_user_single_region)},
        .payload.single_region.region = describe(region),
        .fds = {region->fd},
        .fd_count = 1,
    };

    return vhost_user_tell(v, &message, err);
}

static int tell_regions(struct vhost_user *v, struct error *err)
{
    const struct guest_memory *memory = vhost_user_memory(v);
    uint64_t slots = 0;
    int ret = vhost_user_ask_u64(v, VHOST_USER_GET_MAX_MEM_SLOTS, &slots, err);

    if (!ret && slots < memory->count)
        return error_set(err, ENOTSUP, "it maps %llu regions of guest memory, there are %zu",
                         (unsigned long long)slots, memory->count);
    for (size_t i = 0; i < memory->count && !ret; i++)
        ret = tell_region(v, &memory->regions[i], err);
    return ret;
}

int vhost_user_set_memory(struct vhost_user *v, struct error *err)
{
    return vhost_user_has(v, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) ? tell_regions(v, err)
                                                                        : tell_table(v, err);
}
