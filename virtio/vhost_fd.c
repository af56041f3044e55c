#include "virtio/vhost_fd.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* --- system calls ----------------------------------------------------------------------------- */

static int host_open(const char *path)
{
    return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int host_control(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument);
}

const struct vhost_system vhost_system_host = {host_open, host_control, write, read};

int vhost_fd_request(struct vhost_fd *v, unsigned long request, void *argument, const char *name,
                     struct error *err)
{
    int ret;

    do
        ret = v->system->control(v->fd, request, argument);
    while (ret < 0 && errno == EINTR);
    return ret < 0 ? error_errno(err, errno, "%s: %s", v->path, name) : 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int cannot_open(const char *path, const char *module, int code, struct error *err)
{
    switch (code) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return error_set(err, code, "this host has no %s (modprobe %s)", path, module);
    case EACCES:
    case EPERM:
        return error_set(err, code,
                         "no permission for %s (its owner, group and mode say who has it)", path);
    default:
        return error_errno(err, code, "%s", path);
    }
}

/* Kernels before Linux 4.20 have no backend features. */
static int agree(struct vhost_fd *v, uint64_t wanted, struct error *err)
{
    uint64_t features = 0;

    if (vhost_fd_request(v, VHOST_GET_BACKEND_FEATURES, &features, "", NULL) < 0)
        return 0;
    features &= wanted;
    if (features) {
        int ret = VHOST_FD_REQUEST(v, VHOST_SET_BACKEND_FEATURES, &features, err);

        if (ret)
            return ret;
    }
    v->backend_features = features;
    return 0;
}

int vhost_fd_open(struct vhost_fd *v, const struct vhost_system *system, const char *path,
                  const char *module, uint64_t wanted, struct error *err)
{
    int ret;

    *v = (struct vhost_fd){.system = system, .path = path, .fd = system->open(path)};
    if (v->fd < 0)
        return cannot_open(path, module, errno, err);
    ret = VHOST_FD_REQUEST(v, VHOST_SET_OWNER, NULL, err);
    if (!ret)
        ret = agree(v, wanted, err);
    if (ret)
        vhost_fd_close(v);
    return ret;
}

void vhost_fd_close(struct vhost_fd *v)
{
    if (v->fd >= 0)
        close(v->fd);
    v->fd = -1;
}

/* --- features --------------------------------------------------------------------------------- */

int vhost_fd_get_features(struct vhost_fd *v, struct virtio_features *out, struct error *err)
{
    uint64_t bits = 0;
    int ret = VHOST_FD_REQUEST(v, VHOST_GET_FEATURES, &bits, err);

    *out = (struct virtio_features){{(uint32_t)bits, (uint32_t)(bits >> 32)}};
    return ret;
}

int vhost_fd_set_features(struct vhost_fd *v, const struct virtio_features *features,
                          struct error *err)
{
    uint64_t bits = features->word[0] | (uint64_t)features->word[1] << 32;

    return VHOST_FD_REQUEST(v, VHOST_SET_FEATURES, &bits, err);
}

/* --- memory ----------------------------------------------------------------------------------- */

int vhost_fd_set_memory(struct vhost_fd *v, const struct guest_memory *memory, struct error *err)
{
    union {
        uint8_t bytes[sizeof(struct vhost_memory) +
                      GUEST_MEMORY_REGIONS * sizeof(struct vhost_memory_region)];
        struct vhost_memory table;
    } request = {{0}};

    request.table.nregions = (uint32_t)memory->count;
    for (size_t i = 0; i < memory->count; i++) {
        const struct guest_region *region = &memory->regions[i];

        request.table.regions[i] = (struct vhost_memory_region){
            .guest_phys_addr = region->start,
            .memory_size = region->size,
            .userspace_addr = (uintptr_t)region->host,
        };
    }
    return VHOST_FD_REQUEST(v, VHOST_SET_MEM_TABLE, &request, err);
}

int vhost_fd_iotlb(struct vhost_fd *v, uint32_t asid, const struct vhost_iotlb_msg *message,
                   struct error *err)
{
    const struct vhost_msg_v2 packet = {
        .type = VHOST_IOTLB_MSG_V2, .asid = asid, .iotlb = *message};
    ssize_t sent;

    do
        sent = v->system->write(v->fd, &packet, sizeof(packet));
    while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)sizeof(packet))
        return 0;
    return error_errno(err, sent < 0 ? errno : EIO, "%s: IOTLB message %u", v->path,
                       (unsigned)message->type);
}

