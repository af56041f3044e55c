/*
 * virtio-input with random selections, buffers, status and events, of every kind; and random
 * scripts.
 *
 * Rings are sound here (fuzz_virtqueue breaks those). Checked besides what sanitizers see: answers
 * fit, used lengths are those of an event or 0, and however late buffers come, in the end the
 * driver knows of the same keys as who pressed them.
 *
 * Input: a byte of the kind, or a script behind one from SCRIPT on; then steps of four bytes: what
 * to do, and three for it.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/display/display.h"
#include "devices/input/input.h"
#include "devices/input/model/script.h"
#include "tests/fuzz/device.h"

#include <linux/input.h>
#include <sys/eventfd.h>

#define SCRIPT     0xf0
#define QUEUES     2
#define QUEUE_SIZE 16
#define RING_STEP  UINT64_C(0x10000)
#define DATA       (QUEUES * RING_STEP)
#define MEMORY     (DATA + 0x10000)
#define KINDS      4
#define CONFIG     136

extern const struct virtio_model vireo_module_input;

static struct guest_memory memory;
static struct loop *loop;
static struct display *display;
static struct virtio_backend *backends[KINDS], *backend;
static struct ring rings[QUEUES];
static int kicks[QUEUES];
static uint32_t lengths[QUEUES][QUEUE_SIZE]; /* of buffers, by head */
static bool ready;
static bool sent[KEY_CNT], received[KEY_CNT]; /* keys that are down */

static const unsigned kinds[KINDS] = {DISPLAY_KEYS, DISPLAY_RELATIVE, DISPLAY_ABSOLUTE,
                                      DISPLAY_TOUCH};

