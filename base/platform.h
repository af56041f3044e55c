/*
 * What a device may ask of the machine it is in: address ranges, memory, doorbells and interrupts.
 *
 * kvm/ provides these services in a virtual machine, tests/driver/ a fake one in tests. A transport
 * or a platform device includes this and never knows which. All functions may be called on any
 * thread unless said otherwise; errors are negative errnos with the reason in `err`.
 */
#ifndef BASE_PLATFORM_H
#define BASE_PLATFORM_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum address_space { ADDRESS_MMIO, ADDRESS_PIO };

/*
 * A range of guest addresses whose accesses reach `read` and `write`, on the vCPU thread that made
 * the access, several at once on different vCPUs. `offset` is relative to base, `size` is 1, 2, 4
 * or 8 bytes, `data` little-endian.
 */
struct address_range {
    enum address_space space;
    uint64_t base, size;
    const char *name;
    void (*read)(void *opaque, uint64_t offset, void *data, unsigned size);
    void (*write)(void *opaque, uint64_t offset, const void *data, unsigned size);
    void *opaque;
};

struct msi_message {
    uint64_t address;
    uint32_t data;
    uint32_t device_id; /* requester id, where the interrupt controller wants one (GICv3 ITS) */
};

struct platform;

struct platform_ops {
    /* The range is copied. -EEXIST when it overlaps another one. Removing waits for accesses that
     * are under way, unless made by the calling thread itself (a BAR moved by its own device). */
    int (*range_add)(struct platform *p, const struct address_range *range, struct error *err);
    void (*range_remove)(struct platform *p, enum address_space space, uint64_t base);

    /* Make `length` bytes at `memory` memory of the guest at `address`, where a range of the
     * caller's is: accesses no longer reach it there, but for writes unless `writable`. All three
     * are multiples of 4096. The memory is the caller's until it is unmapped, and no RAM: a dirty
     * log leaves it out. -EEXIST over other memory, -ENOSPC for more than the machine has slots
     * for, -errno. */
    int (*memory_map)(struct platform *p, uint64_t address, void *memory, uint64_t length,
                      bool writable, struct error *err);

    /* Undo what was mapped at `address`; no vCPU can reach that memory any more when it returns. */
    void (*memory_unmap)(struct platform *p, uint64_t address);

    /* A write of `length` bytes (0: any) at `address` [equal to `match`, unless match is -1]
     * signals eventfd `fd` and does not reach the range's handler. */
    int (*ioeventfd_add)(struct platform *p, enum address_space space, uint64_t address,
                         unsigned length, int64_t match, int fd, struct error *err);
    void (*ioeventfd_remove)(struct platform *p, enum address_space space, uint64_t address,
                             unsigned length, int64_t match, int fd);

    /* Set the level of an interrupt line (a GSI). Who shares a line must combine levels itself. */
    void (*line_set)(struct platform *p, uint32_t gsi, bool level);

    /* Each signal of eventfd `fd` is an edge on line `gsi`. */
    int (*line_irqfd_add)(struct platform *p, uint32_t gsi, int fd, struct error *err);
    void (*line_irqfd_remove)(struct platform *p, uint32_t gsi, int fd);

    /* Send a message-signalled interrupt now: one system call, nothing to set up beforehand. */
    int (*msi_send)(struct platform *p, const struct msi_message *message);

    /* Each signal of eventfd `fd` sends `message`, also if it was signalled before. Dear: only for
     * eventfds that others than this program signal. After removal no message follows. All are
     * removed before the machine is reset. */
    int (*msi_irqfd_add)(struct platform *p, const struct msi_message *message, int fd,
                         struct error *err);
    void (*msi_irqfd_remove)(struct platform *p, int fd);
};

struct platform {
    const struct platform_ops *ops;
};

#endif
