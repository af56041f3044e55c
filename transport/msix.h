/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages in a BAR, each with a mask, and a bit array
 * of messages that are pending because they were masked.
 *
 * Nothing is set up in the kernel when a guest fills the table: a message is sent at the moment it
 * is due. Only for eventfds that others signal (virtio/call.h) the kernel is told which message
 * they mean, while their vector is not masked. `lock` is a leaf and held while a message is sent,
 * so that when a guest's masking write has returned, no message of that vector follows.
 */
#ifndef TRANSPORT_MSIX_H
#define TRANSPORT_MSIX_H

#include "base/error.h"
#include "base/platform.h"
#include "transport/pci_function.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MSIX_VECTORS_MAX 2048
#define MSIX_ENTRY_SIZE  16

/* An eventfd whose signals are messages of a vector. */
struct msix_call {
    const atomic_uint *vector; /* the owner's register; see msix_call_refresh */
    int fd;                    /* -1: none */
    bool routed;               /* the kernel sends `message` for it */
    struct msi_message message;
};

struct msix {
    struct platform *platform;
    struct pci_function *function; /* whose capability this is */
    unsigned capability;           /* its offset */
    uint16_t count;

    atomic_bool enabled; /* Message Control bit 15; written under `lock` */
    pthread_mutex_t lock;
    bool masked;       /* Message Control bit 14 */
    uint8_t *table;    /* count entries as the guest sees them */
    uint64_t *pending; /* the PBA, in host byte order */
    struct msix_call *calls;
    size_t call_count;
};

/* Bytes of BAR the table and the pending bits take, each rounded up to a page. */
uint32_t msix_table_size(uint16_t count);
uint32_t msix_pba_size(uint16_t count);

/* `count` vectors, up to MSIX_VECTORS_MAX, all masked. Adds the capability to `function`, with
 * table and pending bits at those offsets of BAR `bar`. Without vectors there is no capability, and
 * MSI-X is never enabled. */
int msix_init(struct msix *msix, struct platform *platform, struct pci_function *function,
              uint16_t count, unsigned bar, uint32_t table_offset, uint32_t pba_offset,
              struct error *err);
void msix_destroy(struct msix *msix);

/* Guest accesses, relative to the table and to the pending bits. Of 4 or 8 bytes, aligned (6.8.2);
 * others read as 0 and write nothing. Any vCPU. */
void msix_table_read(struct msix *msix, uint64_t offset, void *data, unsigned size);
void msix_table_write(struct msix *msix, uint64_t offset, const void *data, unsigned size);
void msix_pba_read(struct msix *msix, uint64_t offset, void *data, unsigned size);

/* The owner's config_written: bring enable and function mask up to date. True when `enabled`
 * changed. */
bool msix_config_written(struct msix *msix);

static inline bool msix_enabled(struct msix *msix)
{
    return atomic_load_explicit(&msix->enabled, memory_order_acquire);
}

/* Send the message of `vector`, or mark it pending while it is masked. Nothing happens while MSI-X
 * is off or for a vector that does not exist. Any thread. */
void msix_notify(struct msix *msix, uint16_t vector);

/* Eventfds the function may get: `calls` is the owner's, and lives until msix_destroy. */
void msix_attach_calls(struct msix *msix, struct msix_call *calls, size_t count);

/* Signals of eventfd `fd` are from now on messages of the call's vector, whenever the kernel can
 * send them; -1: no longer, and nothing is left of the one before. Any thread. */
void msix_call_set(struct msix *msix, struct msix_call *call, int fd);

/* The call's vector may have changed. Any thread. */
void msix_call_refresh(struct msix *msix, struct msix_call *call);

/* Drop what is pending (the device was reset). */
void msix_clear_pending(struct msix *msix);

/* As at power-on; the capability's bits are pci_function_reset's. */
void msix_reset(struct msix *msix);

#endif
