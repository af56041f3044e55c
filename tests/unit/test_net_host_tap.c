/*
 * host=tap, against the kernel: in a user and a network namespace of our own, where no privileges
 * are needed. Packet sockets are the host's side of the interface.
 */
#include "net_host_rig.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define TEST_TYPE 0x88b5 /* IEEE: for experiments */

/* --- the host's side --- */

static void command(const char *text)
{
    if (system(text) != 0)
        fail_msg("'%s' failed", text);
}

/* Bring the interface up and open a packet socket there, with our header before each frame. */
static int packet_socket(const char *name)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    struct ifreq request = {0};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;

    assert_true(fd >= 0);
    strcpy(request.ifr_name, name);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags |= IFF_UP;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
    address.sll_ifindex = (int)if_nametoindex(name);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

#define PACKET_HEADER 10 /* struct virtio_net_hdr */

static uint8_t *test_frame(size_t length, unsigned seed)
{
    static uint8_t frame[PACKET_HEADER + 70000];
    uint8_t *ethernet = frame + PACKET_HEADER;

    memset(frame, 0, PACKET_HEADER);
    memset(ethernet, 0xff, 6);
    memcpy(ethernet + 6, (const uint8_t[]){2, 0, 0, 0, 0, 1}, 6);
    ethernet[12] = TEST_TYPE >> 8;
    ethernet[13] = TEST_TYPE & 0xff;
    for (size_t i = 14; i < length; i++)
        ethernet[i] = (uint8_t)(seed + i);
    return ethernet;
}

static void host_write(int fd, size_t length, unsigned seed)
{
    ssize_t size = (ssize_t)(PACKET_HEADER + length);
    assert_int_equal(write(fd, test_frame(length, seed) - PACKET_HEADER, (size_t)size), size);
}

/* The next frame of ours that the host got; the kernel may speak there, too. */
static ssize_t packet_read(int fd, uint8_t *out, size_t size)
{
    struct sockaddr_ll from;
    socklen_t from_size = sizeof(from);
    ssize_t got;

    while ((got = recvfrom(fd, out, size, 0, (struct sockaddr *)&from, &from_size)) >= 0)
        if (from.sll_pkttype != PACKET_OUTGOING && out[PACKET_HEADER + 12] == TEST_TYPE >> 8)
            return got;
    return -1;
}

static struct frame *ours(const struct end *end, unsigned index)
{
    for (unsigned i = 0; i < end->count; i++)
        if (end->frames[i]->length >= 14 && end->frames[i]->bytes[12] == TEST_TYPE >> 8 &&
            index-- == 0)
            return end->frames[i];
    return NULL;
}

/* The kernel takes no frames now, as behind a send buffer that is full. */
static bool writes_block;

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    if (!writes_block)
        return syscall(SYS_writev, fd, iov, count);
    errno = EAGAIN;
    return -1;
}

/* --- the network they run in --- */

static void put(const char *file, const char *format, unsigned value)
{
    FILE *out = fopen(file, "w");

    if (!out)
        return;
    fprintf(out, format, value);
    fclose(out);
}

/* Be root of a network that is empty, and have a /sys that shows it. */
static bool enter_namespace(void)
{
    unsigned uid = getuid(), gid = getgid();

    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0)
        return false;
    put("/proc/self/uid_map", "0 %u 1", uid);
    put("/proc/self/setgroups", "deny", 0);
    put("/proc/self/gid_map", "0 %u 1", gid);
    /* Else the kernel greets the neighbours of each new interface, some time or other. */
    put("/proc/sys/net/ipv6/conf/default/disable_ipv6", "%u", 1);
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("sysfs", "/sys", "sysfs", 0, NULL) == 0 &&
           access("/dev/net/tun", R_OK | W_OK) == 0;
}

static bool can_run;

static int prepare(void **state)
{
    (void)state;
    can_run = enter_namespace();
    if (!can_run)
        print_message(
            "# this host allows no namespaces or has no /dev/net/tun: in the lab, the case "
            "net_tap of the integration tests runs these\n");
    return 0;
}

static void need_tap(void)
{
    if (!can_run)
        skip();
}

/* --- tests --- */

static void frames_both_ways(void **state)
{
    static uint8_t got[70000];
    struct end end;
    ssize_t length = -1;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 1);
    host = packet_socket("vireo0");
    assert_int_equal(end_send(&end, test_frame(60, 1), 60), 0);
    WAIT_FOR((length = packet_read(host, got, sizeof(got))) >= 0);
    assert_int_equal(length, PACKET_HEADER + 60);
    assert_memory_equal(got + PACKET_HEADER, test_frame(60, 1), 60);

    host_write(host, 1514, 2);
    WAIT_FOR(ours(&end, 0));
    assert_int_equal(ours(&end, 0)->length, 1514);
    assert_memory_equal(ours(&end, 0)->bytes, test_frame(1514, 2), 1514);
    close(host);
    end_close(&end);
    assert_int_equal(if_nametoindex("vireo0"), 0); /* it was made by us: it goes with us */
}

