/*
 * For the tests of devices/net/: host sides made from option texts, with a device that takes what
 * comes and counts what it is told.
 */
#ifndef TESTS_UNIT_NET_HOST_RIG_H
#define TESTS_UNIT_NET_HOST_RIG_H

#include "base/bytes.h"
#include "base/module.h"
#include "devices/net/options.h"
#include "tests/driver/loop_turn.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FRAMES_KEPT 512

struct frame {
    size_t length;
    uint8_t bytes[];
};

/* One device: its options, its host side, and what came. */
struct end {
    struct net_options options;
    struct net_host *host;
    size_t room;    /* how long a frame it can take; 0: it has no buffers */
    unsigned pairs; /* that were readable, as bits */
    unsigned readable, writable;
    uint8_t header[NET_HEADER_SIZE]; /* of the last frame */
    struct frame *frames[FRAMES_KEPT];
    unsigned count;
};

static struct loop *loop;
static uint8_t receive_buffer[NET_HEADER_SIZE + NET_FRAME_MAX];

/* As a model does: take frames while there is room, then say that there is none. */
static void end_readable(void *opaque, unsigned pair)
{
    struct end *end = opaque;

    end->readable++;
    end->pairs |= 1u << pair;
    for (;;) {
        /* In pieces, as a guest would offer them. */
        struct iovec iov[3] = {
            {receive_buffer, 5}, {receive_buffer + 5, 17}, {receive_buffer + 22, 0}};
        ssize_t got;

        if (end->room < 22) {
            end->host->ops->watch(end->host, pair, false);
            return;
        }
        iov[2].iov_len = end->room - 22;
        got = end->host->ops->receive(end->host, pair, iov, 3);
        if (got < 0) {
            assert_int_equal(got, -EAGAIN);
            return;
        }
        assert_true((size_t)got <= end->room && got > NET_HEADER_SIZE);
        memcpy(end->header, receive_buffer, NET_HEADER_SIZE);
        if (end->count < FRAMES_KEPT) {
            struct frame *frame = malloc(sizeof(*frame) + (size_t)got);
            frame->length = (size_t)got - NET_HEADER_SIZE;
            memcpy(frame->bytes, receive_buffer + NET_HEADER_SIZE, frame->length);
            end->frames[end->count++] = frame;
        }
    }
}

static void end_writable(void *opaque, unsigned pair)
{
    (void)pair;
    ((struct end *)opaque)->writable++;
}

static int end_parse(struct end *end, const char *text, struct error *err)
{
    struct option_list list = {0};
    int ret = option_list_parse(&list, "--net", text, "host", err);

    if (!ret)
        ret = option_apply(net_option_specs, NET_OPTION_COUNT, &list, &end->options, err);
    if (!ret)
        ret = option_list_finish(&list, NULL, err);
    option_list_free(&list);
    return ret;
}

/* Make it, and do not start it. */
static int end_create(struct end *end, const char *text, unsigned pairs, struct error *err)
{
    int ret;

    *end = (struct end){.room = sizeof(receive_buffer)};
    ret = end_parse(end, text, err);
    if (ret)
        return ret;
    ret = net_host_create(&end->options.host, pairs, loop, &end->host, err);
    if (ret) {
        option_release(net_option_specs, NET_OPTION_COUNT, &end->options);
        return ret;
    }
    end->host->events = (struct net_host_events){end_readable, end_writable, end};
    return 0;
}

static int end_start(struct end *end, struct error *err)
{
    int ret = end->host->ops->start ? end->host->ops->start(end->host, err) : 0;

    if (!ret)
        end->host->ops->watch(end->host, 0, true);
    return ret;
}

static inline void end_forget(struct end *end)
{
    for (unsigned i = 0; i < end->count; i++)
        free(end->frames[i]);
    end->count = 0;
}

static void end_close(struct end *end)
{
    if (!end->host)
        return;
    end->host->ops->destroy(end->host);
    option_release(net_option_specs, NET_OPTION_COUNT, &end->options);
    end_forget(end);
    end->host = NULL;
}

static void end_open(struct end *end, const char *text, unsigned pairs)
{
    struct error err = ERROR_INIT;

    if (end_create(end, text, pairs, &err) || end_start(end, &err))
        fail_msg("%s: %s", text, err.text);
}

/* It must be refused, before anything is started, with a sentence that has `words` in it. */
static inline void assert_refused(const char *text, unsigned pairs, const char *words)
{
    struct error err = ERROR_INIT;
    struct end end;

    if (end_create(&end, text, pairs, &err) == 0)
        fail_msg("%s is not refused", text);
    if (!strstr(err.text, words))
        fail_msg("%s: \"%s\" has no \"%s\"", text, err.text, words);
}

/* Send a frame in pieces, behind a header of zeroes. */
static inline int end_send(struct end *end, const void *frame, size_t length)
{
    uint8_t header[NET_HEADER_SIZE] = {0};
    size_t first = MIN(length, (size_t)9);
    struct iovec iov[3] = {
        {header, sizeof(header)}, {(void *)frame, first}, {(char *)frame + first, length - first}};

    return end->host->ops->send(end->host, 0, iov, 3);
}

static void run_ms(unsigned ms)
{
    loop_run_for(loop, ms * UINT64_C(1000000));
}

/* Run the loop until `condition` holds. */
#define WAIT_FOR(condition)                          \
    do {                                             \
        bool met_ = (condition);                     \
        for (int n_ = 0; n_ < 5000 && !met_; n_++) { \
            run_ms(1);                               \
            met_ = (condition);                      \
        }                                            \
        if (!met_)                                   \
            fail_msg("never: %s", #condition);       \
    } while (0)

static int loop_open(void **state)
{
    (void)state;
    return loop_create(&loop, NULL);
}

static int loop_close(void **state)
{
    (void)state;
    loop_destroy(loop);
    return 0;
}

/* The modules are one directory above the tests. */
static inline int find_modules(void **state)
{
    static char modules[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", modules, sizeof(modules) - 8);

    (void)state;
    assert_true(length > 0);
    modules[length] = '\0';
    strcpy(strrchr(modules, '/'), "/..");
    module_search_first(modules);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, loop_open, loop_close)

#endif
