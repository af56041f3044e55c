/*
 * Fuzzing the device's side of a virtqueue: the input is what a driver leaves in memory and does
 * meanwhile.
 *
 *     byte 0      queue size: split, its log2; packed, one less
 *     byte 1      bits EVENT_IDX, INDIRECT_DESC, IN_ORDER, RING_PACKED, a record (inflight.h)
 *     bytes 2-3   where the ring starts: split, its free-running indexes; packed, slot and wrap
 *     the rest    operations: a code and its operands (enum operation)
 *
 * Whatever comes, the queue hands out nothing but guest memory, never too much of it, and keeps
 * account of what is in flight (RING-17); the sanitizers see to the rest. Build with
 * -fsanitize=fuzzer,address,undefined; with -DFUZZ_MAIN instead of fuzzer, inputs are files.
 */
#include "base/bytes.h"
#include "virtio/inflight.h"
#include "virtio/virtqueue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_SIZE      (64 * KIB)
#define HIGH_AT       (UINT64_C(4) * GIB)
#define HIGH_SIZE     (4 * KIB)
#define SIZE_MAX_LOG2 8

/* Of the buffers in flight, for the largest size. */
#define RECORD_ENTRIES (1 << SIZE_MAX_LOG2)
#define RECORD_SIZE \
    (sizeof(struct inflight_packed) + RECORD_ENTRIES * sizeof(struct inflight_packed_entry))

/* The ring for the largest size; buffers and tables may be anywhere, also on top of it. */
#define DESC_AT  0x0000
#define AVAIL_AT 0x2000
#define USED_AT  0x3000

enum operation {
    POP,
    PUSH, /* which, length */
    PUBLISH,
    ENABLE_KICKS,
    DISABLE_KICKS,
    READ,           /* which, offset */
    WRITE,          /* which, offset */
    OFFER,          /* head or, packed, flags and id: make the next entry available */
    SET_DESCRIPTOR, /* slot, address / 16 (2), length (2), flags, next: anywhere in RAM */
    SET_RAM,        /* address (2), value (2) */
    SET_ADDRESS,    /* slot, address (8) */
    RESTART,
    UNPOP,
    SET_BUDGET, /* buffers */
    SET_RECORD, /* offset (2), value: of a byte */
    OPERATIONS,
};

static _Alignas(4096) uint8_t ram[RAM_SIZE], high[HIGH_SIZE];
static _Alignas(INFLIGHT_ALIGNMENT) uint8_t record[RECORD_SIZE];

struct input {
    const uint8_t *data;
    size_t size;
};

struct fuzz {
    struct guest_memory memory;
    struct virtio_features features;
    struct virtqueue queue;
    struct virtqueue_setup setup;
    struct virtqueue_buffer *in_flight[1 << SIZE_MAX_LOG2]; /* in the order of pops */
    unsigned count;
    unsigned newest; /* the last ones of these, with none popped after them pushed: for unpop */
    uint64_t budget; /* what it may still hand out */
    bool packed, recorded;
    uint16_t avail_idx; /* packed: the next slot... */
    bool avail_wrap;    /* ...and the driver's wrap counter */
};

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_virtqueue: %s\n", what);
        abort();
    }
}

static uint64_t take(struct input *in, unsigned bytes)
{
    uint8_t value[8] = {0};
    size_t n = MIN(bytes, in->size);

    memcpy(value, in->data, n);
    in->data += n;
    in->size -= n;
    return load_le64(value);
}

static bool inside(const void *base, size_t size, const struct iovec *iov)
{
    const uint8_t *start = base, *p = iov->iov_base;

    return p >= start && p < start + size && iov->iov_len <= (size_t)(start + size - p);
}

static uint64_t check_part(const struct iovec *iov, unsigned count)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        require(iov[i].iov_len > 0, "an empty iovec");
        require(inside(ram, sizeof(ram), &iov[i]) || inside(high, sizeof(high), &iov[i]),
                "an iovec outside of guest memory");
        bytes += iov[i].iov_len;
    }
    return bytes;
}

static void check_buffer(const struct fuzz *f, const struct virtqueue_buffer *b)
{
    unsigned slots = b->slots;

    require(f->packed || b->id < f->queue.size, "a head beyond the queue");
    for (unsigned i = 0; i < f->count; i++)
        slots += f->in_flight[i]->slots;
    require(slots <= f->queue.size, "more slots than the ring has");
    require(b->readable_count + b->writable_count <= VIRTQUEUE_CHAIN_MAX, "a chain too long");
    require(check_part(b->readable, b->readable_count) == b->readable_bytes, "readable_bytes");
    require(check_part(b->writable, b->writable_count) == b->writable_bytes, "writable_bytes");
    for (unsigned i = 0; i < f->count; i++)
        require(f->in_flight[i] != b, "a buffer handed out twice");
}

