/*
 * The host side of a network device: where frames go to and come from.
 *
 *   user     a network of our own behind NAT, by libslirp, without privileges (user.c, module
 *            vireo-user)
 *   tap      a TAP interface of the host (tap.c)
 *   socket   a Unix socket: two machines wired together (socket.c)
 *   none     nowhere: what is sent is dropped, nothing comes (none.c)
 *
 * Every frame at this interface starts with a header, struct virtio_net_hdr_v1 of specification
 * 5.1.6: NET_HEADER_SIZE bytes, little-endian. `num_buffers` means nothing here. A host side that
 * knows no offloads is never sent a frame that needs one, and writes a header of zeroes.
 *
 * Frames are pulled: the host side says that there may be some, and the device reads them straight
 * into the guest's buffers when it has any. So back-pressure is the host's own, and nothing is
 * buffered here but what the host cannot keep for us.
 *
 * Thread: create and destroy as for a model (virtio/builtin.h); all else on the device's loop.
 */
#ifndef DEVICES_NET_HOST_H
#define DEVICES_NET_HOST_H

#include "base/error.h"
#include "base/loop.h"
#include "base/option.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_HEADER_SIZE 12
#define NET_FRAME_MAX   (65536 + 64) /* the longest, with offloads, without the header */

/* What the receiver of frames takes off the sender's hands. */
enum net_offload {
    NET_OFFLOAD_CSUM = 1 << 0, /* checksums left to fill in */
    NET_OFFLOAD_TSO4 = 1 << 1,
    NET_OFFLOAD_TSO6 = 1 << 2,
    NET_OFFLOAD_ECN = 1 << 3, /* TSO of segments with ECN */
    NET_OFFLOAD_UFO = 1 << 4,
    NET_OFFLOAD_USO4 = 1 << 5,
    NET_OFFLOAD_USO6 = 1 << 6,
};

/* Receive-side scaling as the driver set it (5.1.6.5.7): the hash of a frame, masked, picks a pair.
 */
#define NET_RSS_KEY_MAX   40
#define NET_RSS_TABLE_MAX 128
struct net_steering {
    uint32_t hash_types; /* as in the specification's hash_types */
    uint8_t key[NET_RSS_KEY_MAX];
    uint8_t key_length;
    uint16_t table[NET_RSS_TABLE_MAX];
    uint16_t table_mask;   /* entries - 1; a power of two entries */
    uint16_t unclassified; /* the pair of frames without a hash */
};

struct net_host;

/* What a host side tells its device, on the loop. */
struct net_host_events {
    void (*readable)(void *opaque, unsigned pair); /* receive may have frames again */
    void (*writable)(void *opaque, unsigned pair); /* after a send that returned -EAGAIN */
    void *opaque;
};

struct net_host_ops {
    const char *name;

    /* Before the guest runs: listen, connect, start a network. May be NULL. [loop] */
    int (*start)(struct net_host *host, struct error *err);

    /* Which offloads (a set of NET_OFFLOAD_...) frames sent to the host may need, at most. */
    unsigned (*offloads)(struct net_host *host);

    /* Which ones frames from the host may need from now on: what the guest takes (5.1.6.5.6). */
    void (*set_offloads)(struct net_host *host, unsigned offloads);

    /* How many queue pairs are in use, from now on; at most what it was made with; before, it is
     * one. May be NULL. */
    void (*set_pairs)(struct net_host *host, unsigned pairs);

    /* Choose by receive-side scaling which pair a frame from the host comes in on, by a program the
     * host runs; `false`: it cannot, and the device does it. With NULL: no longer. May be NULL: it
     * never can. */
    bool (*set_steering)(struct net_host *host, const struct net_steering *steering);

    /* Send one frame. The iovecs are guest memory and may change meanwhile. 0 when it is gone or
     * was dropped (a host's reasons are not the guest's), -EAGAIN when it must be kept: then
     * `writable` follows. */
    int (*send)(struct net_host *host, unsigned pair, const struct iovec *iov, unsigned count);

    /* Receive one frame into the iovecs: its length with the header, or -EAGAIN when there is none:
     * then `readable` follows. A frame that does not fit is dropped (and the next one taken). Hosts
     * that do not know pairs let all frames come in on the first one. */
    ssize_t (*receive)(struct net_host *host, unsigned pair, const struct iovec *iov,
                       unsigned count);

    /* There is room for frames, or none: `readable` need not be called until there is. */
    void (*watch)(struct net_host *host, unsigned pair, bool on);

    void (*destroy)(struct net_host *host);
};

struct net_host {
    const struct net_host_ops *ops;
    struct net_host_events events; /* set by the device before start */
};

enum net_host_kind { NET_HOST_USER, NET_HOST_TAP, NET_HOST_SOCKET, NET_HOST_NONE };
enum net_socket_role { NET_SOCKET_AUTO, NET_SOCKET_SERVER, NET_SOCKET_CLIENT };

/* The keys of --net that are the host side's; options.c has their table, with the syntax. */
struct net_host_options {
    int kind;   /* enum net_host_kind */
    char *dump; /* any: capture file (dump.c) */

    char *ifname;              /* tap */
    struct option_strings fds; /* tap: one a pair */

    char *path; /* socket */
    int role;   /* socket: enum net_socket_role */

    /* user; addresses that are not given are the usual ones (10.0.2.2, fec0::2, ...) */
    bool ipv4, ipv6;
    char *network, *gateway, *dns, *dhcp_start;
    char *network6, *gateway6, *dns6;
    char *hostname, *domainname;
    struct option_strings dnssearch, hostfwd, guestfwd;
    bool restricted;
};

/*
 * Open the host side of a device with at most `pairs` queue pairs: everything that can be refused
 * is refused here. -EINVAL also for keys that do not go with the kind. With dump=, all that passes
 * is written to a pcapng file as well. `options` is borrowed until the host side is destroyed.
 */
int net_host_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                    struct net_host **out, struct error *err);

/* The kinds, and the recorder around any of them; for net_host_create. */
int net_user_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                    struct net_host **out, struct error *err);
int net_tap_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                   struct net_host **out, struct error *err);
int net_socket_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                      struct net_host **out, struct error *err);
int net_none_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                    struct net_host **out, struct error *err);

/* On success `*host` is the recorder, which owns what it was. */
int net_dump_create(const char *path, struct net_host **host, struct error *err);

#endif
