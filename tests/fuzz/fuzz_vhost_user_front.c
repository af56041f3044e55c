/*
 * The vhost-user front end with a back end that answers anything, and says anything by itself.
 *
 * A sound back end (tests/driver/vhost_peer.h) has its answers changed as the input says. Checked
 * besides what sanitizers see: what the front end says is sound and agreed on (the peer does that);
 * the driver can set up, use and reset the device all the same; and no descriptors are left behind.
 *
 * Input: a byte of what kind of device it is, then for each answer a byte: 0 for a sound one, else
 * what is wrong with it.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "tests/driver/fake_platform.h"
#include "tests/driver/vhost_peer.h"
#include "tests/fuzz/input.h"
#include "transport/notify_pages.h"
#include "transport/shared_memory.h"
#include "virtio/device.h"
#include "virtio/vhost_user.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY    (1 * MIB)
#define SHARED    (64 * KIB)
#define SHOWN     UINT64_C(0x1000000000) /* where the driver sees it */
#define NOTIFY    UINT64_C(0x2000000000) /* the driver's notifications */
#define QUEUES    2
#define OWN_MAX   4 /* requests of the peer's before one answer */
#define FAULT_MAX VHOST_USER_FDS_MAX

static struct guest_memory memory;
static struct loop *loop;

/* One connection. */
static struct vhost_peer peer;
static struct input input; /* the peer's thread reads it */

/* --- the peer's thread ------------------------------------------------------------------------ */

static int make_fd(uint8_t kind)
{
    int fd;

    switch (kind % 3) {
    case 0:
        return eventfd(1, EFD_CLOEXEC);
    case 1:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    default:
        fd = memfd_create("shared", MFD_CLOEXEC);
        REQUIRE(ftruncate(fd, take(&input) * 512) == 0);
        return fd;
    }
}

static void change(void *bytes, size_t size)
{
    for (unsigned count = take(&input) % 8; count; count--) {
        uint8_t at = take(&input);

        ((uint8_t *)bytes)[at % size] = take(&input);
    }
}

/* A request of its own; an answer comes when the loop turns, and is not waited for. */
static void say(void)
{
    struct vhost_user_message message = {
        .header = {take(&input) % (VHOST_USER_BACKEND_REQUESTS + 1), VHOST_USER_VERSION, 0},
    };
    uint8_t kind = take(&input);

    if (peer.channel < 0)
        return;
    switch (message.header.request) {
    case VHOST_USER_BACKEND_VRING_CALL:
    case VHOST_USER_BACKEND_VRING_ERR:
        message.header.size = sizeof(struct vhost_user_vring_state);
        break;
    case VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG:
        message.fds[message.fd_count++] = make_fd(2);
        message.payload.area.index = kind >> 7;
        message.payload.area.size = NOTIFY_PAGE;
        message.header.size = sizeof(struct vhost_user_area);
        break;
    case VHOST_USER_BACKEND_SHMEM_MAP:
        message.fds[message.fd_count++] = make_fd(2);
        __attribute__((fallthrough));
    case VHOST_USER_BACKEND_SHMEM_UNMAP:
        message.payload.mapping.length = 4096;
        message.payload.mapping.flags = 1;
        message.header.size = sizeof(struct vhost_user_mapping);
        break;
    default:
        break;
    }
    if (kind & 1)
        message.header.flags |= VHOST_USER_FLAG_NEED_REPLY;
    if (kind & 2)
        change(&message.payload, sizeof(struct vhost_user_mapping));
    if (kind & 4)
        message.header.size = take(&input);
    if (kind & 8)
        for (unsigned more = take(&input) % 4; more; more--)
            message.fds[message.fd_count++] = make_fd(kind >> 4);
    if ((kind & 0xf0) == 0xf0)
        message.header.flags = take(&input);
    (void)vhost_user_send_within(peer.channel, &message, 0, NULL);
    vhost_user_close_fds(&message);
}

static bool meddle(struct vhost_peer *self, struct vhost_user_message *answer)
{
    uint8_t what = take(&input);

    (void)self;
    for (unsigned own = what & 0x80 ? what % OWN_MAX + 1 : 0; own; own--)
        say();
    if (what & 1)
        change(&answer->payload, sizeof(struct vhost_user_config));
    if (what & 2)
        answer->header.size = take(&input);
    if (what & 4)
        answer->header.request = take(&input);
    if (what & 8)
        answer->header.flags = take(&input);
    if (what & 16)
        answer->payload.u64 = take(&input);
    if (what & 32)
        for (unsigned more = take(&input) % FAULT_MAX; more; more--)
            answer->fds[answer->fd_count++] = make_fd(0);
    return (what & 0x7f) != 0x7f;
}

/* --- the front end ---------------------------------------------------------------------------- */

static struct fake_platform fake;
static struct shared_memory shared;
static struct notify_pages notify_pages;

static int shared_map(void *opaque, const struct virtio_shared_mapping *mapping, struct error *err)
{
    (void)opaque;
    return shared_memory_map(&shared, mapping, err);
}

static void shared_unmap(void *opaque, uint8_t id, uint64_t offset, uint64_t length)
{
    (void)opaque;
    shared_memory_unmap(&shared, id, offset, length);
}

static int queue_notify_page(void *opaque, uint16_t index, void *page, struct error *err)
{
    (void)opaque;
    REQUIRE(index < QUEUES);
    return notify_pages_set(&notify_pages, index, page, err);
}

static void nothing(void *opaque)
{
    (void)opaque;
}

static void nothing_of_queue(void *opaque, uint16_t index)
{
    (void)opaque;
    REQUIRE(index < QUEUES);
}

