/*
 * Host notifiers of a vhost-user device: when the driver's notifications go to a page of the peer's
 * and when to the eventfd, and what areas a peer can do no harm with. What becomes of the page as
 * registers move is in test_notify_pages.c.
 */
#include "tests/unit/vhost_user_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#define FEATURE(name) (UINT64_C(1) << VHOST_USER_PROTOCOL_F_##name)
#define PAGE          NOTIFY_PAGE
#define PAGES         4 /* of a file */

struct notifier {
    struct front *front;
    int fd;        /* the peer's file */
    uint8_t *file; /* the same, mapped */
};

static int setup(void **state)
{
    struct notifier *n = calloc(1, sizeof(*n));
    void *front;

    front_setup(&front);
    n->front = front;
    n->front->options.notify_pages = true;
    n->fd = memfd_create("page", MFD_CLOEXEC);
    assert_int_equal(ftruncate(n->fd, PAGES * PAGE), 0);
    n->file = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, n->fd, 0);
    assert_ptr_not_equal(n->file, MAP_FAILED);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct notifier *n = *state;
    void *front = n->front;

    front_teardown(&front);
    munmap(n->file, PAGES * PAGE);
    close(n->fd);
    free(n);
    return 0;
}

static void drive(struct notifier *n)
{
    front_connect(n->front);
    front_drive(n->front);
}

static bool agreed(struct front *f)
{
    return vhost_peer_told(&f->peer, VHOST_USER_SET_PROTOCOL_FEATURES).payload.u64 &
           FEATURE(HOST_NOTIFIER);
}

/* The peer's request as it stands. */
static int64_t say(struct vhost_peer *peer, uint64_t index, uint64_t size, uint64_t offset, int fd)
{
    const struct vhost_user_area area = {index, size, offset};

    return vhost_peer_say(peer, VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG, &area, sizeof(area),
                          fd);
}

static int64_t give(struct notifier *n, uint16_t index, uint64_t offset)
{
    return say(&n->front->peer, index, PAGE, offset, n->fd);
}

static int64_t take_away(struct notifier *n, uint16_t index)
{
    return say(&n->front->peer, index | VHOST_USER_VRING_NOFD, 0, 0, -1);
}

/* Where the driver's notifications go without anybody's help; NULL: to a handler. */
static uint8_t *page_of(struct notifier *n, uint16_t index)
{
    return fake_memory_at(&n->front->fake, FRONT_NOTIFY + (uint64_t)PAGE * index, 2, true);
}

static bool is_taken_away(struct front *f)
{
    return !fake_memory_at(&f->fake, FRONT_NOTIFY, 2, true);
}

static void notify(struct notifier *n)
{
    __atomic_store_n((uint16_t *)(void *)page_of(n, 0), 0, __ATOMIC_SEQ_CST);
}

/* The driver notifies queue 0, which the page at `offset` of the file is told of. */
static void assert_told(struct notifier *n, uint64_t offset)
{
    uint16_t *told = (uint16_t *)(void *)(n->file + offset);

    assert_non_null(page_of(n, 0));
    __atomic_store_n(told, 0xffff, __ATOMIC_SEQ_CST);
    notify(n);
    assert_int_equal(__atomic_load_n(told, __ATOMIC_SEQ_CST), 0);
}

/* --- a sound peer --- */

static void page(void **state)
{
    struct notifier *n = *state;

    drive(n);
    assert_true(agreed(n->front));
    assert_null(page_of(n, 0));
    assert_int_equal(give(n, 0, PAGE), 0);
    assert_told(n, PAGE);
    assert_null(page_of(n, 1));
    assert_int_equal(give(n, 0, 2 * PAGE), 0); /* another one in its place */
    assert_told(n, 2 * PAGE);
    assert_int_equal(take_away(n, 0), 0);
    assert_null(page_of(n, 0));
    assert_int_equal(take_away(n, 0), 0); /* "if any" */
    assert_int_equal(give(n, 0, 0), 0);
    assert_told(n, 0);
}

/* Of an area of several pages the driver has the first. */
static void several_pages(void **state)
{
    struct notifier *n = *state;

    drive(n);
    assert_int_equal(say(&n->front->peer, 0, 2 * PAGE, PAGE, n->fd), 0);
    assert_told(n, PAGE);
    assert_null(page_of(n, 1));
}

/* A page lasts as long as its queue runs, and the next start has none unless it is given anew. */
static void queue_stops(void **state)
{
    struct notifier *n = *state;

    drive(n);
    assert_int_equal(give(n, 0, 0), 0);
    virtio_device_set_queue_enabled(&n->front->dev, 0, false);
    assert_null(page_of(n, 0));
    assert_int_equal(give(n, 0, 0), 1); /* of a queue that is stopped */
    assert_int_equal(give(n, 1, 0), 1); /* and of one that never ran */
    virtio_device_set_status(&n->front->dev, 0);
    front_drive(n->front);
    assert_null(page_of(n, 0));
    assert_int_equal(give(n, 0, 0), 0);
    assert_told(n, 0);
}

