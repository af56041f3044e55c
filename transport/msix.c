#include "transport/msix.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>

#define PAGE UINT64_C(4096)

uint32_t msix_table_size(uint16_t count)
{
    return (uint32_t)align_up((uint64_t)count * MSIX_ENTRY_SIZE, PAGE);
}

uint32_t msix_pba_size(uint16_t count)
{
    return (uint32_t)align_up(align_up(count, 64) / 8, PAGE);
}

static size_t pending_words(const struct msix *msix)
{
    return align_up(msix->count, 64) / 64;
}

static uint8_t *entry_of(struct msix *msix, uint16_t vector)
{
    return msix->table + (size_t)vector * MSIX_ENTRY_SIZE;
}

/* 6.8.2.9: vectors are masked after reset. */
static void msix_clear_table(struct msix *msix)
{
    memset(msix->table, 0, (size_t)msix->count * MSIX_ENTRY_SIZE);
    for (uint16_t i = 0; i < msix->count; i++)
        store_le32(entry_of(msix, i) + PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
    memset(msix->pending, 0, pending_words(msix) * sizeof(*msix->pending));
}

int msix_init(struct msix *msix, struct platform *platform, struct pci_function *function,
              uint16_t count, unsigned bar, uint32_t table_offset, uint32_t pba_offset,
              struct error *err)
{
    uint8_t *cap;

    memset(msix, 0, sizeof(*msix));
    msix->platform = platform;
    msix->function = function;
    msix->count = count;
    msix->table = malloc(((size_t)count + 1) * MSIX_ENTRY_SIZE);
    msix->pending = malloc((pending_words(msix) + 1) * sizeof(*msix->pending));
    if (!msix->table || !msix->pending) {
        free(msix->table);
        free(msix->pending);
        return error_set(err, ENOMEM, "no memory for %u MSI-X vectors", count);
    }
    pthread_mutex_init(&msix->lock, NULL);
    msix_clear_table(msix);
    if (!count)
        return 0;

    msix->capability = pci_function_add_capability(function, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
    cap = &function->config[msix->capability];
    store_le16(cap + PCI_MSIX_FLAGS, count - 1);
    store_le32(cap + PCI_MSIX_TABLE, table_offset | bar);
    store_le32(cap + PCI_MSIX_PBA, pba_offset | bar);
    pci_function_set_writable(function, msix->capability + PCI_MSIX_FLAGS, 2,
                              PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    return 0;
}

void msix_destroy(struct msix *msix)
{
    pthread_mutex_destroy(&msix->lock);
    free(msix->table);
    free(msix->pending);
}

/* Under the lock. */
static bool vector_masked(struct msix *msix, uint16_t vector)
{
    return msix->masked || load_le32(entry_of(msix, vector) + PCI_MSIX_ENTRY_VECTOR_CTRL) &
                               PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

/* Under the lock. */
static struct msi_message vector_message(struct msix *msix, uint16_t vector)
{
    const uint8_t *entry = entry_of(msix, vector);

    return (struct msi_message){
        .address = load_le64(entry + PCI_MSIX_ENTRY_LOWER_ADDR),
        .data = load_le32(entry + PCI_MSIX_ENTRY_DATA),
        .device_id = msix->function->slot << 3, /* requester id: bus 0, slot, function 0 */
    };
}

/* Under the lock. */
static void vector_send(struct msix *msix, uint16_t vector)
{
    const struct msi_message message = vector_message(msix, vector);
    int ret = msix->platform->ops->msi_send(msix->platform, &message);

    if (ret < 0)
        log_limited(LOG_WARN, "msix", "slot %u: message of vector %u was refused: %s",
                    msix->function->slot, vector, strerror(-ret));
}

/* Under the lock: a vector was unmasked, perhaps. */
static void vector_deliver(struct msix *msix, uint16_t vector)
{
    uint64_t *word = &msix->pending[vector / 64];

    if (!msix_enabled(msix) || !(*word & BIT(vector % 64)) || vector_masked(msix, vector))
        return;
    *word &= ~BIT(vector % 64);
    vector_send(msix, vector);
}

/* --- eventfds of others ---------------------------------------------------------------------- */

/* Under the lock. */
static void call_unroute(struct msix *msix, struct msix_call *call)
{
    if (call->routed)
        msix->platform->ops->msi_irqfd_remove(msix->platform, call->fd);
    call->routed = false;
}

/* Under the lock: whether the kernel sends the call's messages, and which, follows from the
 * registers. While it does not, its owner hears the signals and calls msix_notify. */
static void call_update(struct msix *msix, struct msix_call *call)
{
    unsigned vector = atomic_load(call->vector);
    bool wanted = call->fd >= 0 && msix_enabled(msix) && vector < msix->count &&
                  !vector_masked(msix, (uint16_t)vector);
    struct msi_message message = {0};
    struct error err = ERROR_INIT;

    if (wanted)
        message = vector_message(msix, (uint16_t)vector);
    if (call->routed && (!wanted || memcmp(&message, &call->message, sizeof(message)) != 0))
        call_unroute(msix, call);
    if (!wanted || call->routed)
        return;
    call->message = message;
    if (msix->platform->ops->msi_irqfd_add(msix->platform, &message, call->fd, &err))
        log_limited(LOG_WARN, "msix", "slot %u: %s", msix->function->slot, err.text);
    else
        call->routed = true;
}

static void calls_update(struct msix *msix)
{
    for (size_t i = 0; i < msix->call_count; i++)
        call_update(msix, &msix->calls[i]);
}

void msix_attach_calls(struct msix *msix, struct msix_call *calls, size_t count)
{
    msix->calls = calls;
    msix->call_count = count;
}

void msix_call_set(struct msix *msix, struct msix_call *call, int fd)
{
    pthread_mutex_lock(&msix->lock);
    call_unroute(msix, call);
    call->fd = fd;
    call_update(msix, call);
    pthread_mutex_unlock(&msix->lock);
}

void msix_call_refresh(struct msix *msix, struct msix_call *call)
{
    pthread_mutex_lock(&msix->lock);
    call_update(msix, call);
    pthread_mutex_unlock(&msix->lock);
}

/* --- registers ------------------------------------------------------------------------------- */

static bool access_valid(uint64_t offset, unsigned size, uint64_t length)
{
    return (size == 4 || size == 8) && offset % size == 0 && offset < length &&
           length - offset >= size;
}

void msix_table_read(struct msix *msix, uint64_t offset, void *data, unsigned size)
{
    memset(data, 0, size);
    if (!access_valid(offset, size, (uint64_t)msix->count * MSIX_ENTRY_SIZE))
        return;
    pthread_mutex_lock(&msix->lock);
    memcpy(data, msix->table + offset, size);
    pthread_mutex_unlock(&msix->lock);
}

void msix_table_write(struct msix *msix, uint64_t offset, const void *data, unsigned size)
{
    if (!access_valid(offset, size, (uint64_t)msix->count * MSIX_ENTRY_SIZE))
        return;
    pthread_mutex_lock(&msix->lock);
    for (unsigned i = 0; i < size; i += 4) {
        uint32_t value = load_le32((const uint8_t *)data + i);
        if ((offset + i) % MSIX_ENTRY_SIZE == PCI_MSIX_ENTRY_VECTOR_CTRL)
            value &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
        store_le32(msix->table + offset + i, value);
    }
    vector_deliver(msix, (uint16_t)(offset / MSIX_ENTRY_SIZE));
    calls_update(msix);
    pthread_mutex_unlock(&msix->lock);
}

void msix_pba_read(struct msix *msix, uint64_t offset, void *data, unsigned size)
{
    uint64_t word;

    memset(data, 0, size);
    if (!access_valid(offset, size, pending_words(msix) * sizeof(*msix->pending)))
        return;
    pthread_mutex_lock(&msix->lock);
    word = msix->pending[offset / 8];
    pthread_mutex_unlock(&msix->lock);
    store_le(data, size, word >> (offset % 8 * 8));
}

bool msix_config_written(struct msix *msix)
{
    uint16_t control = load_le16(&msix->function->config[msix->capability + PCI_MSIX_FLAGS]);
    bool enabled = control & PCI_MSIX_FLAGS_ENABLE;
    bool masked = control & PCI_MSIX_FLAGS_MASKALL;
    bool was_enabled;

    if (!msix->count)
        return false;
    pthread_mutex_lock(&msix->lock);
    was_enabled = msix_enabled(msix);
    if (enabled != was_enabled || masked != msix->masked) {
        msix->masked = masked;
        atomic_store_explicit(&msix->enabled, enabled, memory_order_release);
        for (uint16_t i = 0; enabled && !masked && i < msix->count; i++)
            vector_deliver(msix, i);
        calls_update(msix);
    }
    pthread_mutex_unlock(&msix->lock);
    return enabled != was_enabled;
}

void msix_notify(struct msix *msix, uint16_t vector)
{
    if (vector >= msix->count)
        return;
    pthread_mutex_lock(&msix->lock);
    if (!msix_enabled(msix))
        ; /* switched off since the caller looked */
    else if (vector_masked(msix, vector))
        msix->pending[vector / 64] |= BIT(vector % 64);
    else
        vector_send(msix, vector);
    pthread_mutex_unlock(&msix->lock);
}

void msix_clear_pending(struct msix *msix)
{
    pthread_mutex_lock(&msix->lock);
    memset(msix->pending, 0, pending_words(msix) * sizeof(*msix->pending));
    pthread_mutex_unlock(&msix->lock);
}

void msix_reset(struct msix *msix)
{
    pthread_mutex_lock(&msix->lock);
    atomic_store_explicit(&msix->enabled, false, memory_order_release);
    msix->masked = false;
    msix_clear_table(msix);
    calls_update(msix);
    pthread_mutex_unlock(&msix->lock);
}
