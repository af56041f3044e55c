#include "tests/driver/fake_platform.h"

#include "base/bytes.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct fake_platform *fake_of(struct platform *p)
{
    return container_of(p, struct fake_platform, platform);
}

static void fake_require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fake platform: %s\n", what);
    abort();
}

static int fake_range_add(struct platform *p, const struct address_range *range, struct error *err)
{
    struct fake_platform *fake = fake_of(p);
    int ret = 0;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->range_count; i++) {
        const struct address_range *other = &fake->ranges[i];
        if (other->space == range->space && other->base < range->base + range->size &&
            range->base < other->base + other->size)
            ret = error_set(err, EEXIST, "taken by %s", other->name);
    }
    if (fake->fail_range_add)
        ret = error_errno(err, fake->fail_range_add, "told to fail");
    fake_require(fake->range_count < FAKE_RANGES, "too many ranges");
    if (!ret)
        fake->ranges[fake->range_count++] = *range;
    pthread_mutex_unlock(&fake->lock);
    return ret;
}

static void fake_range_remove(struct platform *p, enum address_space space, uint64_t base)
{
    struct fake_platform *fake = fake_of(p);
    bool found = false;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->range_count && !found; i++) {
        if (fake->ranges[i].space != space || fake->ranges[i].base != base)
            continue;
        fake->ranges[i] = fake->ranges[--fake->range_count];
        found = true;
    }
    pthread_mutex_unlock(&fake->lock);
    fake_require(found, "removal of a range that is not there");
}

static int fake_memory_map(struct platform *p, uint64_t address, void *memory, uint64_t length,
                           bool writable, struct error *err)
{
    struct fake_platform *fake = fake_of(p);
    int ret = 0;

    fake_require((address | length | (uintptr_t)memory) % 4096 == 0, "memory that is not aligned");
    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->memory_count; i++)
        if (fake->memories[i].address < address + length &&
            address < fake->memories[i].address + fake->memories[i].length)
            ret = error_set(err, EEXIST, "memory is there");
    if (fake->fail_memory_map)
        ret = error_errno(err, fake->fail_memory_map, "told to fail");
    fake_require(fake->memory_count < FAKE_MEMORIES, "too much memory");
    if (!ret)
        fake->memories[fake->memory_count++] =
            (struct fake_memory){address, length, memory, writable};
    pthread_mutex_unlock(&fake->lock);
    return ret;
}

static void fake_memory_unmap(struct platform *p, uint64_t address)
{
    struct fake_platform *fake = fake_of(p);
    bool found = false;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->memory_count && !found; i++) {
        if (fake->memories[i].address != address)
            continue;
        fake->memories[i] = fake->memories[--fake->memory_count];
        found = true;
    }
    pthread_mutex_unlock(&fake->lock);
    fake_require(found, "removal of memory that is not there");
}

static bool ioeventfd_same(const struct fake_ioeventfd *a, const struct fake_ioeventfd *b)
{
    return a->space == b->space && a->address == b->address && a->length == b->length &&
           a->match == b->match;
}

/* Under the lock. */
static void ioeventfd_note(struct fake_platform *fake, int fd)
{
    fake_require(fd >= 0 && fd < FAKE_FDS, "an ioeventfd without a descriptor");
    fake->ioeventfd_fds[fd] = true;
}

static int fake_ioeventfd_add(struct platform *p, enum address_space space, uint64_t address,
                              unsigned length, int64_t match, int fd, struct error *err)
{
    struct fake_platform *fake = fake_of(p);
    const struct fake_ioeventfd item = {space, address, length, match, fd};
    int ret = 0;

    pthread_mutex_lock(&fake->lock);
    fake->counts.ioeventfd_add++;
    ioeventfd_note(fake, fd);
    for (size_t i = 0; i < fake->ioeventfd_count; i++)
        if (ioeventfd_same(&fake->ioeventfds[i], &item))
            ret = error_set(err, EEXIST, "ioeventfd is there already");
    if (fake->fail_ioeventfd_add)
        ret = error_errno(err, fake->fail_ioeventfd_add, "told to fail");
    fake_require(fake->ioeventfd_count < FAKE_IOEVENTFDS, "too many ioeventfds");
    if (!ret)
        fake->ioeventfds[fake->ioeventfd_count++] = item;
    pthread_mutex_unlock(&fake->lock);
    return ret;
}