static void device_is_reset(void **state)
{
    struct notifier *n = *state;

    drive(n);
    assert_int_equal(give(n, 0, 0), 0);
    virtio_device_set_status(&n->front->dev, 0);
    assert_null(page_of(n, 0));
    assert_int_equal(give(n, 0, 0), 1);
}

static void peer_is_gone(void **state)
{
    struct notifier *n = *state;

    drive(n);
    assert_int_equal(give(n, 0, 0), 0);
    shutdown(n->front->peer.socket, SHUT_RDWR);
    front_wait(n->front, is_taken_away);
}

/* While a request of the front end's waits for its answer, as real ones do: with the first
 * notification the page is there. */
static void given_at_start(void **state)
{
    struct notifier *n = *state;

    n->front->peer.notifier_fd = n->fd;
    drive(n);
    assert_told(n, 0);
    virtio_device_set_status(&n->front->dev, 0);
    front_drive(n->front);
    assert_told(n, 0);
}

/* A queue that starts is looked at unasked: by the eventfd, which stays quiet from then on. */
static void eventfd_at_start(void **state)
{
    struct notifier *n = *state;
    struct vhost_user_message kick;
    eventfd_t count;

    n->front->peer.notifier_fd = n->fd;
    drive(n);
    kick = vhost_peer_told(&n->front->peer, VHOST_USER_SET_VRING_KICK);
    assert_int_equal(eventfd_read(kick.fds[0], &count), 0);
    assert_int_equal(count, 1);
}

static bool is_given(struct front *f)
{
    return !is_taken_away(f);
}

/* The next peer gives its own. */
static void peer_comes_back(void **state)
{
    struct notifier *n = *state;
    struct vhost_peer next;
    char path[64];

    snprintf(path, sizeof(path), "/tmp/vireo-notifier-%d", getpid());
    n->front->options.path = n->front->peer.connects_to = path;
    n->front->options.server = true;
    n->front->options.reconnect_s = 1;
    n->front->peer.notifier_fd = n->fd;
    vhost_peer_init(&next);
    next.connects_to = path;
    drive(n);
    assert_told(n, 0);
    vhost_peer_stop(&n->front->peer);
    front_wait(n->front, is_taken_away);
    next.notifier_fd = n->fd;
    vhost_peer_start(&next);
    front_wait(n->front, is_given);
    assert_told(n, 0);
    assert_false(front_needs_reset(n->front));
    virtio_device_set_status(&n->front->dev, 0);
    vhost_peer_stop(&next);
}

/* --- when it is not agreed on --- */

static void assert_refused(struct notifier *n)
{
    drive(n);
    assert_false(agreed(n->front));
    assert_null(page_of(n, 0));
}

static void not_with_inband(void **state)
{
    struct notifier *n = *state;

    n->front->options.inband = true;
    assert_refused(n);
    assert_int_equal(give(n, 0, 0), 1);
}

static void not_with_relay(void **state)
{
    struct notifier *n = *state;

    n->front->options.relay = true;
    assert_refused(n);
    assert_int_equal(give(n, 0, 0), 1);
}

static void not_without_descriptors(void **state)
{
    struct notifier *n = *state;

    n->front->peer.protocol_features &= ~FEATURE(BACKEND_SEND_FD);
    assert_refused(n);
}

/* --- hostile ones --- */

static void areas_that_cannot_be(void **state)
{
    struct notifier *n = *state;
    struct vhost_peer *peer = &n->front->peer;

    drive(n);
    assert_int_equal(give(n, 0, PAGE), 0);
    assert_int_equal(say(peer, FRONT_QUEUES, PAGE, 0, n->fd), 1);
    assert_int_equal(say(peer, 0xff, PAGE, 0, n->fd), 1);
    assert_int_equal(say(peer, UINT64_C(1) << 32, PAGE, 0, n->fd), 1); /* flags there are not */
    assert_int_equal(say(peer, 0x200, PAGE, 0, n->fd), 1);
    assert_int_equal(say(peer, 0, 0, 0, n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE - 1, 0, n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE + 1, 0, n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE, 100, n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE, PAGES * PAGE, n->fd), 1); /* beyond the file's end */
    assert_int_equal(say(peer, 0, 2 * PAGE, (PAGES - 1) * PAGE, n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE, UINT64_MAX - (PAGE - 1), n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE, INT64_MAX - (PAGE - 1), n->fd), 1);
    assert_int_equal(say(peer, 0, UINT64_MAX - (PAGE - 1), PAGE, n->fd), 1);
    assert_int_equal(say(peer, 0, PAGE, 0, -1), 1); /* none, and it is not said */
    assert_int_equal(say(peer, VHOST_USER_VRING_NOFD, PAGE, 0, n->fd), 1);
    assert_told(n, PAGE); /* what there was is as it was */
    assert_false(front_needs_reset(n->front));
}