static void on_notify(void *opaque, uint16_t index)
{
    struct fuzz *f = opaque;

    require(index == f->setup.index, "a notification for another queue");
}

static void pop(struct fuzz *f)
{
    bool broken = f->queue.broken.id, spent = virtqueue_budget_spent(&f->queue);
    struct virtqueue_buffer *b;
    int ret = virtqueue_pop(&f->queue, &b);

    require(!broken || ret == -EPROTO, "a broken ring works again");
    require(!spent || ret == 0, "a buffer beyond the budget");
    require((ret == -EPROTO) == (f->queue.broken.id != NULL), "-EPROTO without a rule");
    if (ret != 1) {
        require(ret == 0 || ret == -EPROTO, "an unknown result");
        return;
    }
    require(f->count < f->queue.size, "more in flight than the queue holds");
    check_buffer(f, b);
    f->in_flight[f->count++] = b;
    f->newest++;
    f->budget--;
}

static void unpop(struct fuzz *f)
{
    struct virtqueue_buffer *b;
    uint32_t bytes;

    if (f->newest == 0)
        return;
    b = f->in_flight[--f->count];
    f->newest--;
    bytes = b->readable_bytes;
    virtqueue_unpop(&f->queue, b);
    f->budget += f->budget < UINT64_MAX;
    require(bytes == b->readable_bytes, "a buffer changed when it was taken back");
}

static struct virtqueue_buffer *pick(struct fuzz *f, struct input *in, unsigned *which)
{
    *which = (unsigned)take(in, 1);
    if (f->count == 0)
        return NULL;
    *which %= f->count;
    return f->in_flight[*which];
}

static void push(struct fuzz *f, struct input *in)
{
    unsigned which;
    struct virtqueue_buffer *b = pick(f, in, &which);

    if (!b)
        return;
    virtqueue_push(&f->queue, b, (uint32_t)take(in, 2));
    f->count--;
    memmove(&f->in_flight[which], &f->in_flight[which + 1], (f->count - which) * sizeof(b));
    f->newest = MIN(f->newest, f->count - which);
}

static void copy(struct fuzz *f, struct input *in, bool write)
{
    unsigned which;
    struct virtqueue_buffer *b = pick(f, in, &which);
    size_t offset = take(in, 1), n, whole;
    uint8_t data[64] = {0};

    if (!b)
        return;
    whole = write ? b->writable_bytes : b->readable_bytes;
    n = write ? virtqueue_write(b, offset, data, sizeof(data))
              : virtqueue_read(b, offset, data, sizeof(data));
    require(n == (offset < whole ? MIN(sizeof(data), whole - offset) : 0), "a copy's length");
}

static void start(struct fuzz *f, struct virtqueue_position position)
{
    f->queue.notify = on_notify;
    f->queue.notify_opaque = f;
    f->count = f->newest = 0;
    f->budget = UINT64_MAX;
    f->queue.record = (struct virtqueue_record){f->recorded ? record : NULL, RECORD_ENTRIES};
    if (virtqueue_start(&f->queue, &f->memory, &f->setup, &f->features, position, NULL) == 0)
        return;
    require(f->recorded, "a good queue does not start");
    memset(record, 0, sizeof(record)); /* it was a bad one */
    require(virtqueue_start(&f->queue, &f->memory, &f->setup, &f->features, position, NULL) == 0,
            "a good queue does not start with a fresh record");
}

/* Where it stood; unless buffers are lost that way, and then nobody can go on. */
static void restart(struct fuzz *f)
{
    struct virtqueue_position position = virtqueue_stop(&f->queue);

    if (!f->packed && (uint16_t)(position.avail - position.used) > f->setup.size)
        position.used = position.avail;
    start(f, position);
}

static void offer_packed(struct fuzz *f, struct input *in)
{
    uint8_t *p = ram + DESC_AT + 16 * (size_t)f->avail_idx;
    uint16_t flags = take(in, 1) & 7;

    store_le16(p + 12, (uint16_t)take(in, 1));
    store_le16(p + 14, flags | (f->avail_wrap ? 0x80 : 0x8000));
    if (++f->avail_idx == f->setup.size) {
        f->avail_idx = 0;
        f->avail_wrap = !f->avail_wrap;
    }
}