static void fake_ioeventfd_remove(struct platform *p, enum address_space space, uint64_t address,
                                  unsigned length, int64_t match, int fd)
{
    struct fake_platform *fake = fake_of(p);
    const struct fake_ioeventfd item = {space, address, length, match, fd};
    bool found = false;

    pthread_mutex_lock(&fake->lock);
    fake->counts.ioeventfd_remove++;
    ioeventfd_note(fake, fd);
    for (size_t i = 0; i < fake->ioeventfd_count && !found; i++) {
        if (!ioeventfd_same(&fake->ioeventfds[i], &item) || fake->ioeventfds[i].fd != fd)
            continue;
        fake->ioeventfds[i] = fake->ioeventfds[--fake->ioeventfd_count];
        found = true;
    }
    pthread_mutex_unlock(&fake->lock);
    fake_require(found, "removal of an ioeventfd that is not there");
}

/* Wake fake_wait_interrupt. */
static void fake_event(struct fake_platform *fake)
{
    (void)eventfd_write(fake->event_fd, 1);
}

static void fake_line_set(struct platform *p, uint32_t gsi, bool level)
{
    struct fake_platform *fake = fake_of(p);

    fake_require(gsi < FAKE_GSIS, "no such interrupt line");
    pthread_mutex_lock(&fake->lock);
    fake->counts.line_set++;
    fake->levels[gsi] = level;
    pthread_mutex_unlock(&fake->lock);
    if (level)
        fake_event(fake);
}

static int fake_irqfd_add(struct platform *p, uint32_t gsi, int fd, struct error *err)
{
    struct fake_platform *fake = fake_of(p);
    int ret = 0;

    pthread_mutex_lock(&fake->lock);
    fake->counts.irqfd_add++;
    fake_require(fake->irqfd_count < FAKE_IRQFDS && gsi < FAKE_GSIS, "too many irqfds");
    if (fake->fail_irqfd_add)
        ret = error_errno(err, fake->fail_irqfd_add, "told to fail");
    else
        fake->irqfds[fake->irqfd_count++] = (struct fake_irqfd){gsi, fd};
    pthread_mutex_unlock(&fake->lock);
    return ret;
}

static void fake_irqfd_remove(struct platform *p, uint32_t gsi, int fd)
{
    struct fake_platform *fake = fake_of(p);
    bool found = false;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->irqfd_count && !found; i++) {
        if (fake->irqfds[i].gsi != gsi || fake->irqfds[i].fd != fd)
            continue;
        fake->irqfds[i] = fake->irqfds[--fake->irqfd_count];
        found = true;
    }
    pthread_mutex_unlock(&fake->lock);
    fake_require(found, "removal of an irqfd that is not there");
}

static int fake_msi_send(struct platform *p, const struct msi_message *message)
{
    struct fake_platform *fake = fake_of(p);

    pthread_mutex_lock(&fake->lock);
    fake->counts.msi_send++;
    fake->msis[fake->msi_tail++ % FAKE_MSIS] = *message;
    if (fake->msi_tail - fake->msi_head > FAKE_MSIS)
        fake->msi_head = fake->msi_tail - FAKE_MSIS;
    pthread_mutex_unlock(&fake->lock);
    fake_event(fake);
    return 0;
}

static int fake_msi_irqfd_add(struct platform *p, const struct msi_message *message, int fd,
                              struct error *err)
{
    struct fake_platform *fake = fake_of(p);
    int ret = 0;