/* NET-22, NET-30 */
static void bad_frames_are_dropped(void **state)
{
    static const struct virtio_net_hdr_v1 bad[] = {
        {.flags = 1, .csum_start = 60, .csum_offset = 60},
        {.gso_type = 1},
        {.gso_type = 0x55, .gso_size = 100},
        {.gso_type = 4, .gso_size = 1, .hdr_len = 65535},
        {.flags = 0xff, .gso_type = 3, .gso_size = 65535, .csum_start = 65535},
    };
    static uint8_t got[2000];
    struct end end;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 1);
    host = packet_socket("vireo0");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct iovec iov[2] = {{(void *)&bad[i], NET_HEADER_SIZE}, {test_frame(60, 0), 60}};
        assert_int_equal(end.host->ops->send(end.host, 0, iov, 2), 0);
    }
    assert_int_equal(end.host->ops->send(end.host, 0, NULL, 0), 0);
    assert_int_equal(end_send(&end, test_frame(13, 0), 13), 0);
    assert_int_equal(end_send(&end, test_frame(64, 9), 64), 0);
    WAIT_FOR(packet_read(host, got, sizeof(got)) == PACKET_HEADER + 64);

    end.room = NET_HEADER_SIZE + 100;
    host_write(host, 101, 1);
    host_write(host, 1514, 1);
    host_write(host, 100, 2);
    WAIT_FOR(ours(&end, 0));
    assert_int_equal(ours(&end, 0)->length, 100);
    close(host);
    end_close(&end);
}

/* A frame of more pieces than one system call takes. */
static void many_pieces(void **state)
{
    static struct iovec iov[1 + 1400];
    static uint8_t header[NET_HEADER_SIZE], got[2000];
    uint8_t *frame = test_frame(1400, 3);
    ssize_t length = -1;
    struct end end;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 1);
    host = packet_socket("vireo0");
    iov[0] = (struct iovec){header, sizeof(header)};
    for (size_t i = 0; i < 1400; i++)
        iov[1 + i] = (struct iovec){frame + i, 1};
    assert_int_equal(end.host->ops->send(end.host, 0, iov, 1401), 0);
    WAIT_FOR((length = packet_read(host, got, sizeof(got))) >= 0);
    assert_int_equal(length, PACKET_HEADER + 1400);
    assert_memory_equal(got + PACKET_HEADER, test_frame(1400, 3), 1400);
    close(host);
    end_close(&end);
}

/* A TCP segment of 3000 bytes to be cut into 1000. */
static uint8_t *tcp_frame(void)
{
    static uint8_t frame[PACKET_HEADER + 14 + 20 + 20 + 3000];
    uint8_t *ip = frame + PACKET_HEADER + 14;

    memset(frame, 0, sizeof(frame));
    frame[0] = 1; /* NEEDS_CSUM */
    frame[1] = 1; /* TCPV4 */
    store_le16(frame + 2, 54);
    store_le16(frame + 4, 1000);
    store_le16(frame + 6, 34);
    store_le16(frame + 8, 16);
    memset(frame + PACKET_HEADER, 2, 12);
    frame[PACKET_HEADER + 12] = 8;
    memcpy(ip, (const uint8_t[]){0x45, 0, (3040 >> 8), 3040 & 0xff, 0, 1, 0,  0, 64, 6,
                                 0,    0, 10,          1,           0, 1, 10, 1, 0,  2},
           20);
    ip[20 + 12] = 5 << 4;
    ip[20 + 13] = 16;
    return frame;
}

/* NET-25, NET-26: what the guest takes comes whole; what it does not take, in pieces. */
static void offloads_from_the_host(void **state)
{
    const unsigned tcp = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4;
    const size_t size = PACKET_HEADER + 14 + 20 + 20 + 3000;
    struct end end;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 1);
    host = packet_socket("vireo0");
    end.host->ops->set_offloads(end.host, tcp);
    assert_int_equal(write(host, tcp_frame(), size), size);
    WAIT_FOR(end.count > 0 && end.frames[end.count - 1]->length == 3054);
    assert_int_equal(end.header[0], 1);
    assert_int_equal(end.header[1], 1);
    assert_int_equal(load_le16(end.header + 4), 1000);
    end_forget(&end);

    end.host->ops->set_offloads(end.host, 0);
    assert_int_equal(write(host, tcp_frame(), size), size);
    WAIT_FOR(end.count >= 3);
    assert_int_equal(end.frames[0]->length, 1054);
    assert_int_equal(end.header[0], 0);
    assert_int_equal(end.header[1], 0);
    close(host);
    end_close(&end);
}