static void offer(struct fuzz *f, struct input *in)
{
    size_t slot = f->avail_idx % f->setup.size;

    if (f->packed) {
        offer_packed(f, in);
        return;
    }
    f->avail_idx++;
    store_le16(ram + AVAIL_AT + 4 + 2 * slot, (uint16_t)take(in, 1));
    store_le16(ram + AVAIL_AT + 2, f->avail_idx);
}

static void set_descriptor(struct input *in)
{
    uint8_t *p = ram + 16 * take(in, 2) % RAM_SIZE;

    store_le64(p, take(in, 2));
    store_le32(p + 8, (uint32_t)take(in, 2));
    store_le16(p + 12, (uint16_t)take(in, 1));
    store_le16(p + 14, (uint16_t)take(in, 1));
}

static void operate(struct fuzz *f, struct input *in)
{
    uint64_t at;

    switch ((enum operation)(take(in, 1) % OPERATIONS)) {
    case POP:
        pop(f);
        break;
    case PUSH:
        push(f, in);
        break;
    case PUBLISH:
        virtqueue_publish(&f->queue);
        break;
    case ENABLE_KICKS:
        virtqueue_enable_kicks(&f->queue);
        break;
    case DISABLE_KICKS:
        virtqueue_disable_kicks(&f->queue);
        break;
    case READ:
        copy(f, in, false);
        break;
    case WRITE:
        copy(f, in, true);
        break;
    case OFFER:
        offer(f, in);
        break;
    case SET_DESCRIPTOR:
        set_descriptor(in);
        break;
    case SET_RAM:
        at = take(in, 2) % (RAM_SIZE - 1);
        store_le16(ram + at, (uint16_t)take(in, 2));
        break;
    case SET_ADDRESS:
        at = 16 * take(in, 1);
        store_le64(ram + at, take(in, 8));
        break;
    case RESTART:
        restart(f);
        break;
    case UNPOP:
        unpop(f);
        break;
    case SET_BUDGET:
        f->budget = take(in, 1);
        virtqueue_set_budget(&f->queue, f->budget);
        break;
    case SET_RECORD:
        at = take(in, 2) % sizeof(record);
        record[at] = (uint8_t)take(in, 1);
        break;
    case OPERATIONS:
        break;
    }
    require(f->queue.budget + (uint64_t)f->queue.ready == (f->queue.broken.id ? 0 : f->budget),
            "a wrong budget");
}

static void begin_packed(struct fuzz *f, struct input *in)
{
    uint16_t at = (uint16_t)take(in, 2);

    f->avail_idx = at % f->setup.size;
    f->avail_wrap = at >> 15;
    at = (uint16_t)(f->avail_idx | f->avail_wrap << 15);
    start(f, (struct virtqueue_position){at, at});
}

static void begin_split(struct fuzz *f, struct input *in)
{
    f->avail_idx = (uint16_t)take(in, 2);
    store_le16(ram + AVAIL_AT + 2, f->avail_idx);
    start(f, (struct virtqueue_position){f->avail_idx, f->avail_idx});
}

static void begin(struct fuzz *f, struct input *in)
{
    unsigned size = (unsigned)take(in, 1), flags = (unsigned)take(in, 1);

    f->packed = flags & 8;
    f->recorded = flags & 16;
    memset(record, 0, sizeof(record));
    f->setup = (struct virtqueue_setup){
        .index = 7,
        .size = (uint16_t)(f->packed ? size + 1 : 1u << size % (SIZE_MAX_LOG2 + 1)),
        .desc = GPA(DESC_AT),
        .driver = GPA(AVAIL_AT),
        .device = GPA(USED_AT),
    };
    features_set(&f->features, VIRTIO_F_EVENT_IDX, flags & 1);
    features_set(&f->features, VIRTIO_F_INDIRECT_DESC, flags & 2);
    features_set(&f->features, VIRTIO_F_IN_ORDER, flags & 4);
    features_set(&f->features, VIRTIO_F_RING_PACKED, f->packed);
    if (f->packed)
        begin_packed(f, in);
    else
        begin_split(f, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct fuzz f = {0};

    memset(ram, 0, sizeof(ram));
    guest_memory_init(&f.memory);
    guest_memory_add_external(&f.memory, 0, sizeof(ram), ram, NULL);
    guest_memory_add_external(&f.memory, HIGH_AT, sizeof(high), high, NULL);
    begin(&f, &in);
    while (in.size > 0)
        operate(&f, &in);
    virtqueue_stop(&f.queue);
    guest_memory_destroy(&f.memory);
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];

    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");

        if (!file) {
            perror(argv[i]);
            return 1;
        }
        LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), file));
        fclose(file);
    }
    return 0;
}
#endif
