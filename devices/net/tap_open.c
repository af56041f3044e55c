#include "devices/net/tap_open.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* --- by name --- */

/* The IFF_... flags of an interface that exists; 0 when there is none of that name, -1 when it is
 * no TUN or TAP interface. */
static int existing_flags(const char *name)
{
    char path[64], text[32] = "";
    FILE *file;
    int flags = -1;

    snprintf(path, sizeof(path), "/sys/class/net/%s", name);
    if (access(path, F_OK) < 0)
        return 0;
    snprintf(path, sizeof(path), "/sys/class/net/%s/tun_flags", name);
    file = fopen(path, "re");
    if (!file)
        return -1;
    if (fgets(text, sizeof(text), file))
        flags = (int)strtol(text, NULL, 0);
    fclose(file);
    return flags;
}

static int open_control(struct error *err)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return error_set(err, errno,
                         "this host has no TAP interfaces: no /dev/net/tun (modprobe "
                         "tun)");
    return error_errno(err, errno, "cannot open /dev/net/tun");
}

static int attach_failed(const char *name, int code, struct error *err)
{
    switch (code) {
    case EBUSY:
        return error_set(err, code, "the interface '%s' is in use by another program", name);
    case EPERM:
        return error_set(err, code,
                         "no permission for the interface '%s': make it for this user ('ip tuntap "
                         "add dev %s mode tap user NAME'), or run with CAP_NET_ADMIN",
                         name, name);
    case E2BIG:
        return error_set(err, code, "the interface '%s' has no more queues to give", name);
    default:
        return error_errno(err, code, "cannot attach to the interface '%s'", name);
    }
}

/* One more queue of the interface. */
static int open_queue(const char *name, int flags, struct error *err)
{
    struct ifreq request = {.ifr_flags = (short)flags};
    int fd = open_control(err);

    if (fd < 0)
        return fd;
    strcpy(request.ifr_name, name);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        int code = errno;
        close(fd);
        return attach_failed(name, code, err);
    }
    return fd;
}

/* With which flags to attach: an interface that exists has made up its mind about several queues.
 */
static int attach_flags(const char *name, unsigned pairs, struct error *err)
{
    int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    int existing;

    if (!*name || strlen(name) >= IFNAMSIZ || strchr(name, '/') || strchr(name, '%'))
        return error_set(err, EINVAL, "'%s' is no name for an interface (1 to %d characters)", name,
                         IFNAMSIZ - 1);
    existing = existing_flags(name);
    if (existing < 0 || (existing > 0 && !(existing & IFF_TAP)))
        return error_set(err, EINVAL, "the interface '%s' is no TAP interface", name);
    if (existing > 0 && pairs > 1 && !(existing & IFF_MULTI_QUEUE))
        return error_set(
            err, EINVAL,
            "the interface '%s' has one queue only, %u are asked for (make it with 'ip "
            "tuntap add dev %s mode tap multi_queue')",
            name, pairs, name);
    if (pairs > 1 || existing & IFF_MULTI_QUEUE)
        flags |= IFF_MULTI_QUEUE;
    return flags;
}

/* --- by descriptor --- */

/* A duplicate, so that the user's number stays what it was for whoever looks at it later. */
static int adopt_fd(const char *text, bool several, struct error *err)
{
    struct ifreq request = {0};
    uint64_t number;
    int fd;

    if (option_parse_uint("fd", text, 0, INT_MAX, &number, err))
        return -EINVAL;
    fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return error_errno(err, errno, "fd: cannot use '%s'", text);
    if (ioctl(fd, TUNGETIFF, &request) < 0 || !(request.ifr_flags & IFF_TAP))
        error_set(err, EINVAL, "fd: '%s' is no TAP interface", text);
    else if (!(request.ifr_flags & IFF_NO_PI) || !(request.ifr_flags & IFF_VNET_HDR))
        error_set(err, EINVAL, "fd: '%s' was opened without IFF_NO_PI and IFF_VNET_HDR", text);
    else if (several && !(request.ifr_flags & IFF_MULTI_QUEUE))
        error_set(err, EINVAL, "fd: '%s' was opened without IFF_MULTI_QUEUE", text);
    else if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        error_errno(err, errno, "fd: cannot use '%s'", text);
    else
        return fd;
    close(fd);
    return -EINVAL;
}

/* --- both --- */

static int set_header(int fd, struct error *err)
{
    int size = NET_HEADER_SIZE, on = 1;

    if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETVNETLE, &on) < 0)
        return error_errno(err, errno, "cannot set the header of a TAP interface");
    return 0;
}

static int open_one(const struct net_host_options *options, unsigned pair, unsigned pairs,
                    int flags, struct error *err)
{
    int fd = options->ifname ? open_queue(options->ifname, flags, err)
                             : adopt_fd(options->fds.items[pair], pairs > 1, err);
    int ret;

    if (fd < 0)
        return fd;
    ret = set_header(fd, err);
    if (ret) {
        close(fd);
        return ret;
    }
    return fd;
}

static int check_counts(const struct net_host_options *options, unsigned pairs, struct error *err)
{
    if (!options->ifname == !options->fds.count)
        return error_set(err, EINVAL, "host=tap needs either ifname=NAME or fd=N");
    if (options->fds.count && options->fds.count != pairs)
        return error_set(err, EINVAL, "fd: given %zu times, but there are %u pairs of queues",
                         options->fds.count, pairs);
    return 0;
}

int tap_open(const struct net_host_options *options, unsigned pairs, int *fds, struct error *err)
{
    int ret = check_counts(options, pairs, err);
    int flags = 0;

    if (!ret && options->ifname)
        flags = attach_flags(options->ifname, pairs, err);
    if (ret || flags < 0)
        return ret ? ret : flags;
    for (unsigned i = 0; i < pairs; i++) {
        fds[i] = open_one(options, i, pairs, flags, err);
        if (fds[i] < 0) {
            ret = fds[i];
            while (i-- > 0)
                close(fds[i]);
            return ret;
        }
    }
    return 0;
}
