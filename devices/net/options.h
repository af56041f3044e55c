/*
 * The options of a network device: what the model takes, and what its host side does.
 */
#ifndef DEVICES_NET_OPTIONS_H
#define DEVICES_NET_OPTIONS_H

#include "base/option.h"
#include "devices/net/host.h"

struct net_options {
    struct net_host_options host;
};

/* The one table: --net user|tap|socket|none,KEY=VALUE,... */
extern const struct option_spec net_option_specs[];
extern const size_t net_option_count;

#endif
