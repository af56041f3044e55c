/*
 * Addresses and names of the guest's network, from the options or the usual ones.
 */
#include "devices/net/user/internal.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define HOSTNAME_MAX 32  /* libslirp cuts the rest */
#define DOMAIN_MAX   255 /* RFC 1035 */
#define BITS_MIN     4
#define BITS_MAX     27 /* 10.0.2.15 needs 5 bits of its own */

/* "ADDR/BITS"; without BITS it is 24. */
static int parse_network(const char *text, SlirpConfig *config, struct error *err)
{
    char address[INET_ADDRSTRLEN];
    const char *slash = strchrnul(text, '/');
    size_t length = (size_t)(slash - text);
    unsigned long bits = 24;
    char *end = (char *)slash;

    if (*slash && slash[1] >= '0' && slash[1] <= '9') /* no sign, no space */
        bits = strtoul(slash + 1, &end, 10);
    if (length >= sizeof(address) || *end)
        return error_set(err, EINVAL, "net: '%s' is not of the form 10.0.2.0/24", text);
    memcpy(address, text, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, &config->vnetwork) != 1)
        return error_set(err, EINVAL, "net: '%s' is not of the form 10.0.2.0/24", text);
    if (bits < BITS_MIN || bits > BITS_MAX)
        return error_set(err, EINVAL, "net: '%s': the prefix must have %d to %d bits", text,
                         BITS_MIN, BITS_MAX);
    config->vnetmask.s_addr = htonl(UINT32_MAX << (32 - bits));
    if (config->vnetwork.s_addr & ~config->vnetmask.s_addr)
        return error_set(err, EINVAL, "net: '%s' has bits set beyond its prefix", text);
    return 0;
}

/* An address of the network: `number` in it when none is given. */
static int parse_member(const char *key, const char *text, uint32_t number,
                        const SlirpConfig *config, struct in_addr *out, struct error *err)
{
    uint32_t rest;

    if (!text) {
        out->s_addr = config->vnetwork.s_addr | htonl(number);
        return 0;
    }
    if (inet_pton(AF_INET, text, out) != 1)
        return error_set(err, EINVAL, "%s: '%s' is not an IPv4 address", key, text);
    rest = ntohl(out->s_addr & ~config->vnetmask.s_addr);
    if ((out->s_addr & config->vnetmask.s_addr) != config->vnetwork.s_addr || rest == 0 ||
        rest == ntohl(~config->vnetmask.s_addr))
        return error_set(err, EINVAL, "%s: '%s' is no host's address in the guest's network", key,
                         text);
    return 0;
}

static int config_ipv4(const struct net_host_options *o, SlirpConfig *config, struct error *err)
{
    int ret = parse_network(o->network ? o->network : "10.0.2.0/24", config, err);

    if (!ret)
        ret = parse_member("gateway", o->gateway, 2, config, &config->vhost, err);
    if (!ret)
        ret = parse_member("dns", o->dns, 3, config, &config->vnameserver, err);
    if (!ret)
        ret = parse_member("dhcpstart", o->dhcp_start, 15, config, &config->vdhcp_start, err);
    if (ret)
        return ret;
    if (config->vhost.s_addr == config->vnameserver.s_addr ||
        config->vhost.s_addr == config->vdhcp_start.s_addr ||
        config->vnameserver.s_addr == config->vdhcp_start.s_addr)
        return error_set(err, EINVAL, "gateway, dns and dhcpstart must be three addresses");
    return 0;
}

/* "PREFIX" or "PREFIX/64": guests make their addresses themselves, which takes 64 bits. */
static int parse_prefix(const char *text, SlirpConfig *config, struct error *err)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchrnul(text, '/');
    size_t length = (size_t)(slash - text);
    static const uint8_t zeroes[8];

    if (length < sizeof(address)) {
        memcpy(address, text, length);
        address[length] = '\0';
    }
    if (length >= sizeof(address) || inet_pton(AF_INET6, address, &config->vprefix_addr6) != 1 ||
        (*slash && strcmp(slash, "/64") != 0) ||
        memcmp(config->vprefix_addr6.s6_addr + 8, zeroes, 8) != 0)
        return error_set(err, EINVAL,
                         "ipv6-net: '%s' is not a prefix of 64 bits, such as fec0::", text);
    config->vprefix_len = 64;
    return 0;
}

static int parse_member6(const char *key, const char *text, uint8_t number,
                         const SlirpConfig *config, struct in6_addr *out, struct error *err)
{
    if (!text) {
        *out = config->vprefix_addr6;
        out->s6_addr[15] = number;
        return 0;
    }
    if (inet_pton(AF_INET6, text, out) != 1)
        return error_set(err, EINVAL, "%s: '%s' is not an IPv6 address", key, text);
    if (memcmp(out, &config->vprefix_addr6, 8) != 0)
        return error_set(err, EINVAL, "%s: '%s' is not in the guest's network", key, text);
    return 0;
}

static int config_ipv6(const struct net_host_options *o, SlirpConfig *config, struct error *err)
{
    int ret = parse_prefix(o->network6 ? o->network6 : "fec0::", config, err);

    if (!ret)
        ret = parse_member6("ipv6-gateway", o->gateway6, 2, config, &config->vhost6, err);
    if (!ret)
        ret = parse_member6("ipv6-dns", o->dns6, 3, config, &config->vnameserver6, err);
    if (!ret && memcmp(&config->vhost6, &config->vnameserver6, sizeof(config->vhost6)) == 0)
        ret = error_set(err, EINVAL, "ipv6-gateway and ipv6-dns must be two addresses");
    return ret;
}

static int check_name(const char *key, const char *name, size_t max, struct error *err)
{
    if (name && (!*name || strlen(name) > max))
        return error_set(err, EINVAL, "%s: '%s' must have 1 to %zu characters", key, name, max);
    return 0;
}

static int config_names(struct user_network *network, struct error *err)
{
    const struct net_host_options *o = network->options;
    int ret = check_name("hostname", o->hostname, HOSTNAME_MAX, err);

    if (!ret)
        ret = check_name("domainname", o->domainname, DOMAIN_MAX, err);
    for (size_t i = 0; !ret && i < o->dnssearch.count; i++)
        ret = check_name("dnssearch", o->dnssearch.items[i], DOMAIN_MAX, err);
    if (ret)
        return ret;
    network->search = calloc(o->dnssearch.count + 1, sizeof(*network->search));
    if (!network->search)
        return error_set(err, ENOMEM, "no memory for a network");
    for (size_t i = 0; i < o->dnssearch.count; i++)
        network->search[i] = o->dnssearch.items[i];
    network->config.vhostname = o->hostname;
    network->config.vdomainname = o->domainname;
    network->config.vdnssearch = o->dnssearch.count ? network->search : NULL;
    return 0;
}

int user_config(struct user_network *network, struct error *err)
{
    const struct net_host_options *o = network->options;
    SlirpConfig *config = &network->config;
    int ret;

    *config = (SlirpConfig){
        .version = 4, /* the newest of libslirp 4.7 */
        .restricted = o->restricted,
        .in_enabled = o->ipv4,
        .in6_enabled = o->ipv6,
    };
    if (!o->ipv4 && !o->ipv6)
        return error_set(err, EINVAL, "ipv4=off and ipv6=off leave nothing (host=none would do)");
    ret = config_ipv4(o, config, err);
    if (!ret)
        ret = config_ipv6(o, config, err);
    if (!ret)
        ret = config_names(network, err);
    return ret;
}
