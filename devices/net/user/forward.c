/*
 * hostfwd= and guestfwd=, in QEMU's syntax:
 *
 *   hostfwd=[tcp|udp]:[ADDR]:PORT-[GUEST]:PORT
 *   guestfwd=[tcp]:ADDR:PORT-cmd:COMMAND | -unix:PATH | -tcp:HOST:PORT
 *
 * Addresses are numbers, IPv6 ones in brackets. No ADDR: all of the host's; no GUEST: the one that
 * DHCP leases first, or whatever the guest calls itself in IPv6.
 */
#include "devices/net/user/internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/un.h>

/* --- parsing --- */

socklen_t user_address_size(const union address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof(address->in6) : sizeof(address->in);
}

static int parse_port(const char *text, const char *end, in_port_t *out)
{
    unsigned long port = 0;

    if (text == end || end - text > 5)
        return -EINVAL;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        port = port * 10 + (unsigned long)(*text - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *out = htons((uint16_t)port);
    return 0;
}

int user_parse_endpoint(const char *text, const char *end, union address *out)
{
    const char *colon = memrchr(text, ':', (size_t)(end - text));
    char address[INET6_ADDRSTRLEN + 2];
    size_t length;

    *out = (union address){.any.sa_family = AF_UNSPEC};
    if (!colon)
        return -EINVAL;
    length = (size_t)(colon - text);
    if (length >= sizeof(address))
        return -EINVAL;
    memcpy(address, text, length);
    address[length] = '\0';
    if (length > 2 && address[0] == '[' && address[length - 1] == ']') {
        address[length - 1] = '\0';
        out->any.sa_family = AF_INET6;
        if (inet_pton(AF_INET6, address + 1, &out->in6.sin6_addr) != 1)
            return -EINVAL;
    } else if (length > 0) {
        out->any.sa_family = AF_INET;
        if (inet_pton(AF_INET, address, &out->in.sin_addr) != 1)
            return -EINVAL;
    }
    return parse_port(colon + 1, end, &out->in.sin_port);
}

/* Skip "tcp:", "udp:" or ":" (tcp). NULL: none of them. */
static const char *parse_protocol(const char *rule, bool *udp)
{
    *udp = strncmp(rule, "udp:", 4) == 0;
    if (*udp || strncmp(rule, "tcp:", 4) == 0)
        return rule + 4;
    return rule[0] == ':' ? rule + 1 : NULL;
}

/* A family that is not given is the other one's, or IPv4. */
static bool same_family(union address *a, union address *b)
{
    if (a->any.sa_family == AF_UNSPEC)
        a->any.sa_family = b->any.sa_family ? b->any.sa_family : AF_INET;
    if (b->any.sa_family == AF_UNSPEC)
        b->any.sa_family = a->any.sa_family;
    return a->any.sa_family == b->any.sa_family;
}

static bool in_network(const struct user_network *network, const union address *guest)
{
    const SlirpConfig *config = &network->config;

    return guest->any.sa_family == AF_INET &&
           (guest->in.sin_addr.s_addr & config->vnetmask.s_addr) == config->vnetwork.s_addr;
}

static int check_family(const struct user_network *network, const struct forward *forward,
                        const char *key, struct error *err)
{
    if (forward->guest.any.sa_family == AF_INET ? !network->config.in_enabled
                                                : !network->config.in6_enabled)
        return error_set(err, EINVAL, "%s: '%s': that version of IP is switched off", key,
                         forward->rule);
    return 0;
}

static int parse_hostfwd(struct user_network *network, const char *rule, struct forward *out,
                         struct error *err)
{
    const char *host = parse_protocol(rule, &out->udp);
    const char *dash = host ? strchr(host, '-') : NULL;

    out->kind = FORWARD_HOST;
    out->rule = rule;
    if (!dash || user_parse_endpoint(host, dash, &out->host) ||
        user_parse_endpoint(dash + 1, rule + strlen(rule), &out->guest))
        return error_set(err, EINVAL,
                         "hostfwd: '%s' is not of the form tcp:127.0.0.1:2222-:22 (addresses are "
                         "numbers, IPv6 in [brackets])",
                         rule);
    if (!same_family(&out->host, &out->guest))
        return error_set(err, EINVAL, "hostfwd: '%s': IPv4 and IPv6 cannot be mixed", rule);
    if (out->guest.any.sa_family == AF_INET && out->guest.in.sin_addr.s_addr != 0 &&
        !in_network(network, &out->guest))
        return error_set(err, EINVAL, "hostfwd: '%s': the guest's network has no such address",
                         rule);
    return check_family(network, out, "hostfwd", err);
}

static int parse_target(const char *text, struct forward *out)
{
    static const struct {
        const char *prefix;
        enum forward_kind kind;
    } targets[] = {{"cmd:", FORWARD_COMMAND}, {"unix:", FORWARD_UNIX}, {"tcp:", FORWARD_TCP}};

    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        size_t length = strlen(targets[i].prefix);

        if (strncmp(text, targets[i].prefix, length) != 0)
            continue;
        out->kind = targets[i].kind;
        out->target = text + length;
        if (!*out->target)
            return -EINVAL;
        if (out->kind != FORWARD_TCP)
            return 0;
        return user_parse_endpoint(out->target, out->target + strlen(out->target), &out->host);
    }
    return -EINVAL;
}

