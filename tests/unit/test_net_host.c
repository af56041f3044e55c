/*
 * The host sides of networks that need nothing of the host: options, none, socket, dump.
 */
#include "net_host_rig.h"

#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

static char directory[] = "/tmp/vireo-net-XXXXXX";
static char path[64], options[256];

static const char *socket_options(const char *more)
{
    snprintf(options, sizeof(options), "socket,path=%s%s", path, more);
    return options;
}

static uint8_t *pattern(size_t length, unsigned seed)
{
    static uint8_t bytes[NET_FRAME_MAX + 16];

    assert_true(length <= sizeof(bytes));
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
    return bytes;
}

static void assert_frame(const struct end *end, unsigned index, size_t length, unsigned seed)
{
    assert_true(index < end->count);
    assert_int_equal(end->frames[index]->length, length);
    assert_memory_equal(end->frames[index]->bytes, pattern(length, seed), length);
}

/* --- options --- */

static void defaults(void **state)
{
    struct end end = {0};

    (void)state;
    assert_int_equal(end_parse(&end, "", NULL), 0);
    assert_int_equal(end.options.host.kind, NET_HOST_USER);
    assert_int_equal(end.options.host.role, NET_SOCKET_AUTO);
    assert_true(end.options.host.ipv4 && end.options.host.ipv6);
    assert_false(end.options.host.restricted);
    option_release(net_option_specs, NET_OPTION_COUNT, &end.options);
}

static void keys_belong_to_a_kind(void **state)
{
    static const struct {
        const char *kind, *item, *key;
    } rows[] = {
        {"user", "ifname=t", "'ifname' goes with host=tap, not with host=user"},
        {"user", "fd=3", "'fd'"},
        {"user", "path=/x", "'path' goes with host=socket"},
        {"tap", "server=on", "'server' goes with host=socket, not with host=tap"},
        {"tap", "hostfwd=tcp::1-:1", "'hostfwd' goes with host=user"},
        {"socket", "guestfwd=x", "'guestfwd'"},
        {"none", "restrict=on", "'restrict'"},
        {"none", "ipv4=off", "'ipv4'"},
        {"none", "ipv6=off", "'ipv6'"},
        {"none", "net=10.0.0.0/8", "'net'"},
        {"none", "gateway=10.0.0.1", "'gateway'"},
        {"none", "dns=10.0.0.1", "'dns'"},
        {"none", "dhcpstart=10.0.0.1", "'dhcpstart'"},
        {"none", "ipv6-net=fec0::", "'ipv6-net'"},
        {"none", "ipv6-gateway=fec0::9", "'ipv6-gateway'"},
        {"none", "ipv6-dns=fec0::9", "'ipv6-dns'"},
        {"none", "hostname=h", "'hostname'"},
        {"none", "domainname=d", "'domainname'"},
        {"none", "dnssearch=d", "'dnssearch'"},
    };
    char text[100];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "%s,%s", rows[i].kind, rows[i].item);
        assert_refused(text, 1, rows[i].key);
    }
    assert_refused("slirp", 1, "unknown value 'slirp'");
    assert_refused("none,dump=", 1, "dump= needs the name of a file");
}

/* --- none --- */

static void none_takes_all_and_gives_nothing(void **state)
{
    uint8_t byte;
    struct iovec iov = {&byte, 1};
    struct end end;

    (void)state;
    end_open(&end, "none", 4);
    assert_int_equal(end_send(&end, pattern(60, 1), 60), 0);
    assert_int_equal(end.host->ops->receive(end.host, 3, &iov, 1), -EAGAIN);
    assert_int_equal(end.host->ops->offloads(end.host), 0x7f);
    end.host->ops->set_offloads(end.host, 0x7f);
    run_ms(5);
    assert_int_equal(end.readable + end.writable, 0);
    end_close(&end);
}

/* --- socket: two of ours --- */