static void create(void)
{
    static struct input_options options[KINDS];

    log_configure("error");
    guest_memory_init(&memory);
    REQUIRE(guest_memory_add(&memory, 0, MEMORY, 0, NULL) == 0);
    REQUIRE(loop_create(&loop, NULL) == 0);
    REQUIRE(display_create(loop, "fuzz", &display, NULL) == 0);
    for (int i = 0; i < KINDS; i++) {
        options[i] =
            (struct input_options){.kind = INPUT_KEYBOARD + i, .grab = true, .display = display};
        REQUIRE(virtio_builtin_create(&vireo_module_input, &options[i], &memory, loop, QUEUES,
                                      QUEUE_SIZE, &backends[i], NULL) == 0);
        backends[i]->events = device_events;
        REQUIRE(backends[i]->ops->start(backends[i], NULL) == 0);
    }
    for (int q = 0; q < QUEUES; q++)
        kicks[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void queues_start(void)
{
    struct virtio_features negotiated = {0};

    features_set(&negotiated, VIRTIO_F_VERSION_1, true);
    REQUIRE(backend->ops->set_features(backend, &negotiated) == 0);
    for (uint16_t q = 0; q < QUEUES; q++) {
        ring_init(&rings[q], &memory, q * RING_STEP, QUEUE_SIZE, false);
        device_queue_start(backend, q, &rings[q], kicks[q]);
    }
    ready = false;
    memset(sent, 0, sizeof(sent));
    memset(received, 0, sizeof(received));
}

static void queues_stop(void)
{
    for (uint16_t q = 0; q < QUEUES; q++) {
        struct virtqueue_position at = backend->ops->queue_stop(backend, q);

        REQUIRE(at.avail == at.used);
        ring_destroy(&rings[q]);
    }
    backend->ops->reset(backend);
}

static void serve(void)
{
    for (int i = 0; i < 4; i++)
        turn(loop);
}

static void take_event(const uint8_t *bytes)
{
    if (load_le16(bytes) == EV_KEY && load_le16(bytes + 2) < KEY_CNT)
        received[load_le16(bytes + 2)] = load_le32(bytes + 4);
}

/* How many events came. */
static unsigned collect(void)
{
    struct ring_used used;
    unsigned count = 0;

    for (unsigned q = 0; q < QUEUES; q++)
        while (ring_collect(&rings[q], &used)) {
            bool event = q == 0 && lengths[q][used.id] >= 8;

            REQUIRE(used.id < QUEUE_SIZE);
            REQUIRE(used.length == (event ? 8 : 0));
            if (event)
                take_event(guest_memory_map(&memory, GPA(DATA + used.id * 0x400), 8));
            count += event;
        }
    return count;
}

static void add_buffer(unsigned q, uint32_t length, bool swap)
{
    uint16_t head = rings[q].free_head;
    bool writable = (q == 0) != swap;
    const struct ring_element element = {DATA + head * 0x400, length, writable};

    if (ring_add(&rings[q], &element, 1, RING_DIRECT) < 0)
        return;
    lengths[q][head] = writable ? length : 0;
    ready = ready || q == 0;
    ring_publish(&rings[q]);
    eventfd_write(kicks[q], 1);
}

static void look_at_config(uint8_t select, uint8_t subsel, uint8_t offset)
{
    uint8_t config[CONFIG], part[256], pair[] = {select, subsel};

    backend->ops->config_write(backend, offset % 3, pair, sizeof(pair));
    backend->ops->config_read(backend, 0, config, sizeof(config));
    REQUIRE(config[2] <= CONFIG - 8);
    backend->ops->config_read(backend, offset, part, subsel);
    for (unsigned i = 0; i < subsel; i++)
        REQUIRE(part[i] == (offset + i < CONFIG ? config[offset + i] : 0));
}

static void send_event(unsigned kind, uint8_t type, uint8_t code, uint8_t value, bool end)
{
    static const uint8_t types[] = {EV_KEY, EV_KEY, EV_REL, EV_ABS, EV_ABS, EV_MSC, EV_LED, EV_SYN};
    const struct display_event events[] = {
        {types[type % 8], (uint16_t)(code | (type & 8 ? 0x100 : 0)), value % 4 - 1},
        {EV_SYN, SYN_REPORT, 0}};

    if (ready && kind == 0 && events[0].type == EV_KEY && events[0].code < BTN_MISC &&
        events[0].value != 2)
        sent[events[0].code] = events[0].value;
    display_input(display, kinds[kind], 0, events, end ? 2 : 1);
}

static void step(struct input *in, unsigned kind)
{
    uint8_t what = take(in), a = take(in), b = take(in), c = take(in);

    switch (what % 8) {
    case 0:
        look_at_config(a, b, c);
        break;
    case 1:
        add_buffer(1, a, what & 0x80);
        break;
    case 2:
    case 3:
        for (int i = 0; i < a % 20; i++)
            add_buffer(0, what & 0x10 ? b % 12 : 8, (what & 0xe0) == 0xe0);
        break;
    case 4:
        queues_stop();
        queues_start();
        break;
    default:
        serve(); /* what is ready is known there, too */
        for (int i = 0; i <= (what & 0x80 ? 50 : 0); i++)
            send_event(kind, a, b, (uint8_t)(c + i), what & 0x10);
    }
    if (what & 0x20) {
        serve();
        collect();
    }
}

/* Buffers until nothing comes any more: then both sides agree. */
static void finish(unsigned kind)
{
    static const struct display_event end[] = {{EV_KEY, KEY_ESC, 1}, {EV_SYN, SYN_REPORT, 0}};
    unsigned quiet = 0;

    for (int i = 0; i < 2; i++) {
        add_buffer(0, 8, false);
        serve();
        collect();
    }
    display_input(display, kinds[kind], 0, end, ARRAY_SIZE(end)); /* ends what was left open */
    for (int i = 0; i < 2000 && quiet < 3; i++) {
        for (int n = 0; n < QUEUE_SIZE; n++)
            add_buffer(0, 8, false);
        serve();
        quiet = collect() ? 0 : quiet + 1;
    }
    REQUIRE(quiet == 3);
    sent[KEY_ESC] = received[KEY_ESC];
    for (unsigned code = KEY_ESC; kind == 0 && code < KEY_MIN_INTERESTING; code++)
        REQUIRE(sent[code] == received[code] || code == 84);
}

static void read_script(struct input *in)
{
    struct input_script script;
    char *text = calloc(1, in->left + 1);

    memcpy(text, in->bytes, in->left);
    if (input_script_parse(&script, text, 0, NULL) == 0)
        input_script_free(&script);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t first = take(&in);
    unsigned kind = first % KINDS;

    if (first >= SCRIPT) {
        read_script(&in);
        return 0;
    }
    if (!backend)
        create();
    backend = backends[kind];
    needs_reset = false;
    queues_start();
    while (in.left)
        step(&in, kind);
    finish(kind);
    REQUIRE(!needs_reset);
    queues_stop();
    return 0;
}