/* One message about each region of guest memory. */
static int tell_memory(struct vhost_fd *v, uint32_t asid, const struct guest_memory *memory,
                       uint8_t type, struct error *err)
{
    const struct vhost_iotlb_msg begin = {.type = VHOST_IOTLB_BATCH_BEGIN},
                                 end = {.type = VHOST_IOTLB_BATCH_END};
    bool batch = vhost_fd_has(v, VHOST_BACKEND_F_IOTLB_BATCH);
    int ret = batch ? vhost_fd_iotlb(v, asid, &begin, err) : 0;

    for (size_t i = 0; !ret && i < memory->count; i++) {
        struct vhost_iotlb_msg message = {
            .type = type,
            .iova = memory->regions[i].start,
            .size = memory->regions[i].size,
        };

        if (type == VHOST_IOTLB_UPDATE) {
            message.uaddr = (uintptr_t)memory->regions[i].host;
            message.perm = VHOST_ACCESS_RW;
        }
        ret = vhost_fd_iotlb(v, asid, &message, err);
    }
    return !ret && batch ? vhost_fd_iotlb(v, asid, &end, err) : ret;
}

int vhost_fd_map_memory(struct vhost_fd *v, uint32_t asid, const struct guest_memory *memory,
                        struct error *err)
{
    return tell_memory(v, asid, memory, VHOST_IOTLB_UPDATE, err);
}

int vhost_fd_unmap_memory(struct vhost_fd *v, uint32_t asid, const struct guest_memory *memory,
                          struct error *err)
{
    return tell_memory(v, asid, memory, VHOST_IOTLB_INVALIDATE, err);
}

bool vhost_fd_read_miss(struct vhost_fd *v, uint64_t *address)
{
    struct vhost_msg_v2 packet;

    if (v->system->read(v->fd, &packet, sizeof(packet)) != (ssize_t)sizeof(packet))
        return false;
    *address = packet.iotlb.iova;
    return packet.type == VHOST_IOTLB_MSG_V2 && packet.iotlb.type == VHOST_IOTLB_MISS;
}

/* --- vrings ----------------------------------------------------------------------------------- */

int vhost_fd_vring_number(struct vhost_fd *v, unsigned long request, unsigned index,
                          unsigned number, const char *name, struct error *err)
{
    struct vhost_vring_state state = {.index = index, .num = number};

    return vhost_fd_request(v, request, &state, name, err);
}

int vhost_fd_vring_file(struct vhost_fd *v, unsigned long request, unsigned index, int fd,
                        const char *name, struct error *err)
{
    struct vhost_vring_file file = {.index = index, .fd = fd};

    return vhost_fd_request(v, request, &file, name, err);
}

int vhost_ring_find(const struct guest_memory *memory, const struct virtqueue_setup *setup,
                    const struct virtio_features *negotiated, bool guest, struct vhost_ring *out,
                    struct error *err)
{
    struct virtqueue_areas areas;
    int ret = virtqueue_find_areas(memory, setup, negotiated, &areas, err);

    if (ret)
        return ret;
    if (guest)
        *out = (struct vhost_ring){setup->desc.value, setup->driver.value, setup->device.value};
    else
        *out = (struct vhost_ring){(uintptr_t)areas.desc, (uintptr_t)areas.driver,
                                   (uintptr_t)areas.device};
    return 0;
}

int vhost_fd_vring_addresses(struct vhost_fd *v, unsigned index, const struct vhost_ring *ring,
                             const gpa_t *used, struct error *err)
{
    struct vhost_vring_addr address = {
        .index = index,
        .flags = used ? 1 << VHOST_VRING_F_LOG : 0,
        .desc_user_addr = ring->desc,
        .avail_user_addr = ring->driver,
        .used_user_addr = ring->device,
        .log_guest_addr = used ? used->value : 0,
    };

    return VHOST_FD_REQUEST(v, VHOST_SET_VRING_ADDR, &address, err);
}

int vhost_fd_vring_place(struct vhost_fd *v, unsigned index, uint16_t size,
                         struct virtqueue_position position, bool packed,
                         const struct vhost_ring *ring, struct error *err)
{
    int ret = VHOST_FD_VRING_NUMBER(v, VHOST_SET_VRING_NUM, index, size, err);

    if (!ret)
        ret = VHOST_FD_VRING_NUMBER(v, VHOST_SET_VRING_BASE, index,
                                    virtqueue_position_base(position, packed), err);
    if (!ret)
        ret = vhost_fd_vring_addresses(v, index, ring, NULL, err);
    return ret;
}

int vhost_fd_vring_position(struct vhost_fd *v, unsigned index, bool packed,
                            struct virtqueue_position *out, struct error *err)
{
    struct vhost_vring_state state = {.index = index};
    int ret = VHOST_FD_REQUEST(v, VHOST_GET_VRING_BASE, &state, err);

    if (ret)
        return ret;
    *out = virtqueue_position_of_base(state.num, packed);
    return 0;
}