/* libslirp would let the first one win. */
static bool taken_before(const struct user_network *network, const struct forward *last)
{
    for (const struct forward *f = network->forwards; f < last; f++)
        if (f->kind != FORWARD_HOST && f->guest.in.sin_port == last->guest.in.sin_port &&
            f->guest.in.sin_addr.s_addr == last->guest.in.sin_addr.s_addr)
            return true;
    return false;
}

static int parse_guestfwd(struct user_network *network, const char *rule, struct forward *out,
                          struct error *err)
{
    const char *guest = parse_protocol(rule, &out->udp);
    const char *dash = guest ? strchr(guest, '-') : NULL;

    out->rule = rule;
    if (!dash || out->udp || user_parse_endpoint(guest, dash, &out->guest) ||
        parse_target(dash + 1, out) ||
        (out->kind == FORWARD_TCP && out->host.any.sa_family == AF_UNSPEC))
        return error_set(
            err, EINVAL,
            "guestfwd: '%s' is not of the form tcp:10.0.2.100:80-cmd:COMMAND, -unix:PATH "
            "or -tcp:HOST:PORT (addresses are numbers)",
            rule);
    if (!in_network(network, &out->guest) ||
        out->guest.in.sin_addr.s_addr == network->config.vhost.s_addr ||
        out->guest.in.sin_addr.s_addr == network->config.vnameserver.s_addr)
        return error_set(
            err, EINVAL,
            "guestfwd: '%s': the address must be in the guest's network and not be the "
            "gateway's or the name server's",
            rule);
    if (taken_before(network, out))
        return error_set(err, EINVAL, "guestfwd: '%s': that address and port is forwarded already",
                         rule);
    if (out->kind == FORWARD_UNIX &&
        strlen(out->target) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return error_set(err, EINVAL, "guestfwd: '%s': the path is too long for a socket", rule);
    return check_family(network, out, "guestfwd", err);
}

int user_forwards_parse(struct user_network *network, struct error *err)
{
    const struct net_host_options *o = network->options;
    int ret = 0;

    network->forwards = calloc(o->hostfwd.count + o->guestfwd.count + 1, sizeof(struct forward));
    if (!network->forwards)
        return error_set(err, ENOMEM, "no memory for a network");
    for (size_t i = 0; !ret && i < o->hostfwd.count; i++)
        ret = parse_hostfwd(network, o->hostfwd.items[i],
                            &network->forwards[network->forward_count++], err);
    for (size_t i = 0; !ret && i < o->guestfwd.count; i++)
        ret = parse_guestfwd(network, o->guestfwd.items[i],
                             &network->forwards[network->forward_count++], err);
    return ret;
}

/* --- carrying them out --- */

static int start_hostfwd(struct user_network *network, const struct forward *f, struct error *err)
{
    int flags = f->udp ? SLIRP_HOSTFWD_UDP : 0;

    if (f->host.any.sa_family == AF_INET6)
        flags |= SLIRP_HOSTFWD_V6ONLY;
    if (slirp_add_hostxfwd(network->slirp, &f->host.any, user_address_size(&f->host), &f->guest.any,
                           user_address_size(&f->guest), flags) < 0)
        return error_errno(err, errno, "hostfwd: '%s': cannot listen", f->rule);
    return 0;
}

static int start_guestfwd(struct user_network *network, struct forward *f, struct error *err)
{
    struct in_addr address = f->guest.in.sin_addr;
    int port = ntohs(f->guest.in.sin_port);
    char path[RELAY_PATH_SIZE];
    int ret;

    if (f->kind != FORWARD_UNIX) {
        ret = user_relay_start(&network->services, f, &f->relay, path, err);
        if (ret)
            return ret;
    }
    ret =
        slirp_add_unix(network->slirp, f->kind == FORWARD_UNIX ? f->target : path, &address, port);
    if (ret < 0)
        return error_set(err, EINVAL, "guestfwd: '%s': libslirp refuses it", f->rule);
    return 0;
}

int user_forwards_start(struct user_network *network, struct error *err)
{
    int ret = 0;

    for (size_t i = 0; !ret && i < network->forward_count; i++) {
        struct forward *f = &network->forwards[i];

        ret = f->kind == FORWARD_HOST ? start_hostfwd(network, f, err)
                                      : start_guestfwd(network, f, err);
    }
    return ret;
}

void user_forwards_stop(struct user_network *network)
{
    for (size_t i = 0; i < network->forward_count; i++)
        user_relay_stop(network->forwards[i].relay);
    free(network->forwards);
}
