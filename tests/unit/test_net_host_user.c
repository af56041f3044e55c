/*
 * host=user through the module: a guest made of hand-written frames against libslirp.
 */
#include "net_host_rig.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t gateway_mac[6] = {0x52, 0x55, 10, 0, 2, 2};
static const uint8_t guest_ip[4] = {10, 0, 2, 15};
static const uint8_t gateway_ip[4] = {10, 0, 2, 2};
static struct end end;

enum { ETH_IPV4 = 0x0800, ETH_ARP = 0x0806, ETH_IPV6 = 0x86dd };
enum { IP_ICMP = 1, IP_TCP = 6, IP_UDP = 17, IP_ICMP6 = 58 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PUSH = 8, TCP_ACK = 16 };

/* --- frames --- */

static uint32_t sum(const uint8_t *data, size_t length, uint32_t start)
{
    for (size_t i = 0; i < length; i++)
        start += i & 1 ? data[i] : (uint32_t)data[i] << 8;
    return start;
}

static uint16_t fold(uint32_t total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return ~total & 0xffff;
}

static void put_ethernet(uint8_t *frame, const uint8_t *to, unsigned type)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, guest_mac, 6);
    store_be16(frame + 12, type);
}

static void send_ipv4(const uint8_t *to, uint8_t protocol, const void *payload, size_t length)
{
    static uint8_t frame[2048];
    uint8_t *ip = frame + 14;

    memset(frame, 0, 34);
    put_ethernet(frame, gateway_mac, ETH_IPV4);
    ip[0] = 0x45;
    store_be16(ip + 2, (unsigned)(20 + length));
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, guest_ip, 4);
    memcpy(ip + 16, to, 4);
    store_be16(ip + 10, fold(sum(ip, 20, 0)));
    memcpy(ip + 20, payload, length);
    assert_int_equal(end_send(&end, frame, 34 + length), 0);
}

static uint32_t pseudo(const uint8_t *to, uint8_t protocol, size_t length)
{
    return sum(guest_ip, 4, sum(to, 4, (uint32_t)protocol + (uint32_t)length));
}

static void send_udp(const uint8_t *to, unsigned from_port, unsigned to_port, const void *data,
                     size_t length)
{
    uint8_t udp[1500] = {0};

    store_be16(udp, from_port);
    store_be16(udp + 2, to_port);
    store_be16(udp + 4, (unsigned)(8 + length));
    memcpy(udp + 8, data, length);
    store_be16(udp + 6, fold(sum(udp, 8 + length, pseudo(to, IP_UDP, 8 + length))));
    send_ipv4(to, IP_UDP, udp, 8 + length);
}

struct tcp {
    uint8_t peer[4];
    unsigned port, peer_port;
    uint32_t next, peer_next;
};

static void send_tcp(struct tcp *c, unsigned flags, const char *data)
{
    uint8_t tcp[1500] = {0};
    size_t length = strlen(data);

    store_be16(tcp, c->port);
    store_be16(tcp + 2, c->peer_port);
    store_be32(tcp + 4, c->next);
    store_be32(tcp + 8, c->peer_next);
    tcp[12] = 5 << 4;
    tcp[13] = (uint8_t)flags;
    store_be16(tcp + 14, 8192);
    memcpy(tcp + 20, data, length);
    store_be16(tcp + 16, fold(sum(tcp, 20 + length, pseudo(c->peer, IP_TCP, 20 + length))));
    send_ipv4(c->peer, IP_TCP, tcp, 20 + length);
    c->next += (uint32_t)length + (flags & (TCP_SYN | TCP_FIN) ? 1 : 0);
}

/* Frames until now that are not looked at any more. */
static unsigned seen;