static void socket_wires_two(void **state)
{
    static const size_t lengths[] = {14, 60, 1514, 9014, NET_FRAME_MAX};
    static const uint8_t zeroes[NET_HEADER_SIZE];
    struct end a, b;

    (void)state;
    end_open(&a, socket_options(""), 1);
    end_open(&b, socket_options(""), 1);
    assert_int_equal(a.host->ops->offloads(a.host), 0);
    run_ms(2);
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        assert_int_equal(end_send(&a, pattern(lengths[i], i), lengths[i]), 0);
        WAIT_FOR(b.count == i + 1);
        assert_frame(&b, i, lengths[i], i);
        assert_int_equal(end_send(&b, pattern(lengths[i], i + 9), lengths[i]), 0);
        WAIT_FOR(a.count == i + 1);
        assert_frame(&a, i, lengths[i], i + 9);
    }
    assert_memory_equal(a.header, zeroes, sizeof(zeroes));
    end_close(&a);
    end_close(&b);
    assert_int_equal(access(path, F_OK), -1);
}

/* NET-22: what is no frame is dropped, and does not disturb what follows. */
static void socket_drops_what_is_no_frame(void **state)
{
    struct iovec none = {NULL, 0};
    struct end a, b;

    (void)state;
    end_open(&a, socket_options(""), 1);
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    assert_int_equal(end_send(&a, pattern(13, 1), 13), 0);
    assert_int_equal(end_send(&a, pattern(0, 1), 0), 0);
    assert_int_equal(end_send(&a, pattern(NET_FRAME_MAX + 1, 1), NET_FRAME_MAX + 1), 0);
    assert_int_equal(a.host->ops->send(a.host, 0, &none, 1), 0);
    assert_int_equal(a.host->ops->send(a.host, 0, NULL, 0), 0);
    assert_int_equal(end_send(&a, pattern(64, 2), 64), 0);
    WAIT_FOR(b.count == 1);
    run_ms(5);
    assert_int_equal(b.count, 1);
    assert_frame(&b, 0, 64, 2);
    end_close(&a);
    end_close(&b);
}

/* NET-30: dropped, not cut. */
static void socket_drops_what_does_not_fit(void **state)
{
    struct end a, b;

    (void)state;
    end_open(&a, socket_options(""), 1);
    end_open(&b, socket_options(""), 1);
    b.room = NET_HEADER_SIZE + 1514;
    run_ms(2);
    for (unsigned i = 0; i < 200; i++) /* more than are dropped in one go */
        while (end_send(&a, pattern(1515, i), 1515) == -EAGAIN)
            run_ms(1);
    while (end_send(&a, pattern(1514, 3), 1514) == -EAGAIN)
        run_ms(1);
    WAIT_FOR(b.count == 1);
    assert_frame(&b, 0, 1514, 3);
    end_close(&a);
    end_close(&b);
}

/* While the guest has no buffers nothing is read, and nothing is lost. */
static void socket_waits_for_room(void **state)
{
    struct end a, b;
    unsigned readable;

    (void)state;
    end_open(&a, socket_options(""), 1);
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    b.room = 0;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(end_send(&a, pattern(100 + i, i), 100 + i), 0);
    WAIT_FOR(b.readable > 0);
    readable = b.readable;
    run_ms(20);
    assert_int_equal(b.readable, readable); /* it is not asked in vain */
    b.room = sizeof(receive_buffer);
    b.host->ops->watch(b.host, 0, true);
    WAIT_FOR(b.count == 20);
    for (unsigned i = 0; i < 20; i++)
        assert_frame(&b, i, 100 + i, i);
    end_close(&a);
    end_close(&b);
}

/* Frames that were read and not taken are announced again: no descriptor would do that. */
static void socket_announces_what_it_holds(void **state)
{
    struct iovec iov = {receive_buffer, sizeof(receive_buffer)};
    struct end a, b;

    (void)state;
    end_open(&a, socket_options(""), 1);
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    b.host->ops->watch(b.host, 0, false);
    for (unsigned i = 0; i < 5; i++)
        end_send(&a, pattern(100, i), 100);
    run_ms(5);
    assert_int_equal(b.readable, 0);
    assert_int_equal(b.host->ops->receive(b.host, 0, &iov, 1), NET_HEADER_SIZE + 100);
    run_ms(5);
    assert_int_equal(b.readable, 0);
    b.host->ops->watch(b.host, 0, true);
    WAIT_FOR(b.count == 4);
    assert_frame(&b, 3, 100, 4);
    end_close(&a);
    end_close(&b);
}

