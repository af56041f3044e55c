/*
 * virtio-console with random control messages, buffers and input, two ports, one of them on a
 * socket.
 *
 * Rings are sound here (fuzz_virtqueue breaks those). Checked besides what sanitizers see: used
 * lengths are in bounds, nothing but input and news waits in the device, all output comes out, and
 * nothing in flight survives a stop.
 *
 * Input: a byte of features, then steps of two bytes: what to do (and for which queue), and how
 * long; control messages take up to 8 bytes more.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/console/console.h"
#include "tests/fuzz/device.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUES     6
#define QUEUE_SIZE 16
#define RING_STEP  UINT64_C(0x10000)
#define DATA       (QUEUES * RING_STEP)
#define MEMORY     (DATA + 0x10000)

static struct guest_memory memory;
static struct loop *loop;
static struct virtio_backend *backend;
static struct ring rings[QUEUES];
static int kicks[QUEUES];
static int host;                              /* the other end of port 1 */
static uint32_t writable[QUEUES][QUEUE_SIZE]; /* bytes, by head */
static size_t sent, received;                 /* through port 1's transmit queue */

static void console_create(void)
{
    static char to[] = "null", port[32], *ports[] = {port};
    static struct console_options options = {.to = to, .ports = {ports, 1}};
    int pair[2];

    log_configure("error");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    host = pair[1];
    snprintf(port, sizeof(port), "p:fd:%d", pair[0]);
    guest_memory_init(&memory);
    REQUIRE(guest_memory_add(&memory, 0, MEMORY, 0, NULL) == 0);
    REQUIRE(loop_create(&loop, NULL) == 0);
    REQUIRE(virtio_builtin_create(&console_model, &options, &memory, loop, QUEUES, QUEUE_SIZE,
                                  &backend, NULL) == 0);
    backend->events = device_events;
    REQUIRE(backend->ops->start(backend, NULL) == 0);
    for (int q = 0; q < QUEUES; q++)
        kicks[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void queues_start(uint8_t features)
{
    struct virtio_features negotiated = {.word = {features & 7}};

    features_set(&negotiated, VIRTIO_F_VERSION_1, features & 8);
    features_set(&negotiated, VIRTIO_F_INDIRECT_DESC, true);
    needs_reset = false;
    REQUIRE(backend->ops->set_features(backend, &negotiated) == 0);
    for (uint16_t q = 0; q < QUEUES; q++) {
        ring_init(&rings[q], &memory, q * RING_STEP, QUEUE_SIZE, false);
        device_queue_start(backend, q, &rings[q], kicks[q]);
    }
}

/* Some turns of the loop: kicks, what they post, and input. */
static void serve(void)
{
    for (int i = 0; i < 4; i++)
        turn(loop);
}

static void collect(void)
{
    struct ring_used used;
    uint8_t bytes[4096];
    ssize_t got;

    for (int q = 0; q < QUEUES; q++)
        while (ring_collect(&rings[q], &used)) {
            REQUIRE(used.id < QUEUE_SIZE);
            REQUIRE(used.length <= writable[q][used.id]);
        }
    while ((got = read(host, bytes, sizeof(bytes))) > 0)
        received += (size_t)got;
}

/* One or two descriptors; `swap`: of the direction the queue is not for. */
static void add_buffer(struct input *in, unsigned q, uint32_t length, bool swap, bool split)
{
    bool write = (q % 2 == 0) != swap;
    struct ring_element e[2] = {
        {DATA, length / 2 + 1, write},
        {DATA + length / 2 + 1, length + 1, write || (length & 1)},
    };
    uint8_t *message = guest_memory_map(&memory, GPA(DATA), 8);
    unsigned count = split ? 2 : 1;
    int head;

    if (q == 3)
        for (int i = 0; i < 8; i++)
            message[i] = i == 0 || i == 4 || i == 6 ? take(in) % 8 : 0;
    head = ring_add(&rings[q], e, count, split ? RING_TABLE : RING_DIRECT);
    if (head < 0)
        return;
    writable[q][head] = 0;
    for (unsigned i = 0; i < count; i++) {
        if (e[i].writable)
            writable[q][head] += e[i].length;
        else if (q == 5)
            sent += e[i].length;
    }
    ring_publish(&rings[q]);
    eventfd_write(kicks[q], 1);
}

static void step(struct input *in, bool multiport)
{
    uint8_t what = take(in), length = take(in);
    unsigned q = what % 8;

    if (q < QUEUES && (q < 2 || multiport))
        add_buffer(in, q, q == 3 ? 13 : length, what & 0x10, what & 0x20);
    else if (q == 6)
        (void)!write(host, in->bytes, MIN(in->left, (size_t)length));
    if (what & 0x40) {
        serve();
        collect();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t features = take(&in);

    if (!backend)
        console_create();
    sent = received = 0;
    queues_start(features);
    while (in.left)
        step(&in, features & 2);
    serve();
    REQUIRE(!needs_reset);
    for (uint16_t q = 0; q < QUEUES; q++) {
        struct virtqueue_position at = backend->ops->queue_stop(backend, q);

        REQUIRE(at.avail == at.used);
    }
    collect();
    REQUIRE(received == sent);
    for (int q = 0; q < QUEUES; q++)
        ring_destroy(&rings[q]);
    backend->ops->reset(backend);
    return 0;
}
