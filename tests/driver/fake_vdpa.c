#include "tests/driver/fake_vdpa.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* From Linux's headers of later than Debian 12's. */
#define FAKE_RESUME         _IO(VHOST_VIRTIO, 0x7E)
#define FAKE_GET_VRING_SIZE _IOWR(VHOST_VIRTIO, 0x82, struct vhost_vring_state)

struct fake_vdpa fake_vdpa;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t length = strlen(fake_vdpa.log);
    va_list arguments;

    va_start(arguments, format);
    if (length)
        fake_vdpa.log[length++] = ' ';
    vsnprintf(fake_vdpa.log + length, sizeof(fake_vdpa.log) - length, format, arguments);
    va_end(arguments);
}

const char *fake_vdpa_take_log(void)
{
    static char taken[sizeof(fake_vdpa.log)];

    memcpy(taken, fake_vdpa.log, sizeof(taken));
    fake_vdpa.log[0] = '\0';
    return taken;
}

void fake_vdpa_init(void)
{
    fake_vdpa = (struct fake_vdpa){
        .type = 1,
        .queue_count = 3,
        .group_count = 2,
        .address_spaces = 2,
        .config_size = 24,
        .queue_size_max = 256,
        .features = UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM |
                    UINT64_C(1) << VIRTIO_F_RING_PACKED | UINT64_C(1) << VIRTIO_F_ANY_LAYOUT,
        .backend_features = 0x7e, /* IOTLB_MSG_V2 to ENABLE_AFTER_DRIVER_OK */
        .range = {0, UINT64_MAX},
        .config_call = -1,
    };
    for (size_t i = 0; i < FAKE_VDPA_QUEUES; i++)
        fake_vdpa.calls[i] = fake_vdpa.kicks[i] = -1;
}

