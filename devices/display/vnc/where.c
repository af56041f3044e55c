#include "devices/display/vnc/where.h"

#include "base/option.h"
#include "base/unix_socket.h"
#include "devices/display/common/place.h"
#include "devices/display/display.h"

#include <errno.h>
#include <string.h>

#define FIRST_PORT 5900
#define NUMBER_MAX (65535 - FIRST_PORT - DISPLAY_OUTPUTS_MAX)
#define UNIX       "unix:"

int vnc_where_parse(const char *text, struct vnc_where *out, struct error *err)
{
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    uint64_t number;
    int ret;

    *out = (struct vnc_where){.host = "localhost"};
    if (!strncmp(text, UNIX, strlen(UNIX)) && text[strlen(UNIX)]) {
        out->path = text + strlen(UNIX);
        return 0;
    }
    if (!colon || length >= sizeof(out->host))
        return error_set(err, EINVAL, "where: '%s' is not :N, ADDRESS:N or unix:PATH", text);
    ret = option_parse_uint("where: the number behind ':'", colon + 1, 0, NUMBER_MAX, &number, err);
    if (ret)
        return ret;
    out->port = FIRST_PORT + (unsigned)number;
    if (length > 2 && text[0] == '[' && colon[-1] == ']') { /* [::1]:0 */
        text++;
        length -= 2;
    }
    if (length)
        snprintf(out->host, sizeof(out->host), "%.*s", (int)length, text);
    return 0;
}

int vnc_where_find(const struct vnc_where *where, unsigned output, struct addrinfo **found,
                   struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char port[8];
    int ret;

    snprintf(port, sizeof(port), "%u", where->port + output);
    ret = getaddrinfo(where->host, port, &hints, found);
    return ret ? error_set(err, EINVAL, "where: there is no address '%s': %s", where->host,
                           gai_strerror(ret))
               : 0;
}

int vnc_where_check(const struct vnc_where *where, struct error *err)
{
    struct addrinfo *found;
    int ret;

    if (where->path) {
        ret = unix_socket_check(where->path, err);
        if (ret)
            return ret;
        ret = display_place_check(where->path);
        return ret ? error_errno(err, -ret, "where: cannot make the socket '%s'", where->path) : 0;
    }
    ret = vnc_where_find(where, 0, &found, err);
    if (!ret)
        freeaddrinfo(found);
    return ret;
}