static void set_up(void)
{
    log_configure("error");
    signal(SIGPIPE, SIG_IGN);
    fake_platform_init(&fake);
    guest_memory_init(&memory);
    REQUIRE(guest_memory_add(&memory, 0, MEMORY, GUEST_MEMORY_SHARED, NULL) == 0);
    REQUIRE(loop_create(&loop, NULL) == 0);
}

static void serve(void)
{
    for (int i = 0; i < 3; i++)
        turn(loop);
}

static void advance(struct virtio_device *dev, uint8_t bit)
{
    virtio_device_set_status(dev, virtio_device_status(dev) | bit);
    serve();
}

/* What is memory of the guest, and what is trapped. */
static void touch_shared(void)
{
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < SHARED; at += 2048) {
        fake_read(&fake, ADDRESS_MMIO, SHOWN + at, 8);
        shared_memory_read(&shared, at, &bytes, 8);
        shared_memory_write(&shared, at, &bytes, 8);
    }
}

/* The driver's notifications, through the guest's memory or trapped. */
static void notify(struct virtio_device *dev)
{
    for (uint16_t queue = 0; queue < QUEUES; queue++) {
        const uint16_t index = queue;

        fake_write(&fake, ADDRESS_MMIO, NOTIFY + (uint64_t)NOTIFY_PAGE * queue, 2, queue);
        if (!notify_pages_write(&notify_pages, queue, &index, sizeof(index)))
            virtio_device_kick(dev, queue);
        serve();
    }
}

static void drive(struct virtio_device *dev)
{
    uint8_t config[64];

    advance(dev, VIRTIO_STATUS_ACKNOWLEDGE);
    advance(dev, VIRTIO_STATUS_DRIVER);
    for (uint32_t i = 0; i < VIRTIO_FEATURE_WORDS; i++)
        virtio_device_set_driver_features(dev, i, virtio_device_features(dev, i));
    advance(dev, VIRTIO_STATUS_FEATURES_OK);
    virtio_device_config_read(dev, 0, config, sizeof(config));
    virtio_device_config_write(dev, 0, config, 4);
    for (uint16_t queue = 0; queue < QUEUES; queue++) {
        for (uint32_t i = 0; i < 3; i++)
            virtio_device_set_queue_address(dev, queue, (enum virtio_queue_address)i, false,
                                            queue * 0x4000u + (i + 1) * 0x1000);
        virtio_device_set_queue_enabled(dev, queue, true);
    }
    advance(dev, VIRTIO_STATUS_DRIVER_OK);
    notify(dev);
    touch_shared();
}

static void transfer_state(struct virtio_device *dev)
{
    struct virtio_backend *backend = dev->backend;
    struct virtio_state state;

    if (!backend->saves || backend->ops->save(backend, &state, NULL))
        return;
    (void)backend->ops->load(backend, &state, NULL);
    free(state.bytes);
}

static void use(struct virtio_backend *backend, uint16_t id)
{
    static const struct virtio_transport_ops transport = {
        .notify_queue = nothing_of_queue,
        .notify_config = nothing,
        .shared_map = shared_map,
        .shared_unmap = shared_unmap,
        .queue_notify_page = queue_notify_page,
    };
    static const struct virtio_features none;
    struct virtio_device dev;

    REQUIRE(virtio_device_init(&dev, id, "dev0", backend, QUEUES, 64, &none, &none, NULL) == 0);
    shared_memory_init(&shared, &fake.platform, &dev);
    shared_memory_place(&shared, SHOWN);
    REQUIRE(notify_pages_init(&notify_pages, &fake.platform, &dev, NULL) == 0);
    notify_pages_place(&notify_pages, NOTIFY);
    virtio_device_attach(&dev, &transport, NULL);
    for (int i = 0; i < 2; i++) {
        drive(&dev);
        virtio_device_set_status(&dev, 0);
        REQUIRE(virtio_device_status(&dev) == 0);
        transfer_state(&dev);
        serve();
    }
    virtio_device_destroy(&dev);
    REQUIRE(!fake.memory_count);
    notify_pages_destroy(&notify_pages);
    shared_memory_destroy(&shared);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vhost_user_options options = {.queue_count = QUEUES, .config_size = VHOST_PEER_CONFIG};
    struct virtio_backend *backend;
    unsigned before;
    uint8_t kind;

    if (!loop)
        set_up();
    before = open_descriptors();
    input = (struct input){data, size};
    kind = take(&input);
    vhost_peer_init(&peer);
    peer.meddle = meddle;
    peer.features |= kind & 1 ? UINT64_C(1) << VIRTIO_F_RING_PACKED | 1 << 3 : 0;
    if (kind & 2)
        peer.protocol_features &= ~(UINT64_C(1) << VHOST_USER_PROTOCOL_F_REPLY_ACK);
    if (kind & 16) {
        peer.protocol_features |= UINT64_C(1) << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD;
        peer.inflight_fd = memfd_create("inflight", MFD_CLOEXEC);
        REQUIRE(ftruncate(peer.inflight_fd, 4096) == 0);
    }
    peer.shmem.count = 1;
    peer.shmem.sizes[0] = SHARED;
    options.id = kind & 4 ? VIRTIO_ID_NET : VIRTIO_ID_BLOCK;
    options.inband = kind & 8;
    options.notify_pages = kind & 32;
    options.fd = vhost_peer_start(&peer);
    if (vhost_user_create(&options, &memory, loop, &backend, NULL) == 0)
        use(backend, options.id);
    vhost_peer_stop(&peer);
    if (peer.inflight_fd >= 0)
        close(peer.inflight_fd);
    serve();
    REQUIRE(open_descriptors() == before);
    return 0;
}
