/*
 * Host notifiers of a vhost-user device (HOST_NOTIFIER): pages that the peer gives to be written to
 * where the driver notifies queues. They are hardware's registers, or memory that somebody polls;
 * the driver's notifications get there without us, and no longer to the eventfd of the queue.
 *
 * The driver sees such a page from when the peer gives it until the peer takes it away, the queue
 * stops, or the peer is gone. Then there is the eventfd again; whoever serves the queue after that
 * gives a page anew, if it has one.
 *
 * Each queue has a page of a range of our addresses for the peer's. As with shared memory
 * (vhost_user_shmem.c), what is mapped there may be a file that the peer truncates: a guard notices
 * when it is looked at, and replaces all of the range; then the device needs a reset.
 *
 * Thread: the loop, but where said otherwise.
 */
#include "virtio/vhost_user_internal.h"

#include "base/bytes.h"
#include "base/file_watch.h"
#include "base/log.h"
#include "base/loop_event.h"
#include "base/memory_guard.h"
#include "base/reservation.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define PAGE (4 * KIB)
#define NAME "VRING_HOST_NOTIFIER_MSG"

struct notifier {
    atomic_bool wanted; /* a peer serves the queue, or is about to: any thread */
    bool shown;
    int watched; /* the file's name in `watch`; 0: it cannot shrink */
};

struct vhost_user_notifiers {
    struct vhost_user *owner;
    uint8_t *pages; /* of each queue */
    int guard;      /* of all; -1: none */
    struct loop_fd lost;
    struct file_watch watch;
    struct notifier queues[];
};

static uint8_t *page_of(const struct vhost_user_notifiers *notifiers, uint16_t index)
{
    return notifiers->pages + index * PAGE;
}

/* --- what is given ---------------------------------------------------------------------------- */

static uint16_t index_of(const struct vhost_user_area *area)
{
    return area->index & VHOST_USER_VRING_INDEX;
}

static bool takes_away(const struct vhost_user_area *area)
{
    return area->index & VHOST_USER_VRING_NOFD;
}

/* Memory or registers: where a disk had to make room for what the guest writes, the guest would
 * wait for it, or find that there is none. Registers have no size, and whether they can be mapped
 * is their driver's to say. */
static int check_file(const struct vhost_user_area *area, int fd, struct error *err)
{
    struct statfs system;
    struct stat status;

    if (fstat(fd, &status) < 0 || fstatfs(fd, &system) < 0)
        return error_errno(err, errno, "%s", NAME);
    if (S_ISBLK(status.st_mode) || (S_ISREG(status.st_mode) && system.f_type != TMPFS_MAGIC))
        return error_set(err, EINVAL, "%s of a file that is not memory", NAME);
    if ((S_ISREG(status.st_mode) || status.st_size > 0) &&
        area->offset + area->size > (uint64_t)status.st_size)
        return error_set(err, EINVAL, "%s of what is beyond the end of its file", NAME);
    return 0;
}

static int check_area(const struct vhost_user *v, const struct vhost_user_area *area, int fd,
                      struct error *err)
{
    const uint64_t known = VHOST_USER_VRING_INDEX | VHOST_USER_VRING_NOFD;

    if (area->index & ~known || index_of(area) >= v->queue_count)
        return error_set(err, EINVAL, "%s for queue 0x%" PRIx64 ", of %u", NAME, area->index,
                         v->queue_count);
    if (takes_away(area) != (fd < 0))
        return error_set(err, EINVAL, "%s %s a descriptor", NAME, fd < 0 ? "without" : "with");
    if (takes_away(area))
        return 0;
    if (!atomic_load(&v->notifiers->queues[index_of(area)].wanted))
        return error_set(err, EINVAL, "%s for queue %u, which does not run", NAME, index_of(area));
    if (area->size < PAGE || (area->size | area->offset) % PAGE ||
        area->offset > (uint64_t)INT64_MAX - MIN(area->size, (uint64_t)INT64_MAX))
        return error_set(err, EINVAL, "%s of 0x%" PRIx64 " bytes at 0x%" PRIx64, NAME, area->size,
                         area->offset);
    return check_file(area, fd, err);
}

/* --- showing it, and the end of that ---------------------------------------------------------- */

/* Its file, unless another queue's page is of the same. */
static void forget_file(struct vhost_user *v, int watched)
{
    for (uint16_t i = 0; i < v->queue_count; i++)
        if (v->notifiers->queues[i].shown && v->notifiers->queues[i].watched == watched)
            return;
    file_watch_remove(&v->notifiers->watch, watched);
}

static int show(struct vhost_user *v, uint16_t index, struct error *err)
{
    const struct virtio_device_events *device = &v->backend.events;

    if (!device->queue_notify_page)
        return error_set(err, ENOTSUP, "%s before there is a driver", NAME);
    return device->queue_notify_page(device->opaque, index, page_of(v->notifiers, index), err);
}

/* Of other things there is nothing to watch: anonymous ones are not even told apart (inode). */
static int watch_file(struct vhost_user *v, int fd, struct error *err)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return file_watch_add(&v->notifiers->watch, fd, err);
    return 0;
}