static void let_go(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void fake_vdpa_destroy(void)
{
    for (size_t i = 0; i < FAKE_VDPA_QUEUES; i++) {
        let_go(&fake_vdpa.calls[i]);
        let_go(&fake_vdpa.kicks[i]);
    }
    let_go(&fake_vdpa.config_call);
}

/* --- the system calls ------------------------------------------------------------------------- */

static int fake_open(const char *path)
{
    (void)path;
    if (fake_vdpa.open_error) {
        errno = fake_vdpa.open_error;
        return -1;
    }
    fake_vdpa.open = true;
    return eventfd(0, EFD_CLOEXEC); /* something to close */
}

static int refuse(int code)
{
    errno = code;
    return -1;
}

static void set_status(uint8_t status)
{
    note("status %x", status);
    atomic_store(&fake_vdpa.status, status & (uint8_t)~fake_vdpa.refuses);
}

static int copy_config(struct vhost_vdpa_config *request, bool write)
{
    if (!request->len || request->off > fake_vdpa.config_size ||
        request->len > fake_vdpa.config_size - request->off)
        return refuse(EINVAL);
    if (write) {
        note("config %u+%u", request->off, request->len);
        memcpy(fake_vdpa.config + request->off, request->buf, request->len);
    } else {
        memcpy(request->buf, fake_vdpa.config + request->off, request->len);
    }
    return 0;
}

/* What a vring's request has to say, by its name. */
static int vring_number(const char *name, const struct vhost_vring_state *state)
{
    note("%s %u %u", name, state->index, state->num);
    return 0;
}

static int vring_file(const char *name, int fds[], const struct vhost_vring_file *file)
{
    let_go(&fds[file->index]);
    if (file->fd >= 0)
        fds[file->index] = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
    note("%s %u%s", name, file->index,
         fds == fake_vdpa.kicks ? ""
         : file->fd >= 0        ? " on"
                                : " off");
    return 0;
}

static int tell_vring_size(struct vhost_vring_state *state)
{
    if (!fake_vdpa.queue_sizes[state->index])
        return refuse(ENOTTY);
    state->num = fake_vdpa.queue_sizes[state->index];
    return 0;
}

static int vring_request(unsigned long request, void *argument)
{
    struct vhost_vring_state *state = argument;

    if (state->index >= fake_vdpa.queue_count)
        return refuse(ENOBUFS);
    switch (request) {
    case FAKE_GET_VRING_SIZE:
        return tell_vring_size(state);
    case VHOST_SET_VRING_NUM:
        return vring_number("num", state);
    case VHOST_SET_VRING_BASE:
        return vring_number("base", state);
    case VHOST_GET_VRING_BASE:
        note("base? %u", state->index);
        state->num = fake_vdpa.positions[state->index];
        return 0;
    case VHOST_SET_VRING_ADDR:
        note("place %u", state->index);
        fake_vdpa.places[state->index] = *(struct vhost_vring_addr *)argument;
        return 0;
    case VHOST_SET_VRING_CALL:
        return vring_file("call", fake_vdpa.calls, argument);
    case VHOST_SET_VRING_KICK:
        return vring_file("kick", fake_vdpa.kicks, argument);
    case VHOST_VDPA_SET_VRING_ENABLE:
        return vring_number("enable", state);
    case VHOST_VDPA_SET_GROUP_ASID:
        return vring_number("asid", state);
    default:
        return refuse(ENOTTY);
    }
}

/* Requests that only ask for a number. */
static int ask(unsigned long request, void *argument)
{
    switch (request) {
    case VHOST_VDPA_GET_DEVICE_ID:
        *(uint32_t *)argument = fake_vdpa.type;
        return 0;
    case VHOST_VDPA_GET_VQS_COUNT:
        *(uint32_t *)argument = fake_vdpa.queue_count;
        return 0;
    case VHOST_VDPA_GET_GROUP_NUM:
        *(uint32_t *)argument = fake_vdpa.group_count;
        return 0;
    case VHOST_VDPA_GET_AS_NUM:
        *(unsigned *)argument = fake_vdpa.address_spaces;
        return 0;
    case VHOST_VDPA_GET_CONFIG_SIZE:
        *(uint32_t *)argument = fake_vdpa.config_size;
        return 0;
    case VHOST_VDPA_GET_VRING_NUM:
        *(uint16_t *)argument = fake_vdpa.queue_size_max;
        return 0;
    case VHOST_GET_FEATURES:
        *(uint64_t *)argument = fake_vdpa.features;
        return 0;
    case VHOST_GET_BACKEND_FEATURES:
        *(uint64_t *)argument = fake_vdpa.backend_features;
        return 0;
    case VHOST_VDPA_GET_STATUS:
        *(uint8_t *)argument = (uint8_t)atomic_load(&fake_vdpa.status);
        return 0;
    case VHOST_VDPA_GET_IOVA_RANGE:
        *(struct vhost_vdpa_iova_range *)argument = fake_vdpa.range;
        return 0;
    default:
        return vring_request(request, argument);
    }
}

static int fake_control(int fd, unsigned long request, void *argument)
{
    (void)fd;
    if (request == fake_vdpa.fails)
        return refuse(EIO);
    switch (request) {
    case VHOST_SET_OWNER:
        note("owner");
        return 0;
    case VHOST_SET_BACKEND_FEATURES:
        return *(uint64_t *)argument & ~fake_vdpa.backend_features ? refuse(EOPNOTSUPP) : 0;
    case VHOST_SET_FEATURES:
        note("features %llx", (unsigned long long)*(uint64_t *)argument);
        return *(uint64_t *)argument & ~fake_vdpa.features ? refuse(EINVAL) : 0;
    case VHOST_VDPA_SET_STATUS:
        set_status(*(uint8_t *)argument);
        return 0;
    case VHOST_VDPA_GET_CONFIG:
    case VHOST_VDPA_SET_CONFIG:
        return copy_config(argument, request == VHOST_VDPA_SET_CONFIG);
    case VHOST_VDPA_SET_CONFIG_CALL:
        let_go(&fake_vdpa.config_call);
        fake_vdpa.config_call = fcntl(*(int *)argument, F_DUPFD_CLOEXEC, 3);
        note("config-call");
        return 0;
    case VHOST_VDPA_SUSPEND:
    case FAKE_RESUME:
        note(request == FAKE_RESUME ? "resume" : "suspend");
        return 0;
    default:
        return ask(request, argument);
    }
}

static ssize_t fake_write(int fd, const void *data, size_t length)
{
    const struct vhost_msg_v2 *message = data;
    const struct vhost_iotlb_msg *what = &message->iotlb;

    (void)fd;
    if (length != sizeof(*message) || message->type != VHOST_IOTLB_MSG_V2 || message->asid != 0)
        return refuse(EINVAL);
    switch (what->type) {
    case VHOST_IOTLB_BATCH_BEGIN:
        note("begin");
        break;
    case VHOST_IOTLB_BATCH_END:
        note("end");
        break;
    case VHOST_IOTLB_UPDATE:
    case VHOST_IOTLB_INVALIDATE:
        note("%s %llx+%llx", what->type == VHOST_IOTLB_UPDATE ? "map" : "unmap",
             (unsigned long long)what->iova, (unsigned long long)what->size);
        break;
    default:
        return refuse(EINVAL);
    }
    return (ssize_t)length;
}

const struct vhost_system fake_vdpa_system = {fake_open, fake_control, fake_write, NULL};