/* Answer what is asked by ARP of the guest: without it nothing is sent to it. */
static void answer_arp(const uint8_t *frame)
{
    uint8_t reply[42];

    if (load_be16(frame + 20) != 1 || memcmp(frame + 38, guest_ip, 4) != 0)
        return;
    memcpy(reply, frame, 42);
    put_ethernet(reply, frame + 6, ETH_ARP);
    store_be16(reply + 20, 2);
    memcpy(reply + 22, guest_mac, 6);
    memcpy(reply + 28, guest_ip, 4);
    memcpy(reply + 32, frame + 22, 10);
    end_send(&end, reply, 42);
}

/* The payload of the next IPv4 packet of that protocol from `port` (0: any); NULL: none yet. */
static const uint8_t *next_ipv4(uint8_t protocol, unsigned port, size_t *length)
{
    while (seen < end.count) {
        const struct frame *frame = end.frames[seen++];
        const uint8_t *ip = frame->bytes + 14;

        if (load_be16(frame->bytes + 12) == ETH_ARP)
            answer_arp(frame->bytes);
        if (load_be16(frame->bytes + 12) != ETH_IPV4 || ip[9] != protocol ||
            (port && load_be16(ip + 20) != port))
            continue;
        assert_int_equal(fold(sum(ip, 20, 0)), 0); /* checksums are complete */
        *length = load_be16(ip + 2) - 20;
        return ip + 20;
    }
    return NULL;
}

static const uint8_t *await_ipv4(uint8_t protocol, unsigned port, size_t *length)
{
    const uint8_t *payload = NULL;

    WAIT_FOR((payload = next_ipv4(protocol, port, length)) != NULL);
    return payload;
}

/* --- the network --- */

static void network_open(const char *options)
{
    uint8_t arp[42] = {[14] = 0, 1, 8, 0, 6, 4, 0, 1};

    seen = 0;
    end_open(&end, options, 1);
    put_ethernet(arp, (const uint8_t[]){255, 255, 255, 255, 255, 255}, ETH_ARP);
    memcpy(arp + 22, guest_mac, 6);
    memcpy(arp + 28, guest_ip, 4);
    memcpy(arp + 38, gateway_ip, 4);
    end_send(&end, arp, 42);
    if (end.options.host.gateway)
        return;
    WAIT_FOR(end.count > 0);
    assert_int_equal(load_be16(end.frames[0]->bytes + 12), ETH_ARP);
    assert_memory_equal(end.frames[0]->bytes + 22, gateway_mac, 6);
    assert_memory_equal(end.frames[0]->bytes + 28, gateway_ip, 4);
}

/* Of a DHCP message. */
static const uint8_t *dhcp_option(const uint8_t *message, size_t length, uint8_t code)
{
    for (size_t i = 240; i + 2 < length && message[i] != 255; i += 2u + message[i + 1])
        if (message[i] == code)
            return message + i + 2;
    return NULL;
}

static const uint8_t *dhcp_ask(uint8_t type, size_t *length)
{
    static const uint8_t everybody[4] = {255, 255, 255, 255};
    uint8_t message[300] = {1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78};
    const uint8_t *reply;

    memcpy(message + 28, guest_mac, 6);
    memcpy(message + 236, (const uint8_t[]){0x63, 0x82, 0x53, 0x63, 53, 1, type, 255}, 8);
    send_udp(everybody, 68, 67, message, sizeof(message));
    reply = await_ipv4(IP_UDP, 67, length);
    *length -= 8;
    assert_memory_equal(reply + 8 + 4, message + 4, 4);
    return reply + 8;
}