static void socket_peers_come_back(void **state)
{
    struct end a, b, c;

    (void)state;
    end_open(&a, socket_options(""), 1); /* listens */
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    end_close(&b);
    run_ms(2);
    assert_int_equal(end_send(&a, pattern(60, 1), 60), 0); /* to nobody */
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    assert_int_equal(end_send(&a, pattern(60, 2), 60), 0);
    WAIT_FOR(b.count == 1);
    assert_frame(&b, 0, 60, 2);

    end_close(&a); /* b takes the place of the one that listened */
    WAIT_FOR(access(path, F_OK) == 0);
    end_open(&c, socket_options(""), 1);
    run_ms(2);
    assert_int_equal(end_send(&c, pattern(70, 3), 70), 0);
    WAIT_FOR(b.count == 2);
    assert_frame(&b, 1, 70, 3);
    end_close(&b);
    end_close(&c);
}

static void socket_roles(void **state)
{
    struct error err = ERROR_INIT;
    struct end a, b;

    (void)state;
    log_threshold = LOG_ERROR;
    end_open(&a, socket_options(",server=off"), 1); /* waits */
    assert_int_equal(access(path, F_OK), -1);
    end_open(&b, socket_options(",server=on"), 1);
    WAIT_FOR(end_send(&b, pattern(60, 1), 60) == 0 && a.count > 0);
    end_close(&a);
    assert_int_equal(end_create(&a, socket_options(",server=on"), 1, &err), 0);
    assert_int_equal(end_start(&a, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "cannot listen on"));
    end_close(&a);
    assert_int_equal(access(path, F_OK), 0);
    end_close(&b);
    log_threshold = LOG_WARN;
}

/* --- socket: somebody else at the other end --- */