    pthread_mutex_lock(&fake->lock);
    fake->counts.msi_irqfd_add++;
    fake_require(fake->msi_irqfd_count < FAKE_IRQFDS, "too many eventfds for messages");
    for (size_t i = 0; i < fake->msi_irqfd_count; i++)
        fake_require(fake->msi_irqfds[i].fd != fd, "an eventfd for two messages");
    if (fake->fail_irqfd_add)
        ret = error_errno(err, fake->fail_irqfd_add, "told to fail");
    else
        fake->msi_irqfds[fake->msi_irqfd_count++] = (struct fake_msi_irqfd){*message, fd};
    pthread_mutex_unlock(&fake->lock);
    return ret;
}

static void fake_msi_irqfd_remove(struct platform *p, int fd)
{
    struct fake_platform *fake = fake_of(p);
    bool found = false;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->msi_irqfd_count && !found; i++) {
        if (fake->msi_irqfds[i].fd != fd)
            continue;
        fake->msi_irqfds[i] = fake->msi_irqfds[--fake->msi_irqfd_count];
        found = true;
    }
    pthread_mutex_unlock(&fake->lock);
    fake_require(found, "removal of an eventfd that no message is sent for");
}

static const struct platform_ops fake_ops = {
    .range_add = fake_range_add,
    .range_remove = fake_range_remove,
    .memory_map = fake_memory_map,
    .memory_unmap = fake_memory_unmap,
    .ioeventfd_add = fake_ioeventfd_add,
    .ioeventfd_remove = fake_ioeventfd_remove,
    .line_set = fake_line_set,
    .line_irqfd_add = fake_irqfd_add,
    .line_irqfd_remove = fake_irqfd_remove,
    .msi_send = fake_msi_send,
    .msi_irqfd_add = fake_msi_irqfd_add,
    .msi_irqfd_remove = fake_msi_irqfd_remove,
};

void fake_platform_init(struct fake_platform *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->platform.ops = &fake_ops;
    pthread_mutex_init(&fake->lock, NULL);
    fake->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fake_require(fake->event_fd >= 0, "no eventfd");
}

void fake_platform_destroy(struct fake_platform *fake)
{
    fake_require(!fake->range_count, "a range was left behind");
    fake_require(!fake->memory_count, "memory was left behind");
    fake_require(!fake->ioeventfd_count, "an ioeventfd was left behind");
    fake_require(!fake->irqfd_count, "an irqfd was left behind");
    fake_require(!fake->msi_irqfd_count, "an eventfd was left behind");
    close(fake->event_fd);
    pthread_mutex_destroy(&fake->lock);
}

static bool find_range(struct fake_platform *fake, enum address_space space, uint64_t address,
                       unsigned size, struct address_range *out)
{
    bool found = false;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->range_count && !found; i++) {
        const struct address_range *range = &fake->ranges[i];
        found = range->space == space && address >= range->base &&
                address - range->base < range->size &&
                size <= range->size - (address - range->base);
        if (found)
            *out = *range;
    }
    pthread_mutex_unlock(&fake->lock);
    return found;
}

uint8_t *fake_memory_at(struct fake_platform *fake, uint64_t address, unsigned size, bool write)
{
    uint8_t *memory = NULL;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->memory_count; i++) {
        const struct fake_memory *item = &fake->memories[i];

        if (address >= item->address && address - item->address < item->length &&
            size <= item->length - (address - item->address) && (item->writable || !write))
            memory = item->memory + (address - item->address);
    }
    pthread_mutex_unlock(&fake->lock);
    return memory;
}

uint64_t fake_read(struct fake_platform *fake, enum address_space space, uint64_t address,
                   unsigned size)
{
    const uint8_t *memory =
        space == ADDRESS_MMIO ? fake_memory_at(fake, address, size, false) : NULL;
    struct address_range range;
    uint8_t data[8];

    if (memory)
        return load_le(memory, size);
    memset(data, 0xff, sizeof(data));
    if (find_range(fake, space, address, size, &range))
        range.read(range.opaque, address - range.base, data, size);
    return load_le(data, size);
}

