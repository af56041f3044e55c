/*
 * A kernel's vhost, played (struct vhost_system of virtio/vhost_fd.h): devices that remember what
 * they were told, and refuse what a test wants refused.
 *
 * There is one such kernel at a time. All requests come from the thread under test.
 */
#ifndef TESTS_DRIVER_FAKE_VHOST_H
#define TESTS_DRIVER_FAKE_VHOST_H

#include "virtio/vhost_fd.h"

#define FAKE_VHOST_DEVICES  4
#define FAKE_VHOST_VRINGS   4
#define FAKE_VHOST_REGIONS  8
#define FAKE_VHOST_MESSAGES 16

struct fake_vring {
    unsigned num, base, busy_poll;
    struct vhost_vring_addr address;
    int kick, call, error; /* -1: none */
    int backend;           /* VHOST_NET_SET_BACKEND; -1: not served */
    unsigned worker;       /* attached; 0: the device's own */
};

struct fake_vhost_device {
    int fd, far_end; /* -1: not open; what is written to the far end can be read from fd */
    bool owned;
    uint64_t features, backend_features; /* agreed */
    uint64_t log_base;
    unsigned region_count;
    struct vhost_memory_region regions[FAKE_VHOST_REGIONS];
    struct fake_vring vrings[FAKE_VHOST_VRINGS];
    unsigned message_count; /* to its IOTLB */
    struct vhost_msg_v2 messages[FAKE_VHOST_MESSAGES];
};

struct fake_vhost {
    /* What it offers. */
    uint64_t features, backend_features;
    unsigned vrings; /* of each device */
    bool has_workers;

    /* What it refuses, with which errno: opening, or a request. */
    int open_error, refused_error;
    unsigned long refused;

    unsigned worker_count; /* asked for so far */
    unsigned device_count; /* opened so far */
    struct fake_vhost_device devices[FAKE_VHOST_DEVICES];
};

extern struct fake_vhost fake_vhost;
extern const struct vhost_system fake_vhost_system;

/* A fresh one, with these features; what was open is closed by who opened it. */
void fake_vhost_init(uint64_t features, uint64_t backend_features);

/* Close the far ends. */
void fake_vhost_end(void);

/* The device asks for an address that is not mapped. */
void fake_vhost_miss(struct fake_vhost_device *device, uint64_t address);

#endif
