/*
 * The kernel's side of /dev/vhost-vdpa-N, played for tests: a device without data, of which the
 * test says what it is, and a list of what it was asked.
 *
 * There is one at a time, as the table of system calls knows no other. Every request that changes
 * something leaves a word or more in `log`, in the order they came:
 *
 *   owner                        status HEX                    features HEX
 *   config-call                  config OFFSET+LENGTH          asid GROUP SPACE
 *   begin map ADDRESS+SIZE unmap ADDRESS+SIZE end              (IOTLB, hexadecimal)
 *   num I N  base I N  place I   call I on|off  kick I         enable I ON  base? I
 *   suspend                      resume
 */
#ifndef TESTS_DRIVER_FAKE_VDPA_H
#define TESTS_DRIVER_FAKE_VDPA_H

#include "virtio/vhost_fd.h"

#include <linux/vhost.h>
#include <stdatomic.h>

#define FAKE_VDPA_QUEUES 4
#define FAKE_VDPA_CONFIG 64

struct fake_vdpa {
    /* What it is. Set before it is opened. */
    int open_error; /* errno of open, 0: none */
    uint32_t type, queue_count, group_count, address_spaces, config_size;
    uint16_t queue_size_max;
    uint16_t queue_sizes[FAKE_VDPA_QUEUES]; /* 0: this request is unknown, as before Linux 6.10 */
    uint64_t features, backend_features;
    struct vhost_vdpa_iova_range range;
    uint8_t config[FAKE_VDPA_CONFIG];
    uint8_t refuses; /* status bits that stay clear */

    /* How it goes on. */
    unsigned long fails; /* this request fails with EIO, 0: none */
    atomic_uint status;
    uint32_t positions[FAKE_VDPA_QUEUES]; /* as VHOST_GET_VRING_BASE has them */
    struct vhost_vring_addr places[FAKE_VDPA_QUEUES];
    int calls[FAKE_VDPA_QUEUES], kicks[FAKE_VDPA_QUEUES], config_call; /* -1: none; duplicates */
    bool open;
    char log[4096];
};

extern struct fake_vdpa fake_vdpa;
extern const struct vhost_system fake_vdpa_system;

/* A network card of the simulator's kind: three queues in two groups; everything on. */
void fake_vdpa_init(void);
void fake_vdpa_destroy(void); /* it must have been closed */

/* What was asked since the last time, words with one blank between; forgets it. */
const char *fake_vdpa_take_log(void);

#endif
