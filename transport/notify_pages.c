#include "transport/notify_pages.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int notify_pages_init(struct notify_pages *pages, struct platform *platform,
                      const struct virtio_device *dev, struct error *err)
{
    *pages = (struct notify_pages){.platform = platform, .dev = dev};
    pages->pages = calloc(dev->queue_count + 1u, sizeof(*pages->pages));
    if (!pages->pages)
        return error_set(err, ENOMEM, "no memory for the queues of %s", dev->name);
    pthread_mutex_init(&pages->lock, NULL);
    return 0;
}

void notify_pages_destroy(struct notify_pages *pages)
{
    notify_pages_unplace(pages);
    pthread_mutex_destroy(&pages->lock);
    free(pages->pages);
}

/* --- place; under the lock -------------------------------------------------------------------- */

static uint64_t address_of(const struct notify_pages *pages, uint16_t index)
{
    return pages->address + (uint64_t)NOTIFY_PAGE * index;
}

static int show(struct notify_pages *pages, uint16_t index, struct error *err)
{
    struct notify_page *page = &pages->pages[index];
    struct platform *platform = pages->platform;
    int ret = platform->ops->memory_map(platform, address_of(pages, index), page->memory,
                                        NOTIFY_PAGE, true, err);

    page->guest = !ret;
    return ret;
}

static void hide(struct notify_pages *pages, uint16_t index)
{
    struct notify_page *page = &pages->pages[index];

    if (page->guest)
        pages->platform->ops->memory_unmap(pages->platform, address_of(pages, index));
    page->guest = false;
}

void notify_pages_place(struct notify_pages *pages, uint64_t address)
{
    struct error err = ERROR_INIT;

    pthread_mutex_lock(&pages->lock);
    pages->placed = true;
    pages->address = address;
    for (uint16_t i = 0; i < pages->dev->queue_count; i++)
        if (pages->pages[i].memory && show(pages, i, &err))
            log_limited(LOG_WARN, "virtio", "%s: notifications of queue %u are slow: %s",
                        pages->dev->name, i, err.text);
    pthread_mutex_unlock(&pages->lock);
}

void notify_pages_unplace(struct notify_pages *pages)
{
    pthread_mutex_lock(&pages->lock);
    for (uint16_t i = 0; i < pages->dev->queue_count; i++)
        hide(pages, i);
    pages->placed = false;
    pthread_mutex_unlock(&pages->lock);
}

/* --- pages ------------------------------------------------------------------------------------ */

int notify_pages_set(struct notify_pages *pages, uint16_t index, void *memory, struct error *err)
{
    int ret = 0;

    if (index >= pages->dev->queue_count || (uintptr_t)memory % NOTIFY_PAGE)
        return error_set(err, EINVAL, "no page for notifications of queue %u", index);
    pthread_mutex_lock(&pages->lock);
    hide(pages, index);
    pages->pages[index].memory = memory;
    if (memory && pages->placed)
        ret = show(pages, index, err);
    if (ret)
        pages->pages[index].memory = NULL;
    pthread_mutex_unlock(&pages->lock);
    return ret;
}

/* In one piece, as the guest's own write would be: hardware may be behind it. */
static void store(void *memory, const void *data, unsigned size)
{
    uint16_t half;
    uint32_t word;

    if (size == sizeof(half)) {
        memcpy(&half, data, sizeof(half));
        *(volatile uint16_t *)memory = half;
    } else if (size == sizeof(word)) {
        memcpy(&word, data, sizeof(word));
        *(volatile uint32_t *)memory = word;
    }
}

bool notify_pages_write(struct notify_pages *pages, uint16_t index, const void *data, unsigned size)
{
    void *memory;

    pthread_mutex_lock(&pages->lock);
    memory = pages->pages[index].memory;
    if (memory)
        store(memory, data, size);
    pthread_mutex_unlock(&pages->lock);
    return memory;
}