static int establish(struct vhost_user *v, uint16_t index, const struct vhost_user_file *file,
                     struct error *err)
{
    struct notifier *notifier = &v->notifiers->queues[index];
    uint8_t *page = page_of(v->notifiers, index);
    int ret = vhost_user_file_map(file, page, err);

    if (ret)
        return ret;
    ret = notifier->watched = watch_file(v, file->fd, err);
    if (ret >= 0)
        ret = show(v, index, err);
    notifier->shown = !ret;
    if (!ret)
        return 0;
    reservation_clear(page, PAGE);
    if (notifier->watched > 0)
        forget_file(v, notifier->watched);
    return ret;
}

/* The driver's accesses are over before the memory goes. */
static void drop(struct vhost_user *v, uint16_t index)
{
    const struct virtio_device_events *device = &v->backend.events;
    struct notifier *notifier = &v->notifiers->queues[index];

    if (!notifier->shown)
        return;
    device->queue_notify_page(device->opaque, index, NULL, NULL);
    reservation_clear(page_of(v->notifiers, index), PAGE);
    notifier->shown = false;
    if (notifier->watched)
        forget_file(v, notifier->watched);
}

int vhost_user_notifier_set(struct vhost_user *v, const struct vhost_user_area *area, int fd,
                            struct error *err)
{
    /* The driver has one page for a queue: the first, if there are more. */
    const struct vhost_user_file file = {NAME, fd, area->offset, PAGE, true};
    int ret = check_area(v, area, fd, err);

    if (ret)
        return ret;
    drop(v, index_of(area));
    return takes_away(area) ? 0 : establish(v, index_of(area), &file, err);
}

void vhost_user_notifier_want(struct vhost_user *v, uint16_t index)
{
    if (v->notifiers)
        atomic_store(&v->notifiers->queues[index].wanted, true);
}

static void stop_on_loop(void *arg)
{
    struct vhost_user_queue *queue = arg;

    atomic_store(&queue->owner->notifiers->queues[queue->index].wanted, false);
    drop(queue->owner, queue->index);
}

void vhost_user_notifier_stop(struct vhost_user_queue *queue)
{
    if (queue->owner->notifiers)
        loop_call(queue->owner->loop, stop_on_loop, queue);
}

void vhost_user_notifiers_clear(struct vhost_user *v)
{
    for (uint16_t i = 0; v->notifiers && i < v->queue_count; i++)
        stop_on_loop(&v->queues[i]);
}

/* --- life ------------------------------------------------------------------------------------- */

/* A file lost what was mapped of it, and somebody looked. */
static void memory_lost(struct loop_fd *self, uint32_t events)
{
    struct vhost_user *v = container_of(self, struct vhost_user_notifiers, lost)->owner;

    (void)events;
    if (!loop_event_take(self->fd))
        return;
    log_limited(LOG_WARN, "vhost-user", "%s: the file of a host notifier was truncated",
                v->backend.name);
    v->backend.events.needs_reset(v->backend.events.opaque);
}

/* Looking at what is gone has the guard notice. */
static void file_changed(struct file_watch *watch)
{
    const struct vhost_user_notifiers *notifiers =
        container_of(watch, struct vhost_user_notifiers, watch);

    for (uint16_t i = 0; i < notifiers->owner->queue_count; i++)
        if (notifiers->queues[i].shown && notifiers->queues[i].watched)
            (void)__atomic_load_n((const volatile uint8_t *)page_of(notifiers, i),
                                  __ATOMIC_RELAXED);
}

int vhost_user_notifiers_open(struct vhost_user *v, struct error *err)
{
    struct vhost_user_notifiers *notifiers;
    int ret;

    if (!v->options.notify_pages)
        return 0;
    notifiers = calloc(1, sizeof(*notifiers) + v->queue_count * sizeof(notifiers->queues[0]));
    if (!notifiers)
        return error_set(err, ENOMEM, "no memory for a vhost-user device");
    v->notifiers = notifiers;
    notifiers->owner = v;
    notifiers->guard = notifiers->lost.fd = notifiers->watch.inotify.fd = -1;
    notifiers->pages = reservation_make(0, v->queue_count * PAGE);
    if (!notifiers->pages)
        return error_errno(err, errno, "cannot reserve room for host notifiers");
    ret = loop_event_open(v->loop, &notifiers->lost, memory_lost, err);
    if (!ret)
        ret = file_watch_open(v->loop, &notifiers->watch, file_changed, err);
    if (!ret)
        ret = notifiers->guard =
            memory_guard_add(notifiers->pages, v->queue_count * PAGE, notifiers->lost.fd, err);
    return MIN(ret, 0);
}

void vhost_user_notifiers_close(struct vhost_user *v)
{
    struct vhost_user_notifiers *notifiers = v->notifiers;

    if (!notifiers)
        return;
    if (notifiers->guard >= 0)
        memory_guard_remove(notifiers->guard);
    if (notifiers->pages)
        munmap(notifiers->pages, v->queue_count * PAGE);
    file_watch_close(v->loop, &notifiers->watch);
    loop_fd_close(v->loop, &notifiers->lost);
    free(notifiers);
    v->notifiers = NULL;
}
