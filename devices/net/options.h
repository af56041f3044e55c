/*
 * The options of a network device: what the model takes, and what its host side does.
 */
#ifndef DEVICES_NET_OPTIONS_H
#define DEVICES_NET_OPTIONS_H

#include "base/option.h"
#include "devices/net/host.h"

struct net_options {
    struct net_host_options host;

    /* The card the guest sees. */
    char *mac;      /* NULL: a random one */
    uint64_t mtu;   /* 0: the driver is told none */
    uint64_t speed; /* Mb/s, 0: unknown */
    int duplex;     /* enum net_duplex_choice */

    uint64_t busy_poll; /* microseconds; backend=vhost */
};

enum net_duplex_choice {
    NET_DUPLEX_CHOICE_UNKNOWN,
    NET_DUPLEX_CHOICE_HALF,
    NET_DUPLEX_CHOICE_FULL,
};

/* The one table: --net user|tap|socket|none,KEY=VALUE,... */
#define NET_OPTION_COUNT 26
extern const struct option_spec net_option_specs[NET_OPTION_COUNT];

#endif
