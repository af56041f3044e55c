#include "tests/driver/fake_vhost.h"

#include "base/bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than the headers of some hosts, so by their numbers. */
#define NEW_WORKER          _IOR(VHOST_VIRTIO, 0x08, unsigned)
#define ATTACH_VRING_WORKER _IOW(VHOST_VIRTIO, 0x15, unsigned[2])

struct fake_vhost fake_vhost;

static int refuse(int code)
{
    errno = code;
    return -1;
}

static struct fake_vhost_device *device_of(int fd)
{
    for (unsigned i = 0; i < fake_vhost.device_count; i++)
        if (fake_vhost.devices[i].fd == fd)
            return &fake_vhost.devices[i];
    return NULL;
}

static int fake_open(const char *path)
{
    struct fake_vhost_device *device = &fake_vhost.devices[fake_vhost.device_count];
    int pair[2];

    (void)path;
    if (fake_vhost.open_error || fake_vhost.device_count == FAKE_VHOST_DEVICES)
        return refuse(fake_vhost.open_error ? fake_vhost.open_error : EMFILE);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    *device = (struct fake_vhost_device){.fd = pair[0], .far_end = pair[1]};
    for (unsigned i = 0; i < FAKE_VHOST_VRINGS; i++)
        device->vrings[i] = (struct fake_vring){.kick = -1, .call = -1, .error = -1, .backend = -1};
    fake_vhost.device_count++;
    return device->fd;
}

/* Requests about the device as a whole; 1 when it is none of these. */
static int control_device(struct fake_vhost_device *device, unsigned long request, void *argument)
{
    const struct vhost_memory *table = argument;

    switch (request) {
    case VHOST_SET_OWNER:
        device->owned = true;
        return 0;
    case VHOST_GET_FEATURES:
        memcpy(argument, &fake_vhost.features, sizeof(uint64_t));
        return 0;
    case VHOST_SET_FEATURES:
        memcpy(&device->features, argument, sizeof(uint64_t));
        return device->features & ~fake_vhost.features ? refuse(EOPNOTSUPP) : 0;
    case VHOST_GET_BACKEND_FEATURES:
        memcpy(argument, &fake_vhost.backend_features, sizeof(uint64_t));
        return fake_vhost.backend_features ? 0 : refuse(ENOTTY);
    case VHOST_SET_BACKEND_FEATURES:
        memcpy(&device->backend_features, argument, sizeof(uint64_t));
        return device->backend_features & ~fake_vhost.backend_features ? refuse(EOPNOTSUPP) : 0;
    case VHOST_SET_MEM_TABLE:
        device->region_count = MIN(table->nregions, (unsigned)FAKE_VHOST_REGIONS);
        memcpy(device->regions, table->regions, device->region_count * sizeof(*device->regions));
        return 0;
    case VHOST_SET_LOG_BASE:
        memcpy(&device->log_base, argument, sizeof(uint64_t));
        return 0;
    case NEW_WORKER:
        if (!fake_vhost.has_workers)
            return refuse(ENOTTY);
        fake_vhost.worker_count++;
        memcpy(argument, &fake_vhost.worker_count, sizeof(unsigned));
        return 0;
    default:
        return 1;
    }
}

/* Requests about a vring: as with the kernel, all begin with its index. */
static int control_vring(struct fake_vring *vring, unsigned long request, void *argument)
{
    struct vhost_vring_state *state = argument;
    const struct vhost_vring_file *file = argument;

    switch (request) {
    case VHOST_SET_VRING_NUM:
        vring->num = state->num;
        return vring->backend >= 0 ? refuse(EBUSY) : 0;
    case VHOST_SET_VRING_BASE:
        vring->base = state->num;
        return vring->backend >= 0 ? refuse(EBUSY) : 0;
    case VHOST_GET_VRING_BASE:
        state->num = vring->base;
        return 0;
    case VHOST_SET_VRING_ADDR:
        memcpy(&vring->address, argument, sizeof(vring->address));
        return 0;
    case VHOST_SET_VRING_KICK:
        vring->kick = file->fd;
        return 0;
    case VHOST_SET_VRING_CALL:
        vring->call = file->fd;
        return 0;
    case VHOST_SET_VRING_ERR:
        vring->error = file->fd;
        return 0;
    case VHOST_SET_VRING_BUSYLOOP_TIMEOUT:
        vring->busy_poll = state->num;
        return 0;
    case ATTACH_VRING_WORKER:
        vring->worker = state->num;
        return 0;
    case VHOST_NET_SET_BACKEND:
        vring->backend = file->fd;
        return 0;
    default:
        return refuse(ENOTTY);
    }
}

static int fake_control(int fd, unsigned long request, void *argument)
{
    struct fake_vhost_device *device = device_of(fd);
    unsigned index;
    int ret;

    if (!device)
        return refuse(EBADF);
    if (fake_vhost.refused == request)
        return refuse(fake_vhost.refused_error);
    if (!device->owned && request != VHOST_SET_OWNER)
        return refuse(EPERM);
    ret = control_device(device, request, argument);
    if (ret <= 0)
        return ret;
    memcpy(&index, argument, sizeof(index));
    return index < fake_vhost.vrings ? control_vring(&device->vrings[index], request, argument)
                                     : refuse(ENOBUFS);
}

static ssize_t fake_write(int fd, const void *data, size_t length)
{
    struct fake_vhost_device *device = device_of(fd);

    if (length != sizeof(device->messages[0]) || device->message_count == FAKE_VHOST_MESSAGES)
        return refuse(EINVAL);
    memcpy(&device->messages[device->message_count++], data, length);
    return (ssize_t)length;
}

const struct vhost_system fake_vhost_system = {fake_open, fake_control, fake_write, read};

void fake_vhost_init(uint64_t features, uint64_t backend_features)
{
    fake_vhost = (struct fake_vhost){
        .features = features, .backend_features = backend_features, .vrings = 2};
}

void fake_vhost_end(void)
{
    for (unsigned i = 0; i < fake_vhost.device_count; i++)
        close(fake_vhost.devices[i].far_end);
}

void fake_vhost_miss(struct fake_vhost_device *device, uint64_t address)
{
    const struct vhost_msg_v2 message = {
        .type = VHOST_IOTLB_MSG_V2,
        .iotlb = {.iova = address, .type = VHOST_IOTLB_MISS},
    };

    (void)!write(device->far_end, &message, sizeof(message));
}
