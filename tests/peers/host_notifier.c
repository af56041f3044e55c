/*
 * A vhost-user back end that is notified at a page of its own (HOST_NOTIFIER), for
 * tests/integration: a source of entropy that has one kind of byte, 'v'.
 *
 *     peer_host_notifier SOCKET      connects to the front end there, and serves until that is gone
 *
 * It looks for buffers when the page was written to, and once when the queue starts, for which
 * there is a signal of the kick eventfd. Other signals are counted and not followed. In the end it
 * says what it saw:
 *
 *     starts 1 page 312 eventfd 0 wrong 0
 *
 * `wrong`: what was written to the page is not the queue's index.
 */
#include "base/bytes.h"
#include "base/event_signal.h"
#include "tests/driver/vhost_peer.h"
#include "virtio/virtqueue.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE  (4 * KIB)
#define QUIET UINT16_MAX /* in the page: no index of ours */

struct server {
    struct vhost_peer peer;
    uint16_t *page;
    struct guest_memory memory;
    struct virtqueue queue;
    bool runs;
    bool awaits_start; /* its signal */
    uint64_t starts, by_page, by_eventfd, wrong;
};

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "peer_host_notifier: %s\n", what);
    exit(1);
}

/* --- the queue: with the peer's lock held, so that it does not stop meanwhile ----------------- */

static void interrupt(void *opaque, uint16_t index)
{
    struct server *s = opaque;

    (void)index;
    event_signal(s->peer.told[VHOST_USER_SET_VRING_CALL].fds[0]);
}

static void map_memory(struct server *s)
{
    const struct vhost_user_message *told = &s->peer.told[VHOST_USER_SET_MEM_TABLE];

    for (uint32_t i = 0; i < told->payload.memory.count; i++) {
        const struct vhost_user_region *region = &told->payload.memory.regions[i];
        void *at = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED, told->fds[i],
                        (off_t)region->mmap_offset);

        require(at != MAP_FAILED && guest_memory_add_external(&s->memory, region->guest_address,
                                                              region->size, at, NULL) == 0,
                "the guest's memory cannot be mapped");
    }
}

static void start(struct server *s)
{
    const struct vhost_user_message *told = s->peer.told;
    const struct vhost_user_vring_address *address =
        &told[VHOST_USER_SET_VRING_ADDR].payload.address;
    const struct virtqueue_setup setup = {
        .size = (uint16_t)told[VHOST_USER_SET_VRING_NUM].payload.state.num,
        .desc = GPA(address->descriptor),
        .driver = GPA(address->available),
        .device = GPA(address->used),
    };
    static const struct virtio_features plain = {.word = {0, 1, 0, 0}};

    if (!s->memory.count)
        map_memory(s);
    s->queue = (struct virtqueue){.notify = interrupt, .notify_opaque = s};
    require(virtqueue_start(&s->queue, &s->memory, &setup, &plain,
                            virtqueue_position_of_base(0, false), NULL) == 0,
            "the queue cannot start");
    s->runs = s->awaits_start = true;
    s->starts++;
}

static void serve(struct server *s)
{
    struct virtqueue_buffer *buffer;
    char bytes[512];

    memset(bytes, 'v', sizeof(bytes));
    while (virtqueue_pop(&s->queue, &buffer) > 0)
        virtqueue_push(&s->queue, buffer,
                       (uint32_t)virtqueue_write(buffer, 0, bytes, sizeof(bytes)));
    virtqueue_publish(&s->queue);
}

static void look(struct server *s)
{
    uint16_t told = __atomic_exchange_n(s->page, QUIET, __ATOMIC_SEQ_CST);
    eventfd_t signals = 0;

    if (eventfd_read(s->peer.told[VHOST_USER_SET_VRING_KICK].fds[0], &signals) < 0)
        signals = 0;
    s->by_eventfd += signals - (s->awaits_start && signals);
    s->by_page += told != QUIET;
    s->wrong += told != QUIET && told != 0;
    if (told != QUIET || (s->awaits_start && signals))
        serve(s);
    s->awaits_start &= !signals;
}

static void turn(struct server *s)
{
    bool enabled = s->peer.told[VHOST_USER_SET_VRING_ENABLE].payload.state.num;

    if (enabled && !s->runs)
        start(s);
    if (!enabled && s->runs)
        virtqueue_stop(&s->queue);
    s->runs = enabled;
    if (s->runs)
        look(s);
}

/* --- the connection --------------------------------------------------------------------------- */

static bool is_over(const struct vhost_peer *peer)
{
    return recv(peer->socket, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* The peer tries to connect meanwhile; the front end may be starting still. */
static void await_connection(const struct vhost_peer *peer)
{
    for (int i = 0; i < 10000 && peer->socket < 0; i++)
        usleep(1000);
    require(peer->socket >= 0, "nobody listens");
}

int main(int argc, char **argv)
{
    static struct server s;
    int fd = memfd_create("page", MFD_CLOEXEC);

    require(argc == 2, "a socket is missing");
    require(fd >= 0 && ftruncate(fd, PAGE) == 0, "no memory for a page");
    s.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    require(s.page != MAP_FAILED, "the page cannot be mapped");
    *s.page = QUIET;
    guest_memory_init(&s.memory);
    vhost_peer_init(&s.peer);
    s.peer.protocol_features &= ~(UINT64_C(1) << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
    s.peer.connects_to = argv[1];
    s.peer.queues = 1;
    s.peer.notifier_fd = fd;
    vhost_peer_start(&s.peer);
    await_connection(&s.peer);
    for (; !is_over(&s.peer); usleep(200)) {
        pthread_mutex_lock(&s.peer.lock);
        turn(&s);
        pthread_mutex_unlock(&s.peer.lock);
    }
    printf("starts %llu page %llu eventfd %llu wrong %llu\n", (unsigned long long)s.starts,
           (unsigned long long)s.by_page, (unsigned long long)s.by_eventfd,
           (unsigned long long)s.wrong);
    return 0;
}