/* HOST_TSO4 and HOST_USO: frames that need more work are taken as offloads() says. */
static void offloads_to_the_host(void **state)
{
    static uint8_t got[70000];
    uint8_t header[NET_HEADER_SIZE] = {0};
    struct iovec iov[2] = {{header, sizeof(header)}, {tcp_frame() + PACKET_HEADER, 3054}};
    ssize_t length = -1;
    struct end end;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 1);
    assert_int_equal(end.host->ops->offloads(end.host) & 0xf,
                     NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN);
    host = packet_socket("vireo0");
    memcpy(header, tcp_frame(), PACKET_HEADER);
    assert_int_equal(end.host->ops->send(end.host, 0, iov, 2), 0);
    for (int i = 0; i < 1000 && length != PACKET_HEADER + 3054; i++) {
        run_ms(1);
        length = recv(host, got, sizeof(got), 0);
    }
    assert_int_equal(length, PACKET_HEADER + 3054);
    assert_int_equal(got[1], 1);
    assert_int_equal(load_le16(got + 4), 1000);
    close(host);
    end_close(&end);
}

/* NET-36, NETC-08: queues beyond those in use get nothing. */
static void pairs(void **state)
{
    static uint8_t got[2000];
    uint8_t header[NET_HEADER_SIZE] = {0};
    struct iovec iov[2] = {{header, sizeof(header)}, {test_frame(60, 0), 60}};
    struct end end;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 4);
    host = packet_socket("vireo0");
    for (unsigned count = 4; count >= 1; count--) {
        end.host->ops->set_pairs(end.host, count);
        for (unsigned i = 0; i < 4; i++)
            end.host->ops->watch(end.host, i, true);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(end.host->ops->send(end.host, i, iov, 2), 0);
            WAIT_FOR(packet_read(host, got, sizeof(got)) > 0);
        }
        end.pairs = 0;
        for (unsigned i = 0; i < 64; i++) { /* the hash looks at addresses */
            uint8_t *frame = tcp_frame();
            memset(frame, 0, 2);
            frame[PACKET_HEADER + 14 + 20 + 1] = (uint8_t)i;
            frame[PACKET_HEADER + 14 + 19] = (uint8_t)(i * 13);
            frame[PACKET_HEADER + 14 + 2] = 0;
            frame[PACKET_HEADER + 14 + 3] = 40;
            assert_true(write(host, frame, PACKET_HEADER + 60) > 0);
        }
        run_ms(20);
        assert_int_equal(end.pairs & ~((1u << count) - 1), 0);
        assert_true(end.pairs != 0);
        if (count > 1)
            assert_true(end.pairs & (end.pairs - 1)); /* more than one of them */
        end_forget(&end);
    }
    close(host);
    end_close(&end);
}

/* No room: not asked again, no processor time, and the interface keeps what came. */
static void waits_for_room(void **state)
{
    struct rusage before, after;
    struct end end;
    unsigned readable;
    int host;

    (void)state;
    need_tap();
    end_open(&end, "tap,ifname=vireo0", 1);
    host = packet_socket("vireo0");
    end.room = 0;
    for (unsigned i = 0; i < 50; i++)
        host_write(host, 100, i);
    run_ms(10);
    readable = end.readable;
    assert_int_equal(readable, 1);
    getrusage(RUSAGE_SELF, &before);
    run_ms(100);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(end.readable, readable);
    assert_true(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw < 100);
    end.room = sizeof(receive_buffer);
    end.host->ops->watch(end.host, 0, true);
    WAIT_FOR(ours(&end, 49));
    assert_memory_equal(ours(&end, 49)->bytes, test_frame(100, 49), 100);
    close(host);
    end_close(&end);
}

/* An interface that goes away: said once, and then silence. */
static void deleted_interface(void **state)
{
    struct end end;
    struct rusage before, after;

    (void)state;
    need_tap();
    log_threshold = LOG_ERROR;
    end_open(&end, "tap,ifname=vireo0", 1);
    command("ip link delete vireo0");
    fflush(stderr);
    run_ms(10);
    getrusage(RUSAGE_SELF, &before);
    run_ms(100);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw < 50);
    assert_int_equal(end_send(&end, test_frame(60, 0), 60), 0);
    end.host->ops->set_offloads(end.host, 0);
    end.host->ops->watch(end.host, 0, false);
    end.host->ops->watch(end.host, 0, true);
    run_ms(5);
    end_close(&end);
    log_threshold = LOG_WARN;
}

