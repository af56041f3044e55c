#include "transport/vhost_user_server_internal.h"

#include "base/bytes.h"
#include "base/memory_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void unmap(struct vhost_user_mapped *mapped)
{
    memory_guard_remove(mapped->guard);
    munmap(mapped->base, mapped->length);
}

void server_memory_clear(struct vhost_user_server *server)
{
    guest_memory_destroy(server->config.memory);
    guest_memory_init(server->config.memory);
    for (size_t i = 0; i < server->mapped_count; i++)
        unmap(&server->mapped[i]);
    server->mapped_count = 0;
}

/* A file that is shorter than the region is told from one that is shortened later, for which there
 * are guards. */
static int check_file(const struct vhost_user_region *region, int fd, struct error *err)
{
    struct stat status;

    if (region->size == 0 || region->mmap_offset + region->size < region->size ||
        region->guest_address + region->size < region->size ||
        region->user_address + region->size < region->size)
        return error_set(err, EINVAL, "a memory region that wraps or is empty");
    if (fstat(fd, &status) < 0)
        return error_errno(err, errno, "a memory region's descriptor");
    if ((uint64_t)status.st_size < region->mmap_offset + region->size)
        return error_set(err, EINVAL, "a memory region beyond the end of its file");
    return 0;
}

/* Takes the descriptor. */
static int map_region(struct vhost_user_server *server, const struct vhost_user_region *region,
                      int fd, struct error *err)
{
    struct vhost_user_mapped *mapped = &server->mapped[server->mapped_count];
    int ret = check_file(region, fd, err);

    if (!ret && server->mapped_count == ARRAY_SIZE(server->mapped))
        ret = error_set(err, ENOMEM, "more than %zu memory regions", ARRAY_SIZE(server->mapped));
    if (ret) {
        close(fd);
        return ret;
    }
    *mapped = (struct vhost_user_mapped){
        .guest_address = region->guest_address,
        .size = region->size,
        .user_address = region->user_address,
        .length = region->mmap_offset + region->size,
    };
    mapped->base = mmap(NULL, mapped->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped->base == MAP_FAILED)
        return error_errno(err, errno, "cannot map a memory region");
    mapped->host = (uint8_t *)mapped->base + region->mmap_offset;
    mapped->guard = memory_guard_add(mapped->base, mapped->length, server->lost.fd, err);
    if (mapped->guard < 0) {
        munmap(mapped->base, mapped->length);
        return mapped->guard;
    }
    ret = guest_memory_add_external(server->config.memory, mapped->guest_address, mapped->size,
                                    mapped->host, err);
    if (ret)
        unmap(mapped);
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
    unmap(&server->mapped[i]);
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