static void dhcp(void **state)
{
    const uint8_t *reply, *option;
    size_t length;

    (void)state;
    network_open("user,hostname=vireo-guest,domainname=example.org,dnssearch=a.example");
    reply = dhcp_ask(1, &length);
    assert_int_equal(*dhcp_option(reply, length, 53), 2); /* offer */
    assert_memory_equal(reply + 16, guest_ip, 4);
    option = dhcp_option(reply, length, 3);
    assert_non_null(option);
    assert_memory_equal(option, gateway_ip, 4);
    option = dhcp_option(reply, length, 6);
    assert_non_null(option);
    assert_memory_equal(option, ((const uint8_t[]){10, 0, 2, 3}), 4);
    option = dhcp_option(reply, length, 12);
    assert_non_null(option);
    assert_memory_equal(option, "vireo-guest", 11);
    option = dhcp_option(reply, length, 15);
    assert_non_null(option);
    assert_memory_equal(option, "example.org", 11);
    option = dhcp_option(reply, length, 119);
    assert_non_null(option);
    assert_memory_equal(option, "\1a\7example", 10);
    reply = dhcp_ask(3, &length);
    assert_int_equal(*dhcp_option(reply, length, 53), 5); /* acknowledged */
    end_close(&end);
}

static void dhcp_of_another_network(void **state)
{
    const uint8_t *reply;
    size_t length;

    (void)state;
    network_open("user,net=192.168.7.0/24,gateway=192.168.7.1,dns=192.168.7.9,"
                 "dhcpstart=192.168.7.100");
    reply = dhcp_ask(1, &length);
    assert_memory_equal(reply + 16, ((const uint8_t[]){192, 168, 7, 100}), 4);
    assert_memory_equal(dhcp_option(reply, length, 1), ((const uint8_t[]){255, 255, 255, 0}), 4);
    assert_memory_equal(dhcp_option(reply, length, 3), ((const uint8_t[]){192, 168, 7, 1}), 4);
    assert_memory_equal(dhcp_option(reply, length, 6), ((const uint8_t[]){192, 168, 7, 9}), 4);
    end_close(&end);
}

static void echo_of_the_gateway(void **state)
{
    uint8_t echo[64] = {8, 0, 0, 0, 0x12, 0x34, 0, 1, 'v', 'i', 'r', 'e', 'o'};
    const uint8_t *reply;
    size_t length;

    (void)state;
    network_open("user");
    assert_int_equal(end.host->ops->offloads(end.host), 0);
    store_be16(echo + 2, fold(sum(echo, sizeof(echo), 0)));
    send_ipv4(gateway_ip, IP_ICMP, echo, sizeof(echo));
    reply = await_ipv4(IP_ICMP, 0, &length);
    assert_int_equal(length, sizeof(echo));
    assert_int_equal(reply[0], 0);
    assert_memory_equal(reply + 4, echo + 4, sizeof(echo) - 4);
    end_close(&end);
}

static void router_of_ipv6(void **state)
{
    static const uint8_t routers[6] = {0x33, 0x33, 0, 0, 0, 2};
    uint8_t frame[14 + 40 + 16] = {0}, *ip = frame + 14;
    const uint8_t *found = NULL;

    (void)state;
    network_open("user,ipv6-net=fd00:1::");
    put_ethernet(frame, routers, ETH_IPV6);
    ip[0] = 0x60;
    ip[5] = 16;
    ip[6] = IP_ICMP6;
    ip[7] = 255;
    ip[8] = 0xfe;
    ip[9] = 0x80;
    ip[23] = 9;
    ip[24] = 0xff;
    ip[25] = 2;
    ip[39] = 2;
    memcpy(ip + 40, (const uint8_t[]){133, 0, 0, 0, 0, 0, 0, 0, 1, 1}, 10);
    memcpy(ip + 50, guest_mac, 6);
    store_be16(ip + 42, fold(sum(ip + 40, 16, sum(ip + 8, 32, 16 + IP_ICMP6))));
    end_send(&end, frame, sizeof(frame));
    for (int i = 0; i < 1000 && !found; i++) {
        run_ms(1);
        for (unsigned n = 0; n < end.count; n++)
            if (load_be16(end.frames[n]->bytes + 12) == ETH_IPV6 &&
                end.frames[n]->bytes[14 + 40] == 134)
                found = memmem(end.frames[n]->bytes, end.frames[n]->length, "\xfd\0\0\1", 4);
    }
    assert_non_null(found); /* an advertisement of the prefix */
    end_close(&end);
}

