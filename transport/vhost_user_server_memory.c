#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

void server_memory_clear(struct vhost_user_server *server)
{
    guest_memory_destroy(server->config.memory);
    guest_memory_init(server->config.memory);
    for (size_t i = 0; i < server->mapped_count; i++)
        guarded_map_destroy(&server->mapped[i].map);
    server->mapped_count = 0;
}

static int check_region(const struct vhost_user_region *region, struct error *err)
{
    if (region->size == 0 || region->mmap_offset + region->size < region->size ||
        region->guest_address + region->size < region->size ||
        region->user_address + region->size < region->size)
        return error_set(err, EINVAL, "a memory region that wraps or is empty");
    return 0;
}

/* Takes the descriptor. */
static int map_region(struct vhost_user_server *server, const struct vhost_user_region *region,
                      int fd, struct error *err)
{
    struct vhost_user_mapped *mapped = &server->mapped[server->mapped_count];
    struct guarded_map map;
    int ret = check_region(region, err);

    if (!ret && server->mapped_count == ARRAY_SIZE(server->mapped))
        ret = error_set(err, ENOMEM, "more than %zu memory regions", ARRAY_SIZE(server->mapped));
    if (!ret)
        ret =
            guarded_map_create(&map, fd, region->mmap_offset + region->size, server->lost.fd, err);
    close(fd);
    if (ret)
        return ret;
    *mapped = (struct vhost_user_mapped){
        .guest_address = region->guest_address,
        .size = region->size,
        .user_address = region->user_address,
        .map = map,
        .host = (uint8_t *)map.base + region->mmap_offset,
    };
    ret = guest_memory_add_external(server->config.memory, mapped->guest_address, mapped->size,
                                    mapped->host, err);
    if (ret)
        guarded_map_destroy(&mapped->map);
    else
        server->mapped_count++;
    return ret;
}

int server_memory_set(struct vhost_user_server *server, struct vhost_user_message *message,
                      struct error *err)
{
    const struct vhost_user_memory *table = &message->payload.memory;
    size_t needed = offsetof(struct vhost_user_memory, regions) +
                    (size_t)table->count * sizeof(struct vhost_user_region);

    if (table->count > VHOST_USER_REGIONS || message->header.size < needed ||
        message->fd_count != table->count)
        return error_set(err, EPROTO,
                         "SET_MEM_TABLE with %u regions in %u bytes and %u descriptors",
                         table->count, message->header.size, message->fd_count);
    server_memory_clear(server);
    for (uint32_t i = 0; i < table->count; i++) {
        int ret = map_region(server, &table->regions[i], vhost_user_take_fd(message, i), err);

        if (ret)
            return ret;
    }
    return 0;
}

int server_memory_add(struct vhost_user_server *server, struct vhost_user_message *message,
                      struct error *err)
{
    return map_region(server, &message->payload.single_region.region,
                      vhost_user_take_fd(message, 0), err);
}

/* guest_memory has no way to lose a region: what is left is entered again. */
int server_memory_remove(struct vhost_user_server *server, struct vhost_user_message *message,
                         struct error *err)
{
    const struct vhost_user_region *region = &message->payload.single_region.region;
    size_t i = 0;
    int ret = 0;

    while (i < server->mapped_count && (server->mapped[i].guest_address != region->guest_address ||
                                        server->mapped[i].size != region->size ||
                                        server->mapped[i].user_address != region->user_address))
        i++;
    if (i == server->mapped_count)
        return error_set(err, ENOENT, "no memory region at 0x%" PRIx64, region->guest_address);
    guarded_map_destroy(&server->mapped[i].map);
    server->mapped[i] = server->mapped[--server->mapped_count];
    guest_memory_destroy(server->config.memory);
    guest_memory_init(server->config.memory);
    for (i = 0; i < server->mapped_count && !ret; i++)
        ret = guest_memory_add_external(server->config.memory, server->mapped[i].guest_address,
                                        server->mapped[i].size, server->mapped[i].host, err);
    return ret;
}

bool server_memory_translate(const struct vhost_user_server *server, uint64_t user_address,
                             gpa_t *out)
{
    if (server_has(server, VHOST_USER_PROTOCOL_F_GPA_ADDRESSES)) {
        *out = GPA(user_address);
        return true;
    }
    for (size_t i = 0; i < server->mapped_count; i++) {
        const struct vhost_user_mapped *mapped = &server->mapped[i];

        if (user_address - mapped->user_address < mapped->size) {
            *out = GPA(mapped->guest_address + (user_address - mapped->user_address));
            return true;
        }
    }
    return false;
}