/* As virt/kvm/eventfd.c, ioeventfd_in_range. */
static bool ioeventfd_matches(const struct fake_ioeventfd *item, enum address_space space,
                              uint64_t address, unsigned size, uint64_t value)
{
    return item->space == space && item->address == address &&
           (!item->length ||
            (item->length == size && (item->match == -1 || (uint64_t)item->match == value)));
}

void fake_write(struct fake_platform *fake, enum address_space space, uint64_t address,
                unsigned size, uint64_t value)
{
    uint8_t *memory = space == ADDRESS_MMIO ? fake_memory_at(fake, address, size, true) : NULL;
    struct address_range range;
    uint8_t data[8];
    int fd = -1;

    if (memory) {
        store_le(memory, size, value);
        return;
    }

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->ioeventfd_count; i++)
        if (ioeventfd_matches(&fake->ioeventfds[i], space, address, size, value))
            fd = fake->ioeventfds[i].fd;
    pthread_mutex_unlock(&fake->lock);
    if (fd >= 0) {
        (void)eventfd_write(fd, 1);
        return;
    }
    store_le(data, size, value);
    if (find_range(fake, space, address, size, &range))
        range.write(range.opaque, address - range.base, data, size);
}

bool fake_decodes(struct fake_platform *fake, enum address_space space, uint64_t address)
{
    struct address_range range;

    return find_range(fake, space, address, 1, &range);
}

bool fake_level(struct fake_platform *fake, uint32_t gsi)
{
    bool level;

    pthread_mutex_lock(&fake->lock);
    level = fake->levels[gsi];
    pthread_mutex_unlock(&fake->lock);
    return level;
}

static bool fd_readable(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, 0) == 1;
}

uint64_t fake_take_edges(struct fake_platform *fake, uint32_t gsi)
{
    uint64_t edges = 0;
    eventfd_t count;

    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->irqfd_count; i++)
        if (fake->irqfds[i].gsi == gsi && fd_readable(fake->irqfds[i].fd) &&
            eventfd_read(fake->irqfds[i].fd, &count) == 0)
            edges += count;
    pthread_mutex_unlock(&fake->lock);
    return edges;
}

/* Under the lock: as KVM would have done at the moment of the signal. */
static void take_message_signals(struct fake_platform *fake)
{
    eventfd_t count;

    for (size_t i = 0; i < fake->msi_irqfd_count; i++)
        if (fd_readable(fake->msi_irqfds[i].fd) &&
            eventfd_read(fake->msi_irqfds[i].fd, &count) == 0)
            fake->msis[fake->msi_tail++ % FAKE_MSIS] = fake->msi_irqfds[i].message;
}

bool fake_take_msi(struct fake_platform *fake, struct msi_message *out)
{
    bool found;

    pthread_mutex_lock(&fake->lock);
    take_message_signals(fake);
    found = fake->msi_head != fake->msi_tail;
    if (found)
        *out = fake->msis[fake->msi_head++ % FAKE_MSIS];
    pthread_mutex_unlock(&fake->lock);
    return found;
}

/* Under the lock. */
static bool interrupt_waits(struct fake_platform *fake)
{
    for (size_t i = 0; i < FAKE_GSIS; i++)
        if (fake->levels[i])
            return true;
    return fake->msi_head != fake->msi_tail;
}

bool fake_wait_interrupt(struct fake_platform *fake, int timeout_ms)
{
    struct pollfd pollers[FAKE_IRQFDS + 1];
    eventfd_t ignored;
    nfds_t count = 0;
    bool waits;

    pthread_mutex_lock(&fake->lock);
    (void)eventfd_read(fake->event_fd, &ignored);
    waits = interrupt_waits(fake);
    pollers[count++] = (struct pollfd){.fd = fake->event_fd, .events = POLLIN};
    for (size_t i = 0; i < fake->irqfd_count; i++)
        pollers[count++] = (struct pollfd){.fd = fake->irqfds[i].fd, .events = POLLIN};
    pthread_mutex_unlock(&fake->lock);
    return waits || poll(pollers, count, timeout_ms) > 0;
}