/* --- connections --- */

static int listen_locally(int type, unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static unsigned free_port(void)
{
    unsigned port;

    close(listen_locally(SOCK_STREAM, &port));
    return port;
}

static int connect_locally(int family, int type, unsigned port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    v4.sin_port = v6.sin6_port = htons((uint16_t)port);
    assert_int_equal(connect(fd,
                             family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
                             family == AF_INET ? sizeof(v4) : sizeof(v6)),
                     0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static ssize_t await_bytes(int fd, void *buffer, size_t size)
{
    ssize_t got = -1;

    WAIT_FOR((got = read(fd, buffer, size)) >= 0);
    return got;
}

/* The guest connects: both have said SYN. False: it was refused. */
static bool tcp_connect(struct tcp *c, const uint8_t *peer, unsigned port)
{
    static unsigned next_port = 40000;
    const uint8_t *tcp;
    size_t length;

    *c = (struct tcp){.port = next_port++, .peer_port = port, .next = 1000};
    memcpy(c->peer, peer, 4);
    send_tcp(c, TCP_SYN, "");
    tcp = await_ipv4(IP_TCP, port, &length);
    if (tcp[13] & TCP_RST)
        return false;
    assert_int_equal(tcp[13], TCP_SYN | TCP_ACK);
    assert_int_equal(load_be32(tcp + 8), c->next);
    c->peer_next = load_be32(tcp + 4) + 1;
    send_tcp(c, TCP_ACK, "");
    return true;
}

/* What the peer says next must be `text`. */
static void tcp_expect(struct tcp *c, const char *text)
{
    size_t length, header, done = 0;

    while (done < strlen(text)) {
        const uint8_t *tcp = await_ipv4(IP_TCP, c->peer_port, &length);

        header = (size_t)(tcp[12] >> 4) * 4;
        if (length == header || load_be32(tcp + 4) != c->peer_next)
            continue;
        assert_true(done + length - header <= strlen(text));
        assert_memory_equal(tcp + header, text + done, length - header);
        done += length - header;
        c->peer_next += (uint32_t)(length - header);
        send_tcp(c, TCP_ACK, "");
    }
}

/* The host's own ports are reached by the gateway's address. */
static void guest_reaches_the_host(void **state)
{
    unsigned tcp_port, udp_port;
    int tcp = listen_locally(SOCK_STREAM, &tcp_port), udp = listen_locally(SOCK_DGRAM, &udp_port);
    struct sockaddr_in from;
    socklen_t from_size = sizeof(from);
    const uint8_t *reply;
    char text[100];
    struct tcp c;
    size_t length;
    int fd = -1;

    (void)state;
    network_open("user");
    assert_true(tcp_connect(&c, gateway_ip, tcp_port));
    WAIT_FOR((fd = accept4(tcp, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    send_tcp(&c, TCP_ACK | TCP_PUSH, "hello");
    assert_int_equal(await_bytes(fd, text, sizeof(text)), 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(write(fd, "welcome", 7), 7);
    tcp_expect(&c, "welcome");
    send_tcp(&c, TCP_ACK | TCP_FIN, "");
    assert_int_equal(await_bytes(fd, text, sizeof(text)), 0);
    close(fd);

    send_udp(gateway_ip, 5000, udp_port, "ping", 4);
    WAIT_FOR(recvfrom(udp, text, sizeof(text), 0, (struct sockaddr *)&from, &from_size) == 4);
    assert_int_equal(sendto(udp, "pong!", 5, 0, (struct sockaddr *)&from, from_size), 5);
    reply = await_ipv4(IP_UDP, udp_port, &length);
    assert_int_equal(length, 8 + 5);
    assert_memory_equal(reply + 8, "pong!", 5);
    end_close(&end);
    close(tcp);
    close(udp);
}

static void hostfwd_leads_to_the_guest(void **state)
{
    unsigned tcp_port = free_port(), udp_port = free_port(), any_port = free_port();
    const uint8_t *packet;
    struct tcp c = {.port = 22, .next = 7000};
    char text[200];
    size_t length;
    int fd, udp, any;

    (void)state;
    snprintf(text, sizeof(text),
             "user,hostfwd=tcp:127.0.0.1:%u-:22,hostfwd=udp:127.0.0.1:%u-10.0.2.15:53,hostfwd=::%u-"
             ":80",
             tcp_port, udp_port, any_port);
    network_open(text);
    fd = connect_locally(AF_INET, SOCK_STREAM, tcp_port);
    packet = await_ipv4(IP_TCP, 0, &length);
    assert_int_equal(load_be16(packet + 2), 22);
    assert_int_equal(packet[13], TCP_SYN);
    c.peer_port = load_be16(packet);
    c.peer_next = load_be32(packet + 4) + 1;
    memcpy(c.peer, gateway_ip, 4);
    send_tcp(&c, TCP_SYN | TCP_ACK, "");
    send_tcp(&c, TCP_ACK | TCP_PUSH, "SSH-2.0");
    assert_int_equal(await_bytes(fd, text, sizeof(text)), 7);
    assert_int_equal(write(fd, "me too", 6), 6);
    tcp_expect(&c, "me too");
    close(fd);

    udp = connect_locally(AF_INET, SOCK_DGRAM, udp_port);
    assert_int_equal(write(udp, "query", 5), 5);
    packet = await_ipv4(IP_UDP, 0, &length);
    assert_int_equal(load_be16(packet + 2), 53);
    assert_memory_equal(packet + 8, "query", 5);
    close(udp);

    any = connect_locally(AF_INET, SOCK_STREAM, any_port);
    do
        packet = await_ipv4(IP_TCP, 0, &length);
    while (load_be16(packet + 2) != 80);
    close(any);
    end_close(&end);
}

static void hostfwd_of_ipv6(void **state)
{
    unsigned port = free_port();
    char text[100];

    (void)state;
    snprintf(text, sizeof(text), "user,hostfwd=tcp:[::1]:%u-[fec0::15]:22", port);
    network_open(text);
    close(connect_locally(AF_INET6, SOCK_STREAM, port));
    end_close(&end);
}

static void hostfwd_in_use(void **state)
{
    struct error err = ERROR_INIT;
    char text[100], start[100];
    unsigned port;
    int fd = listen_locally(SOCK_STREAM, &port);

    (void)state;
    snprintf(text, sizeof(text), "user,hostfwd=tcp:127.0.0.1:%u-:22", port);
    snprintf(start, sizeof(start),
             "hostfwd: 'tcp:127.0.0.1:%u-:22': cannot listen: Address already", port);
    assert_int_equal(end_create(&end, text, 1, &err), 0);
    assert_int_equal(end_start(&end, &err), -EADDRINUSE);
    assert_memory_equal(err.text, start, strlen(start));
    end_close(&end);
    close(fd);
}

static const uint8_t service_ip[4] = {10, 0, 2, 100};

static void guestfwd_to_a_command(void **state)
{
    sigset_t blocked;
    struct tcp c[3];

    (void)state;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL); /* as on our threads */
    network_open(
        "user,guestfwd=tcp:10.0.2.100:80-cmd:cat,"
        "guestfwd=tcp:10.0.2.100:81-cmd:sleep 0.05; sed -n s/SigBlk:.//p /proc/self/status");
    for (int i = 0; i < 2; i++)
        assert_true(tcp_connect(&c[i], service_ip, 80));
    send_tcp(&c[1], TCP_ACK | TCP_PUSH, "said second");
    tcp_expect(&c[1], "said second");
    send_tcp(&c[0], TCP_ACK | TCP_PUSH, "said first");
    tcp_expect(&c[0], "said first");
    assert_true(tcp_connect(&c[2], service_ip, 81));
    tcp_expect(&c[2], "0000000000000000\n");
    pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
    end_close(&end);
}

static void guestfwd_to_a_unix_socket(void **state)
{
    char path[] = "/tmp/vireo-fwd-XXXXXX", text[100], options[100];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = -1, listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct tcp c;

    (void)state;
    close(mkstemp(path));
    unlink(path);
    strcpy(address.sun_path, path);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    snprintf(options, sizeof(options), "user,guestfwd=:10.0.2.100:80-unix:%s", path);
    network_open(options);
    assert_true(tcp_connect(&c, service_ip, 80));
    WAIT_FOR((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    send_tcp(&c, TCP_ACK | TCP_PUSH, "to unix");
    assert_int_equal(await_bytes(fd, text, sizeof(text)), 7);
    assert_int_equal(write(fd, "from unix", 9), 9);
    tcp_expect(&c, "from unix");
    close(fd);
    close(listener);
    unlink(path);
    end_close(&end);
}

/* Each connection of the guest is one of the host; both may be half closed; nothing is left. */
static void guestfwd_to_a_port(void **state)
{
    unsigned port;
    int listener = listen_locally(SOCK_STREAM, &port), fds[2] = {-1, -1};
    char text[100];
    struct tcp c[2];

    (void)state;
    snprintf(text, sizeof(text), "user,restrict=on,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:%u",
             port);
    network_open(text);
    for (int i = 0; i < 2; i++) {
        assert_true(tcp_connect(&c[i], service_ip, 80));
        WAIT_FOR((fds[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    }
    send_tcp(&c[1], TCP_ACK | TCP_PUSH, "second");
    assert_int_equal(await_bytes(fds[1], text, sizeof(text)), 6);
    send_tcp(&c[0], TCP_ACK | TCP_PUSH, "first");
    assert_int_equal(await_bytes(fds[0], text, sizeof(text)), 5);
    send_tcp(&c[0], TCP_ACK | TCP_FIN, "");
    assert_int_equal(await_bytes(fds[0], text, sizeof(text)), 0);
    assert_int_equal(write(fds[0], "still here", 10), 10);
    tcp_expect(&c[0], "still here");
    close(fds[0]);
    run_ms(20);
    end_close(&end); /* the other connection with it */
    assert_int_equal(await_bytes(fds[1], text, sizeof(text)), 0);
    close(fds[1]);
    close(listener);
}

/* Nothing but what the options name. */
static void restricted(void **state)
{
    unsigned tcp_port, udp_port;
    int tcp = listen_locally(SOCK_STREAM, &tcp_port), udp = listen_locally(SOCK_DGRAM, &udp_port);
    char text[8];
    struct tcp c;
    size_t length;

    (void)state;
    network_open("user,restrict=on,guestfwd=tcp:10.0.2.100:80-cmd:cat");
    c = (struct tcp){.port = 39000, .peer_port = tcp_port, .next = 1};
    memcpy(c.peer, gateway_ip, 4);
    send_tcp(&c, TCP_SYN, "");
    send_udp(gateway_ip, 5000, udp_port, "x", 1);
    for (int i = 0; i < 50; i++) {
        const uint8_t *packet = next_ipv4(IP_TCP, tcp_port, &length);
        run_ms(1);
        assert_true(!packet || packet[13] & TCP_RST);
    }
    assert_int_equal(accept(tcp, NULL, NULL), -1);
    assert_int_equal(recv(udp, text, sizeof(text), 0), -1);
    dhcp_ask(1, &length); /* that it may */
    assert_true(tcp_connect(&c, service_ip, 80));
    send_tcp(&c, TCP_ACK | TCP_PUSH, "allowed");
    tcp_expect(&c, "allowed");
    end_close(&end);
    close(tcp);
    close(udp);
}

/* --- pace --- */

/* A guest without buffers: the host's datagrams wait in their socket, and none is read in vain. */
static void slow_guest(void **state)
{
    static uint8_t datagram[1400];
    struct sockaddr_in from;
    socklen_t from_size = sizeof(from);
    struct rusage before, after;
    unsigned port, readable;
    int udp = listen_locally(SOCK_DGRAM, &port);
    char text[8];

    (void)state;
    network_open("user");
    send_udp(gateway_ip, 5000, port, "ask", 3);
    WAIT_FOR(recvfrom(udp, text, sizeof(text), 0, (struct sockaddr *)&from, &from_size) == 3);
    end.room = 0;
    for (unsigned i = 0; i < 2000; i++) {
        sendto(udp, datagram, sizeof(datagram), MSG_DONTWAIT, (struct sockaddr *)&from, from_size);
        if (i % 20 == 0)
            run_ms(1);
    }
    run_ms(20);
    readable = end.readable;
    getrusage(RUSAGE_SELF, &before);
    run_ms(200);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(end.readable, readable);
    assert_true((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
                    (after.ru_utime.tv_usec - before.ru_utime.tv_usec) <
                100000);
    end_forget(&end);
    seen = 0;
    end.room = sizeof(receive_buffer);
    end.host->ops->watch(end.host, 0, true);
    WAIT_FOR(end.count > 256 * KIB / 1500); /* what was queued, and then what had waited */
    end_close(&end);
    close(udp);
}

/* A hundred frames that have only their first bytes right. */
static void send_hostile(void *opaque)
{
    static uint8_t frame[NET_FRAME_MAX];
    static unsigned value = 12345;
    unsigned *n = opaque;

    for (unsigned end_n = *n + 100; *n < end_n; ++*n) {
        size_t length = *n % 10 == 0 ? *n * 21 : *n % 200;

        for (size_t i = 0; i < MIN(length, (size_t)200); i++)
            frame[i] = (uint8_t)((value = value * 1103515245 + 12345) >> 16);
        put_ethernet(frame, gateway_mac, *n & 1 ? ETH_IPV4 : *n & 2 ? ETH_IPV6 : ETH_ARP);
        frame[14] = *n & 1 ? 0x45 : 0x60;
        frame[23] = *n & 4 ? IP_TCP : IP_UDP;
        end_send(&end, frame, length);
    }
    end_forget(&end);
}

/* On a loop's own thread, whose stack is small. */
static void hostile_frames(void **state)
{
    unsigned n = 0;

    (void)state;
    log_threshold = LOG_ERROR;
    network_open("user,guestfwd=tcp:10.0.2.100:80-unix:/nonexistent");
    assert_int_equal(loop_start_thread(loop, "hostile", NULL), 0);
    while (n < 3000) {
        loop_call(loop, send_hostile, &n);
        usleep(500);
    }
    loop_join_thread(loop);
    end_forget(&end);
    seen = 0;
    dhcp_ask(1, &(size_t){0});
    end_close(&end);
    log_threshold = LOG_WARN;
}

static void two_networks(void **state)
{
    struct end other;
    size_t length;

    (void)state;
    end_open(&other, "user", 1);
    network_open("user");
    dhcp_ask(1, &length);
    end_close(&other);
    dhcp_ask(1, &length);
    end_close(&end);
}

/* Frames come in on the first pair, whatever the others say. */
static void several_pairs(void **state)
{
    struct iovec iov = {receive_buffer, sizeof(receive_buffer)};
    size_t length;

    (void)state;
    seen = 0;
    end_open(&end, "user", 4);
    end.host->ops->watch(end.host, 3, true);
    end.host->ops->watch(end.host, 3, false);
    assert_int_equal(end.host->ops->receive(end.host, 3, &iov, 1), -EAGAIN);
    dhcp_ask(1, &length);
    assert_int_equal(end.pairs, 1);
    end_close(&end);
}

/* --- refusals --- */

static void bad_options(void **state)
{
    static const char *const rows[][2] = {
        {"net=10.0.2.0/+24", "is not of the form"},
        {"net=10.0.2.0/", "is not of the form"},
        {"net=10.0.2", "net: '10.0.2' is not of the form"},
        {"net=10.0.2.0/", "is not of the form"},
        {"net=10.0.2.0/x", "is not of the form"},
        {"net=10.0.2.0/30", "must have 4 to 27 bits"},
        {"net=10.0.2.1/24", "bits set beyond its prefix"},
        {"gateway=10.0.3.1", "gateway: '10.0.3.1' is no host's address in the guest's network"},
        {"gateway=10.0.2.255", "is no host's address"},
        {"dns=here", "dns: 'here' is not an IPv4 address"},
        {"dns=10.0.2.2", "must be three addresses"},
        {"dhcpstart=10.0.2.3", "must be three addresses"},
        {"ipv6-net=fec0::/48", "is not a prefix of 64 bits"},
        {"ipv6-net=fec0::1", "is not a prefix of 64 bits"},
        {"ipv6-gateway=fe80::1", "is not in the guest's network"},
        {"ipv6-dns=x", "is not an IPv6 address"},
        {"ipv6-dns=fec0::2", "must be two addresses"},
        {"hostname=", "must have 1 to 32 characters"},
        {"hostname=abcdefghijabcdefghijabcdefghijabc", "must have 1 to 32 characters"},
        {"dnssearch=", "must have 1 to 255 characters"},
        {"ipv4=off,ipv6=off", "leave nothing"},
        {"hostfwd=tcp:127.0.0.1:2222", "is not of the form tcp:127.0.0.1:2222-:22"},
        {"hostfwd=sctp::1-:1", "is not of the form"},
        {"hostfwd=tcp:localhost:1-:1", "is not of the form"},
        {"hostfwd=tcp::0-:1", "is not of the form"},
        {"hostfwd=tcp::65536-:1", "is not of the form"},
        {"hostfwd=tcp::1-:1x", "is not of the form"},
        {"hostfwd=tcp:::1:1-:1", "is not of the form"},
        {"hostfwd=tcp:[::1]:1-10.0.2.15:1", "IPv4 and IPv6 cannot be mixed"},
        {"hostfwd=tcp::1-10.0.3.15:1", "the guest's network has no such address"},
        {"ipv4=off,hostfwd=tcp::1-:1", "is switched off"},
        {"guestfwd=tcp:10.0.2.100:80", "is not of the form tcp:10.0.2.100:80-cmd:COMMAND"},
        {"guestfwd=udp:10.0.2.100:80-cmd:cat", "is not of the form"},
        {"guestfwd=tcp:10.0.2.100:80-cmd:", "is not of the form"},
        {"guestfwd=tcp:10.0.2.100:80-tcp::80", "is not of the form"},
        {"guestfwd=tcp:10.0.2.100:80-file:x", "is not of the form"},
        {"guestfwd=tcp:10.0.2.2:80-cmd:cat", "not be the gateway's"},
        {"guestfwd=tcp:10.0.4.2:80-cmd:cat", "must be in the guest's network"},
        {"guestfwd=tcp:10.0.2.9:80-cmd:cat,guestfwd=:10.0.2.9:80-cmd:dog", "is forwarded already"},
    };
    char text[120];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "user,%s", rows[i][0]);
        assert_refused(text, 1, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dhcp),
        TEST(dhcp_of_another_network),
        TEST(echo_of_the_gateway),
        TEST(router_of_ipv6),
        TEST(guest_reaches_the_host),
        TEST(hostfwd_leads_to_the_guest),
        TEST(hostfwd_of_ipv6),
        TEST(hostfwd_in_use),
        TEST(guestfwd_to_a_command),
        TEST(guestfwd_to_a_unix_socket),
        TEST(guestfwd_to_a_port),
        TEST(restricted),
        TEST(slow_guest),
        TEST(hostile_frames),
        TEST(two_networks),
        TEST(several_pairs),
        TEST(bad_options),
    };

    return cmocka_run_group_tests(tests, find_modules, NULL);
}