/* A disk would have to make room for what the driver writes. */
static void file_of_a_disk(void **state)
{
    struct notifier *n = *state;
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct statfs system;

    drive(n);
    if (fd < 0 || fstatfs(fd, &system) < 0 || system.f_type == TMPFS_MAGIC)
        skip();
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(say(&n->front->peer, 0, PAGE, 0, fd), 1);
    assert_null(page_of(n, 0));
    close(fd);
}

/* What is no memory, is read-only, or belongs to others. */
static void files_that_cannot_be(void **state)
{
    struct notifier *n = *state;
    struct vhost_peer *peer = &n->front->peer;
    int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    int read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int others[] = {eventfd(0, EFD_CLOEXEC), open("/", O_RDONLY | O_CLOEXEC), -1, read_only};
    int ends[2];

    drive(n);
    assert_int_equal(pipe(ends), 0);
    others[2] = ends[0];
    assert_int_equal(ftruncate(sealed, PAGE), 0);
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
    assert_int_equal(say(peer, 0, PAGE, 0, sealed), 1);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        assert_int_equal(say(peer, 0, PAGE, 0, others[i]), 1);
        close(others[i]);
    }
    close(ends[1]);
    close(sealed);
    if (huge >= 0 && ftruncate(huge, 2 * MIB) == 0)
        assert_int_equal(say(peer, 0, PAGE, 0, huge), 1);
    if (huge >= 0)
        close(huge);
    assert_null(page_of(n, 0));
    assert_int_equal(give(n, 0, 0), 0); /* a good one still can */
    assert_told(n, 0);
}

/* What has no size may be a device's registers. */
static void device_without_size(void **state)
{
    struct notifier *n = *state;
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);

    drive(n);
    assert_int_equal(say(&n->front->peer, 0, PAGE, 16 * PAGE, zero), 0);
    assert_non_null(page_of(n, 0));
    assert_int_equal(take_away(n, 0), 0);
    close(zero);
}

static void memory_is_full(struct notifier *n, bool is)
{
    struct fake_platform *fake = &n->front->fake;

    pthread_mutex_lock(&fake->lock);
    fake->fail_memory_map = is ? ENOSPC : 0;
    pthread_mutex_unlock(&fake->lock);
}

/* The machine has no room for it: the eventfd it is. */
static void no_room(void **state)
{
    struct notifier *n = *state;

    drive(n);
    memory_is_full(n, true);
    assert_int_equal(give(n, 0, 0), 1);
    memory_is_full(n, false);
    assert_null(page_of(n, 0));
    assert_int_equal(give(n, 0, 0), 0);
    assert_told(n, 0);
}

/* A file that loses what was mapped takes nobody along: the device needs a reset, and then may be
 * used again. */
static void truncated(void **state)
{
    struct notifier *n = *state;

    drive(n);
    assert_int_equal(give(n, 0, PAGE), 0);
    assert_int_equal(ftruncate(n->fd, 0), 0);
    front_wait(n->front, front_needs_reset); /* it is noticed without an access */
    notify(n);
    virtio_device_set_status(&n->front->dev, 0);
    assert_null(page_of(n, 0));
    front_drive(n->front);
    assert_int_equal(ftruncate(n->fd, PAGES * PAGE), 0);
    assert_int_equal(give(n, 0, PAGE), 0);
    assert_told(n, PAGE);
}

/* Again and again while the queue stops and starts: nothing is left behind, which the fake platform
 * checks. */
static void *give_on_and_on(void *opaque)
{
    struct notifier *n = opaque;

    for (unsigned i = 0; i < 300; i++)
        if (i % 3 == 2)
            take_away(n, 0);
        else
            give(n, 0, PAGE * (uint64_t)(i % PAGES));
    return NULL;
}

static void while_it_is_reset(void **state)
{
    struct notifier *n = *state;
    pthread_t thread;

    drive(n);
    assert_int_equal(pthread_create(&thread, NULL, give_on_and_on, n), 0);
    for (unsigned i = 0; i < 20; i++) {
        virtio_device_set_status(&n->front->dev, 0);
        assert_null(page_of(n, 0));
        front_drive(n->front);
        assert_false(front_needs_reset(n->front));
    }
    pthread_join(thread, NULL);
    assert_int_equal(give(n, 0, 0), 0);
    assert_told(n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(page),
        TEST(several_pages),
        TEST(queue_stops),
        TEST(device_is_reset),
        TEST(peer_is_gone),
        TEST(given_at_start),
        TEST(eventfd_at_start),
        TEST(peer_comes_back),
        TEST(not_with_inband),
        TEST(not_with_relay),
        TEST(not_without_descriptors),
        TEST(areas_that_cannot_be),
        TEST(files_that_cannot_be),
        TEST(file_of_a_disk),
        TEST(device_without_size),
        TEST(no_room),
        TEST(truncated),
        TEST(while_it_is_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
