#include "devices/net/host.h"

#include "base/bytes.h"

#include <errno.h>

static const struct {
    const char *name;
    int (*create)(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                  struct net_host **out, struct error *err);
} kinds[] = {
    [NET_HOST_USER] = {"user", net_user_create},
    [NET_HOST_TAP] = {"tap", net_tap_create},
    [NET_HOST_SOCKET] = {"socket", net_socket_create},
    [NET_HOST_NONE] = {"none", net_none_create},
};

/* Refuse a key that does nothing for this kind. */
static int check_key(const struct net_host_options *options, bool given, const char *key,
                     enum net_host_kind kind, struct error *err)
{
    if (!given || options->kind == (int)kind)
        return 0;
    return error_set(err, EINVAL, "key '%s' goes with host=%s, not with host=%s", key,
                     kinds[kind].name, kinds[options->kind].name);
}

static int check_keys(const struct net_host_options *o, struct error *err)
{
    const struct {
        bool given;
        const char *key;
        enum net_host_kind kind;
    } keys[] = {
        {o->ifname, "ifname", NET_HOST_TAP},
        {o->fds.count, "fd", NET_HOST_TAP},
        {o->path, "path", NET_HOST_SOCKET},
        {o->role != NET_SOCKET_AUTO, "server", NET_HOST_SOCKET},
        {o->hostfwd.count, "hostfwd", NET_HOST_USER},
        {o->guestfwd.count, "guestfwd", NET_HOST_USER},
        {o->restricted, "restrict", NET_HOST_USER},
        {!o->ipv4, "ipv4", NET_HOST_USER},
        {o->network, "net", NET_HOST_USER},
        {o->gateway, "gateway", NET_HOST_USER},
        {o->dns, "dns", NET_HOST_USER},
        {o->dhcp_start, "dhcpstart", NET_HOST_USER},
        {!o->ipv6, "ipv6", NET_HOST_USER},
        {o->network6, "ipv6-net", NET_HOST_USER},
        {o->gateway6, "ipv6-gateway", NET_HOST_USER},
        {o->dns6, "ipv6-dns", NET_HOST_USER},
        {o->hostname, "hostname", NET_HOST_USER},
        {o->domainname, "domainname", NET_HOST_USER},
        {o->dnssearch.count, "dnssearch", NET_HOST_USER},
    };
    int ret = 0;

    for (size_t i = 0; !ret && i < ARRAY_SIZE(keys); i++)
        ret = check_key(o, keys[i].given, keys[i].key, keys[i].kind, err);
    return ret;
}

int net_host_create(const struct net_host_options *options, unsigned pairs, struct loop *loop,
                    struct net_host **out, struct error *err)
{
    struct net_host *host;
    int ret = check_keys(options, err);

    if (!ret)
        ret = kinds[options->kind].create(options, pairs, loop, &host, err);
    if (ret)
        return ret;
    if (options->dump)
        ret = net_dump_create(options->dump, &host, err);
    if (ret)
        host->ops->destroy(host);
    else
        *out = host;
    return ret;
}