static int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    run_ms(2);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Did the host side hang up? */
static bool raw_ended(int fd)
{
    uint8_t byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* The length, 32 bits, big-endian, then the frame: also when it comes byte by byte. */
static void socket_frames_as_qemu(void **state)
{
    uint8_t record[4 + 60] = {0, 0, 0, 60}, back[200];
    struct end end;
    int fd;

    (void)state;
    end_open(&end, socket_options(""), 1);
    fd = raw_connect();
    memcpy(record + 4, pattern(60, 5), 60);
    for (size_t i = 0; i < sizeof(record); i++) {
        assert_int_equal(end.count, 0);
        assert_int_equal(write(fd, record + i, 1), 1);
        run_ms(1);
    }
    WAIT_FOR(end.count == 1);
    assert_frame(&end, 0, 60, 5);
    assert_int_equal(write(fd, record, 64), 64);
    assert_int_equal(write(fd, record, 64), 64);
    WAIT_FOR(end.count == 3);

    assert_int_equal(end_send(&end, pattern(60, 5), 60), 0);
    assert_int_equal(read(fd, back, sizeof(back)), 64);
    assert_memory_equal(back, record, 64);
    close(fd);
    end_close(&end);
}

/* A length that cannot be ends the connection; the next one is taken. */
static void socket_hostile_lengths(void **state)
{
    static const uint8_t records[][8] = {
        {0, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff}, {0, 1, 0, 65}, {0x80, 0, 0, 60}};
    struct end end;

    (void)state;
    end_open(&end, socket_options(""), 1);
    for (size_t i = 0; i < ARRAY_SIZE(records); i++) {
        int fd = raw_connect();
        assert_false(raw_ended(fd));
        assert_int_equal(write(fd, records[i], 8), 8);
        WAIT_FOR(raw_ended(fd));
        close(fd);
    }
    assert_int_equal(end.count, 0);
    end_close(&end);
}

/* Somebody who comes and goes all the time does not fill the log. */
static void socket_quiet_about_many(void **state)
{
    int old = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
    static char text[16384];
    struct end end;
    unsigned lines = 0;
    ssize_t length;

    (void)state;
    end_open(&end, socket_options(""), 1);
    log_threshold = LOG_INFO;
    dup2(log, STDERR_FILENO);
    for (int i = 0; i < 60; i++) {
        close(raw_connect());
        run_ms(1);
    }
    dup2(old, STDERR_FILENO);
    log_threshold = LOG_WARN;
    length = pread(log, text, sizeof(text), 0);
    for (ssize_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    assert_in_range(lines, 2, 40);
    close(old);
    close(log);
    end_close(&end);
}

/* A peer that does not read: the guest has to wait, and then all of it arrives. */
static void socket_back_pressure(void **state)
{
    static uint8_t got[4 + 1514];
    struct end end;
    unsigned sent = 0, received = 0;
    int fd, ret;

    (void)state;
    end_open(&end, socket_options(""), 1);
    fd = raw_connect();
    while ((ret = end_send(&end, pattern(1514, sent), 1514)) == 0 && sent < 100000)
        sent++;
    assert_int_equal(ret, -EAGAIN);
    run_ms(5);
    assert_int_equal(end.writable, 0);
    for (size_t have = 0; received < sent;) {
        ssize_t n = read(fd, got + have, sizeof(got) - have);
        if (n < 0)
            run_ms(1);
        else
            have += (size_t)n;
        if (have == sizeof(got)) {
            assert_memory_equal(got + 4, pattern(1514, received), 1514);
            received++;
            have = 0;
        }
    }
    assert_int_equal(end.writable, 1);
    assert_int_equal(end_send(&end, pattern(60, 1), 60), 0);
    close(fd);
    end_close(&end);
}

/* Several pairs: frames come in on the first, whatever the others say; all that wait are told. */
static void socket_pairs(void **state)
{
    uint8_t header[NET_HEADER_SIZE] = {0};
    struct iovec out[2] = {{header, sizeof(header)}, {pattern(1514, 0), 1514}};
    struct iovec in = {receive_buffer, sizeof(receive_buffer)};
    struct end end;
    unsigned sent = 0;
    int fd;

    (void)state;
    end_open(&end, socket_options(""), 3);
    fd = raw_connect();
    end.host->ops->watch(end.host, 2, true);
    end.host->ops->watch(end.host, 2, false);
    assert_int_equal(write(fd, "\0\0\0\16abcdefghijklmn", 18), 18);
    assert_int_equal(end.host->ops->receive(end.host, 2, &in, 1), -EAGAIN);
    WAIT_FOR(end.count == 1);
    assert_int_equal(end.pairs, 1);

    while (end.host->ops->send(end.host, 1, out, 2) == 0 && sent < 100000)
        sent++;
    assert_int_equal(end.host->ops->send(end.host, 2, out, 2), -EAGAIN);
    while (read(fd, receive_buffer, sizeof(receive_buffer)) > 0)
        ;
    WAIT_FOR(end.writable == 3);
    close(fd);
    end_close(&end);
}

/* A peer that goes away while the guest waits for it. */
static void socket_loss_ends_waiting(void **state)
{
    struct end end;
    unsigned sent = 0;
    int fd;

    (void)state;
    end_open(&end, socket_options(""), 1);
    fd = raw_connect();
    while (end_send(&end, pattern(1514, 0), 1514) == 0 && sent < 100000)
        sent++;
    end.host->ops->watch(end.host, 0, false);
    close(fd);
    WAIT_FOR(end.writable == 1);
    assert_int_equal(end_send(&end, pattern(60, 1), 60), 0);
    end_close(&end);
}

static void socket_third_machine(void **state)
{
    struct end end;
    int first, third;

    (void)state;
    log_threshold = LOG_ERROR;
    end_open(&end, socket_options(""), 1);
    first = raw_connect();
    third = raw_connect();
    WAIT_FOR(raw_ended(third));
    assert_int_equal(end_send(&end, pattern(60, 1), 60), 0);
    assert_int_equal(read(first, receive_buffer, 100), 64);
    close(first);
    close(third);
    end_close(&end);
    log_threshold = LOG_WARN;
}

/* Killed programs leave their socket's name behind; other files are the user's. */
static void socket_names(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct error err = ERROR_INIT;
    struct end end;
    char text[300];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    strcpy(address.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    end_open(&end, socket_options(""), 1);
    close(raw_connect());
    end_close(&end);

    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(end_create(&end, socket_options(""), 1, &err), 0);
    assert_true(end_start(&end, &err) < 0);
    end_close(&end);
    assert_int_equal(unlink(path), 0);

    fd = open(directory, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0); /* by whoever may read it: no reason to hang */
    assert_int_equal(end_create(&end, socket_options(""), 1, &err), 0);
    assert_int_equal(end_start(&end, &err), -EBUSY);
    assert_non_null(strstr(err.text, "cannot lock the directory"));
    end_close(&end);
    close(fd);

    assert_int_equal(end_create(&end, "socket,path=/nonexistent/socket", 1, &err), 0);
    assert_int_equal(end_start(&end, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'/nonexistent/socket'"));
    end_close(&end);

    assert_refused("socket", 1, "host=socket needs path=PATH");
    snprintf(text, sizeof(text), "socket,path=/%0200d", 1);
    assert_refused(text, 1, "is longer than 107 bytes");
}

/* Neither a peer that is there and silent, nor one that is gone, costs processor time. */
static void socket_idle(void **state)
{
    struct rusage before, after;
    struct end a, b;

    (void)state;
    end_open(&a, socket_options(""), 1);
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    a.host->ops->watch(a.host, 0, false);
    end_close(&b);
    getrusage(RUSAGE_SELF, &before);
    run_ms(200);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw < 100);
    assert_true((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
                    (after.ru_utime.tv_usec - before.ru_utime.tv_usec) <
                50000);
    end_close(&a);
}

/* --- dump --- */

struct block {
    uint32_t type, length;
    const uint8_t *body;
};

/* The next block at *at: both lengths agree. */
static struct block next_block(const uint8_t *file, size_t size, size_t *at)
{
    struct block block = {load_le32(file + *at), load_le32(file + *at + 4), file + *at + 8};

    assert_true(block.length % 4 == 0 && block.length >= 12 && *at + block.length <= size);
    assert_int_equal(load_le32(file + *at + block.length - 4), block.length);
    *at += block.length;
    return block;
}

static void assert_packet(struct block block, unsigned direction, size_t length, unsigned seed)
{
    uint64_t seconds = ((uint64_t)load_le32(block.body + 4) << 32 | load_le32(block.body + 8)) /
                       UINT64_C(1000000000);
    const uint8_t *option = block.body + 20 + align_up(length, 4);

    assert_int_equal(block.type, 6);
    assert_int_equal(load_le32(block.body), 0);
    assert_true(llabs((long long)seconds - time(NULL)) < 10);
    assert_int_equal(load_le32(block.body + 12), length);
    assert_int_equal(load_le32(block.body + 16), length);
    assert_memory_equal(block.body + 20, pattern(length, seed), length);
    assert_int_equal(load_le16(option), 2);
    assert_int_equal(load_le16(option + 2), 4);
    assert_int_equal(load_le32(option + 4), direction);
    assert_int_equal(load_le32(option + 8), 0);
    assert_int_equal(block.length, 8 + 20 + align_up(length, 4) + 12 + 4);
}

static void dump_records_both_ways(void **state)
{
    static uint8_t file[65536];
    char dump[80], more[100];
    struct end a, b;
    struct block block;
    size_t size, at = 0;
    int fd;

    (void)state;
    snprintf(dump, sizeof(dump), "%s/dump.pcapng", directory);
    snprintf(more, sizeof(more), ",dump=%s", dump);
    end_open(&a, socket_options(more), 1);
    end_open(&b, socket_options(""), 1);
    run_ms(2);
    end_send(&a, pattern(61, 1), 61);
    end_send(&b, pattern(1514, 2), 1514);
    WAIT_FOR(a.count == 1 && b.count == 1);
    assert_frame(&a, 0, 1514, 2);
    end_send(&a, pattern(64, 3), 64);

    fd = open(dump, O_RDONLY); /* complete at any time */
    size = (size_t)read(fd, file, sizeof(file));
    close(fd);
    block = next_block(file, size, &at);
    assert_int_equal(block.type, 0x0a0d0d0a);
    assert_int_equal(load_le32(block.body), 0x1a2b3c4d);
    assert_int_equal(load_le32(block.body + 4), 1); /* 1.0 */
    block = next_block(file, size, &at);
    assert_int_equal(block.type, 1);
    assert_int_equal(load_le16(block.body), 1); /* Ethernet */
    assert_packet(next_block(file, size, &at), 2, 61, 1);
    assert_packet(next_block(file, size, &at), 1, 1514, 2);
    assert_packet(next_block(file, size, &at), 2, 64, 3);
    assert_int_equal(at, size);
    end_close(&a);
    end_close(&b);
    unlink(dump);
}

/* What a guest has to keep is recorded once, when it is sent. */
static void dump_records_no_refusal(void **state)
{
    char dump[80], more[100];
    struct stat status;
    struct end end;
    unsigned sent = 0;
    int fd;

    (void)state;
    snprintf(dump, sizeof(dump), "%s/dump.pcapng", directory);
    snprintf(more, sizeof(more), ",dump=%s", dump);
    end_open(&end, socket_options(more), 1);
    fd = raw_connect();
    while (end_send(&end, pattern(64, 0), 64) == 0 && sent < 1000000)
        sent++;
    assert_int_equal(end_send(&end, pattern(64, 0), 64), -EAGAIN);
    assert_int_equal(stat(dump, &status), 0);
    assert_int_equal(status.st_size, 28 + 32 + sent * (8 + 20 + 64 + 12 + 4));
    close(fd);
    end_close(&end);
    unlink(dump);
}

/* The capture ends, the network does not; whole blocks stay. */
static void dump_fails_alone(void **state)
{
    struct rlimit unlimited, limit = {28 + 32 + 150, RLIM_INFINITY};
    char dump[80], more[100];
    struct error err = ERROR_INIT;
    struct stat status;
    struct end a, b;

    (void)state;
    log_threshold = LOG_ERROR;
    end_open(&a, socket_options(",dump=/dev/full"), 1);
    snprintf(dump, sizeof(dump), "%s/dump.pcapng", directory);
    snprintf(more, sizeof(more), ",dump=%s", dump);
    end_open(&b, socket_options(more), 1);
    run_ms(2);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &unlimited);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(end_send(&a, pattern(64, i), 64), 0);
    WAIT_FOR(b.count == 3);
    assert_frame(&b, 2, 64, 2);
    setrlimit(RLIMIT_FSIZE, &unlimited);
    assert_int_equal(stat(dump, &status), 0);
    assert_int_equal(status.st_size, 28 + 32 + 108);
    end_close(&a);
    end_close(&b);
    unlink(dump);

    assert_int_equal(end_create(&a, "none,dump=/nonexistent/x", 1, &err), 0);
    assert_int_equal(end_start(&a, &err), -ENOENT);
    assert_non_null(strstr(err.text, "cannot write the capture file '/nonexistent/x'"));
    end_close(&a);
    log_threshold = LOG_WARN;
}

/* --------------------------------------------------------------------------------------------- */

static int make_directory(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/socket", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults),
        TEST(keys_belong_to_a_kind),
        TEST(none_takes_all_and_gives_nothing),
        TEST(socket_wires_two),
        TEST(socket_drops_what_is_no_frame),
        TEST(socket_drops_what_does_not_fit),
        TEST(socket_waits_for_room),
        TEST(socket_announces_what_it_holds),
        TEST(socket_peers_come_back),
        TEST(socket_roles),
        TEST(socket_frames_as_qemu),
        TEST(socket_hostile_lengths),
        TEST(socket_quiet_about_many),
        TEST(socket_back_pressure),
        TEST(socket_pairs),
        TEST(socket_loss_ends_waiting),
        TEST(socket_third_machine),
        TEST(socket_names),
        TEST(socket_idle),
        TEST(dump_records_both_ways),
        TEST(dump_records_no_refusal),
        TEST(dump_fails_alone),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
