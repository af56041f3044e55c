/*
 * A platform (base/platform.h) without a virtual machine: the test plays the vCPU.
 *
 * fake_read and fake_write dispatch to the address ranges the code under test registered, after
 * matching ioeventfds as KVM does; interrupts are recorded until the test takes them. Any thread;
 * handlers run without the platform's lock.
 */
#ifndef TESTS_DRIVER_FAKE_PLATFORM_H
#define TESTS_DRIVER_FAKE_PLATFORM_H

#include "base/platform.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_RANGES     64
#define FAKE_MEMORIES   64
#define FAKE_IOEVENTFDS 256
#define FAKE_IRQFDS     64
#define FAKE_GSIS       64
#define FAKE_MSIS       1024
#define FAKE_FDS        1024

struct fake_ioeventfd {
    enum address_space space;
    uint64_t address;
    unsigned length;
    int64_t match;
    int fd;
};

struct fake_memory {
    uint64_t address, length;
    uint8_t *memory;
    bool writable;
};

struct fake_irqfd {
    uint32_t gsi;
    int fd;
};

struct fake_msi_irqfd {
    struct msi_message message;
    int fd;
};

/* How often each service was asked for: what would be system calls in a virtual machine. */
struct fake_counts {
    unsigned ioeventfd_add, ioeventfd_remove, line_set, irqfd_add, msi_send, msi_irqfd_add;
};

struct fake_platform {
    struct platform platform; /* what the code under test gets */
    pthread_mutex_t lock;
    size_t range_count, memory_count, ioeventfd_count, irqfd_count, msi_irqfd_count;
    struct address_range ranges[FAKE_RANGES];
    struct fake_memory memories[FAKE_MEMORIES];
    struct fake_ioeventfd ioeventfds[FAKE_IOEVENTFDS];
    struct fake_irqfd irqfds[FAKE_IRQFDS];
    struct fake_msi_irqfd msi_irqfds[FAKE_IRQFDS];
    bool levels[FAKE_GSIS];
    uint64_t msi_head, msi_tail; /* free-running: taken, sent */
    struct msi_message msis[FAKE_MSIS];
    int event_fd; /* readable when a line rose or a message was sent */
    struct fake_counts counts;
    bool ioeventfd_fds[FAKE_FDS]; /* which descriptors were ever given, or taken away again */

    /* Errors to give out instead of success; 0: none. */
    int fail_range_add, fail_memory_map, fail_ioeventfd_add, fail_irqfd_add;
};

void fake_platform_init(struct fake_platform *fake);

/* Everything must have been unregistered: checked, the test fails otherwise. */
void fake_platform_destroy(struct fake_platform *fake);

/* A guest's access. What no range handles reads as all ones and writes nothing. */
uint64_t fake_read(struct fake_platform *fake, enum address_space space, uint64_t address,
                   unsigned size);
void fake_write(struct fake_platform *fake, enum address_space space, uint64_t address,
                unsigned size, uint64_t value);

/* What a guest's access would reach without a handler; NULL: it is trapped. */
uint8_t *fake_memory_at(struct fake_platform *fake, uint64_t address, unsigned size, bool write);

/* Some range contains the address. */
bool fake_decodes(struct fake_platform *fake, enum address_space space, uint64_t address);

bool fake_level(struct fake_platform *fake, uint32_t gsi);

/* Edges that irqfds gave the line since the last call. */
uint64_t fake_take_edges(struct fake_platform *fake, uint32_t gsi);

/* The oldest message not taken yet; false when there is none. */
bool fake_take_msi(struct fake_platform *fake, struct msi_message *out);

/* Wait until an edge, a high line or a message waits to be taken; false after `timeout_ms`. */
bool fake_wait_interrupt(struct fake_platform *fake, int timeout_ms);

#endif
