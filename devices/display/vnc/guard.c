#include "devices/display/vnc/guard.h"

#include <netinet/in.h>
#include <string.h>

struct vnc_origin vnc_origin_of(const struct sockaddr *address)
{
    struct vnc_origin origin = {.family = (uint8_t)address->sa_family};

    if (address->sa_family == AF_INET)
        memcpy(origin.address, &((const struct sockaddr_in *)address)->sin_addr, 4);
    else if (address->sa_family == AF_INET6)
        memcpy(origin.address, &((const struct sockaddr_in6 *)address)->sin6_addr, 8);
    return origin;
}

/* Its place, or -1. */
static int find(const struct vnc_guard *guard, struct vnc_origin origin)
{
    for (int i = 0; i < VNC_GUARD_SOURCES; i++)
        if (guard->sources[i].last_ns &&
            !memcmp(&guard->sources[i].origin, &origin, sizeof(origin)))
            return i;
    return -1;
}

bool vnc_guard_admits(const struct vnc_guard *guard, struct vnc_origin origin, uint64_t now_ns)
{
    int at = find(guard, origin);

    return at < 0 || now_ns >= guard->sources[at].refused_until_ns;
}

/* Its place, or that of the one that was wrong longest ago. */
static struct vnc_guard_source *take(struct vnc_guard *guard, struct vnc_origin origin)
{
    struct vnc_guard_source *oldest = guard->sources;
    int at = find(guard, origin);

    if (at >= 0)
        return &guard->sources[at];
    for (int i = 1; i < VNC_GUARD_SOURCES; i++)
        if (guard->sources[i].last_ns < oldest->last_ns)
            oldest = &guard->sources[i];
    *oldest = (struct vnc_guard_source){.origin = origin};
    return oldest;
}

void vnc_guard_wrong(struct vnc_guard *guard, struct vnc_origin origin, uint64_t now_ns)
{
    struct vnc_guard_source *source = take(guard, origin);

    source->last_ns = now_ns;
    if (++source->failures < VNC_GUARD_FAILURES)
        return;
    source->failures = 0;
    source->refused_until_ns = now_ns + VNC_GUARD_REFUSE;
}

void vnc_guard_right(struct vnc_guard *guard, struct vnc_origin origin)
{
    int at = find(guard, origin);

    if (at >= 0)
        guard->sources[at].failures = 0;
}