/* Frames that wait when the interface goes away wait no longer, on any pair. */
static void deleted_while_blocked(void **state)
{
    uint8_t header[NET_HEADER_SIZE] = {0};
    struct iovec iov[2] = {{header, sizeof(header)}, {test_frame(60, 0), 60}};
    struct end end;

    (void)state;
    need_tap();
    log_threshold = LOG_ERROR;
    end_open(&end, "tap,ifname=vireo0", 3);
    end.host->ops->set_pairs(end.host, 3);
    writes_block = true;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(end.host->ops->send(end.host, i, iov, 2), -EAGAIN);
    writes_block = false;
    command("ip link delete vireo0");
    WAIT_FOR(end.writable == 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(end.host->ops->send(end.host, i, iov, 2), 0);
    end_close(&end);
    log_threshold = LOG_WARN;
}

static int open_tun(const char *name, int flags)
{
    struct ifreq request = {.ifr_flags = (short)flags};
    int fd;

    need_tap();
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    strcpy(request.ifr_name, name);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    return fd;
}

static void inherited_descriptors(void **state)
{
    const int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    int a = open_tun("vireo2", flags), b = open_tun("vireo2", flags);
    int no_header = open_tun("vireo3", IFF_TAP | IFF_NO_PI), tun = open_tun("vireo4", IFF_TUN);
    static uint8_t got[2000];
    char text[100];
    struct end end;
    int host;

    (void)state;
    snprintf(text, sizeof(text), "tap,fd=%d,fd=%d", a, b);
    assert_refused(text, 1, "fd: given 2 times, but there are 1 pairs of queues");
    end_open(&end, text, 2);
    host = packet_socket("vireo2");
    assert_int_equal(end_send(&end, test_frame(60, 0), 60), 0);
    WAIT_FOR(packet_read(host, got, sizeof(got)) == PACKET_HEADER + 60);
    close(host);
    end_close(&end);

    snprintf(text, sizeof(text), "tap,fd=%d", a);
    assert_refused(text, 2, "fd: given 1 times, but there are 2 pairs of queues");
    snprintf(text, sizeof(text), "tap,fd=%d", no_header);
    assert_refused(text, 1, "was opened without IFF_NO_PI and IFF_VNET_HDR");
    snprintf(text, sizeof(text), "tap,fd=%d", tun);
    assert_refused(text, 1, "is no TAP interface");
    assert_refused("tap,fd=0", 1, "fd: '0' is no TAP interface");
    assert_refused("tap,fd=999", 1, "fd: cannot use '999': Bad file descriptor");
    assert_refused("tap,fd=x", 1, "fd: 'x' is not a number");
    assert_refused("tap,fd=-1", 1, "is not a number");
    close(a);
    close(b);
    close(no_header);
    close(tun);
}

static void refusals(void **state)
{
    int busy = open_tun("vireo5", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    int tun = open_tun("vireo6", IFF_TUN | IFF_NO_PI);
    struct end end;

    (void)state;
    assert_refused("tap", 1, "host=tap needs either ifname=NAME or fd=N");
    assert_refused("tap,ifname=a,fd=3", 1, "either ifname=NAME or fd=N");
    assert_refused("tap,ifname=abcdefghijklmnop", 1, "is no name for an interface");
    assert_refused("tap,ifname=a/b", 1, "is no name for an interface");
    assert_refused("tap,ifname=lo", 1, "the interface 'lo' is no TAP interface");
    assert_refused("tap,ifname=vireo6", 1, "the interface 'vireo6' is no TAP interface");
    assert_refused("tap,ifname=vireo5", 1, "'vireo5' is in use by another program");
    assert_refused("tap,ifname=vireo5", 2, "'vireo5' has one queue only, 2 are asked for");
    close(busy);
    close(tun);

    command("ip tuntap add dev vireo7 mode tap multi_queue");
    end_open(&end, "tap,ifname=vireo7", 1); /* as it was made */
    end_close(&end);
    assert_true(if_nametoindex("vireo7") > 0); /* it is not ours */
    command("ip link delete vireo7");
}

/* As a process without privileges would find it. */
static bool drop_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};

    return syscall(SYS_capset, &header, none) == 0;
}

static void no_permission(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    need_tap();
    if (child == 0) {
        struct error err = ERROR_INIT;
        struct end end;
        int ret;

        if (!drop_privileges())
            _exit(2);
        ret = end_create(&end, "tap,ifname=vireo8", 1, &err);
        _exit(ret == -EPERM && strstr(err.text, "no permission for the interface 'vireo8'") ? 0
                                                                                            : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_both_ways),
        TEST(bad_frames_are_dropped),
        TEST(many_pieces),
        TEST(offloads_from_the_host),
        TEST(offloads_to_the_host),
        TEST(pairs),
        TEST(waits_for_room),
        TEST(deleted_interface),
        TEST(deleted_while_blocked),
        TEST(inherited_descriptors),
        TEST(refusals),
        TEST(no_permission),
    };

    return cmocka_run_group_tests(tests, prepare, NULL);
}
