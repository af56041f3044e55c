/*
 * Fuzzing the peer of host=socket: the input is what it writes, in pieces.
 *
 *     byte 0      of each piece: its length
 *     the rest    of it: bytes of the stream
 *
 * A reader of a few lines says which frames are in the stream; the device must get these, and after
 * a length that no frame can have it must get nothing more.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/net/host.h"
#include "tests/fuzz/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/sockios.h>

#define ROOM (NET_HEADER_SIZE + 200)

static char path[64];
static struct loop *loop;
static struct net_host *host;

/* What came, and what should: how many frames, and a sum over them. */
struct tally {
    unsigned frames;
    uint64_t sum;
};
static struct tally got;

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_net_stream: %s\n", what);
        abort();
    }
}

static void count_frame(struct tally *tally, const uint8_t *frame, size_t length)
{
    tally->frames++;
    tally->sum = tally->sum * 31 + length;
    for (size_t i = 0; i < length; i++)
        tally->sum = tally->sum * 31 + frame[i];
}

static void readable(void *opaque, unsigned pair)
{
    static uint8_t frame[ROOM];
    struct iovec iov = {frame, sizeof(frame)};
    ssize_t length;

    (void)opaque;
    while ((length = host->ops->receive(host, pair, &iov, 1)) > 0) {
        require(length > NET_HEADER_SIZE && length <= ROOM, "a frame has no length it could have");
        count_frame(&got, frame + NET_HEADER_SIZE, (size_t)length - NET_HEADER_SIZE);
    }
}

static void writable(void *opaque, unsigned pair)
{
    (void)opaque;
    (void)pair;
}

static void clean_up(void)
{
    unlink(path);
}

static void set_up(void)
{
    static const struct net_host_options options = {.kind = NET_HOST_SOCKET,
                                                    .path = path,
                                                    .role = NET_SOCKET_SERVER,
                                                    .ipv4 = true,
                                                    .ipv6 = true};

    log_threshold = LOG_ERROR;
    snprintf(path, sizeof(path), "/tmp/vireo-fuzz-%d", getpid());
    atexit(clean_up);
    require(loop_create(&loop, NULL) == 0, "no loop");
    require(net_host_create(&options, 1, loop, &host, NULL) == 0, "no host side");
    host->events = (struct net_host_events){readable, writable, NULL};
    require(host->ops->start(host, NULL) == 0, "it does not start");
    host->ops->watch(host, 0, true);
}

static int peer_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    require(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "nobody listens");
    turn(loop);
    return fd;
}

/* Write, and let the other side read all of it. False: it has hung up. */
static bool peer_write(int fd, const uint8_t *data, size_t size)
{
    int unread = 1;

    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        return false;
    for (int i = 0; i < 100 && unread > 0; i++) {
        turn(loop);
        require(ioctl(fd, SIOCOUTQ, &unread) == 0, "no socket");
    }
    return true;
}

/* The frames of the stream that a device with ROOM gets. */
static struct tally expected(const uint8_t *stream, size_t size)
{
    struct tally tally = {0};

    while (size >= 4) {
        uint32_t length = be32toh(load_le32(stream));

        if (length == 0 || length > NET_FRAME_MAX || size - 4 < length)
            break;
        if (length <= ROOM - NET_HEADER_SIZE)
            count_frame(&tally, stream + 4, length);
        stream += 4 + length;
        size -= 4 + length;
    }
    return tally;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t stream[1 << 20];
    struct tally wanted;
    size_t written = 0;
    int fd;

    if (!host)
        set_up();
    got = (struct tally){0};
    fd = peer_connect();
    while (size > 1 && written < sizeof(stream) - 256) {
        size_t piece = MIN((size_t)data[0] + 1, size - 1);

        memcpy(stream + written, data + 1, piece);
        if (!peer_write(fd, data + 1, piece))
            break;
        written += piece;
        data += 1 + piece;
        size -= 1 + piece;
    }
    close(fd);
    for (int i = 0; i < 3; i++)
        turn(loop);
    wanted = expected(stream, written);
    require(got.frames == wanted.frames && got.sum == wanted.sum, "other frames than were sent");
    return 0;
}
