/*
 * The parts of the module vireo-user.so.
 *
 *   network.c   life of a network, and what libslirp calls
 *   config.c    addresses and names, from the options
 *   forward.c   hostfwd= and guestfwd=
 *   relay.c     connections handed on, for guestfwd=...-tcp: and -cmd:
 *   command.c   a command at the other end of one
 *   poll.c      libslirp's sockets on our loop
 */
#ifndef DEVICES_NET_USER_INTERNAL_H
#define DEVICES_NET_USER_INTERNAL_H

#include "devices/net/user.h"

#include <slirp/libslirp.h>
#include <sys/socket.h>

/* What libslirp waits for on one descriptor. */
struct poll_watch {
    bool added;     /* to the epoll descriptor */
    bool wanted;    /* in this round */
    int events;     /* SLIRP_POLL_... */
    uint32_t ready; /* EPOLL... */
};

struct user_poll {
    struct loop_fd ready; /* the epoll descriptor; -1: none */
    struct loop_timer timer;
    bool paused;
    struct poll_watch *watches; /* by descriptor */
    size_t watch_count;
};

/* The family and the port are at the same place in all of them. */
union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

enum forward_kind { FORWARD_HOST, FORWARD_COMMAND, FORWARD_UNIX, FORWARD_TCP };

/* One rule, parsed. */
struct forward {
    enum forward_kind kind;
    const char *rule;    /* as the user gave it; borrowed from the options */
    bool udp;            /* HOST */
    union address host;  /* HOST: where to listen; TCP: where to connect */
    union address guest; /* HOST: the guest's own; else the address the guest uses */
    const char *target;  /* COMMAND, UNIX; part of the rule */
    struct relay *relay; /* COMMAND and TCP, once it runs */
};

struct user_network {
    struct user_services services;
    const struct net_host_options *options;
    SlirpConfig config;
    const char **search; /* NULL-terminated */
    struct forward *forwards;
    size_t forward_count;
    struct user_poll poll;
    Slirp *slirp; /* NULL before start */
    unsigned log_handler;
};

/* Fill network->config. -EINVAL, -ENOMEM. `search` is freed with the network. */
int user_config(struct user_network *network, struct error *err);

/* Parse all rules; carry them out; end what was carried out, and free them. */
int user_forwards_parse(struct user_network *network, struct error *err);
int user_forwards_start(struct user_network *network, struct error *err);
void user_forwards_stop(struct user_network *network);

/* "ADDR:PORT", "[ADDR6]:PORT" or ":PORT" (any address; family unspecified), up to `end`. */
int user_parse_endpoint(const char *text, const char *end, union address *out);
socklen_t user_address_size(const union address *address);

/*
 * Listen where only we can connect (`path`); for each connection make one to the rule's host, or
 * start its command, and pass on what either side says. The rule is borrowed.
 */
struct relay;
#define RELAY_PATH_SIZE 40
int user_relay_start(const struct user_services *services, const struct forward *rule,
                     struct relay **out, char path[RELAY_PATH_SIZE], struct error *err);
void user_relay_stop(struct relay *relay);

/* Run a shell command: a socket that is its standard input and output, or -1. Nobody has to wait
 * for its end. */
int user_command_start(const char *command);

/* Watch libslirp's sockets. */
int user_poll_start(struct user_network *network, struct error *err);
void user_poll_stop(struct user_network *network);
void user_poll_soon(struct user_network *network); /* its state has changed */
void user_poll_pause(struct user_network *network, bool on);
void user_poll_forget(struct user_network *network, int fd); /* it is new, or will be closed */

#endif
