#include "devices/net/user/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS        UINT64_C(1000000)

extern const struct user_module vireo_module_user;

/* --- what libslirp calls --- */

static ssize_t slirp_send_packet(const void *frame, size_t length, void *opaque)
{
    struct user_network *network = opaque;

    network->services.deliver(network->services.opaque, frame, length);
    return (ssize_t)length;
}

static void slirp_guest_error(const char *message, void *opaque)
{
    (void)opaque;
    log_limited(LOG_INFO, "net", "user network: %s", message);
}

static int64_t slirp_clock(void *opaque)
{
    struct timespec now;

    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)((uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec);
}

struct slirp_timer {
    struct loop_timer timer;
    SlirpTimerCb run;
    void *opaque;
};

static void slirp_timer_expired(struct loop_timer *self)
{
    struct slirp_timer *timer = container_of(self, struct slirp_timer, timer);
    timer->run(timer->opaque);
}

/* GLib ends the process when there is no memory, and so does everything in libslirp. */
static void *slirp_timer_create(SlirpTimerCb run, void *run_opaque, void *opaque)
{
    struct slirp_timer *timer = g_new0(struct slirp_timer, 1);

    (void)opaque;
    timer->timer.expired = slirp_timer_expired;
    timer->run = run;
    timer->opaque = run_opaque;
    return timer;
}

static void slirp_timer_destroy(void *timer, void *opaque)
{
    struct user_network *network = opaque;

    network->services.timer_cancel(network->services.loop, &((struct slirp_timer *)timer)->timer);
    g_free(timer);
}

static void slirp_timer_set(void *timer, int64_t expire_ms, void *opaque)
{
    struct user_network *network = opaque;
    int64_t delay_ns = expire_ms * (int64_t)MS - slirp_clock(NULL);

    network->services.timer_set(network->services.loop, &((struct slirp_timer *)timer)->timer,
                                (uint64_t)MAX(delay_ns, (int64_t)0));
}

/* A number that is used again is no longer what was watched under it. */
static void slirp_fd_changed(int fd, void *opaque)
{
    user_poll_forget(opaque, fd);
}

static void slirp_notify(void *opaque)
{
    user_poll_soon(opaque);
}

static const SlirpCb callbacks = {
    .send_packet = slirp_send_packet,
    .guest_error = slirp_guest_error,
    .clock_get_ns = slirp_clock,
    .timer_new = slirp_timer_create,
    .timer_free = slirp_timer_destroy,
    .timer_mod = slirp_timer_set,
    .register_poll_fd = slirp_fd_changed,
    .unregister_poll_fd = slirp_fd_changed,
    .notify = slirp_notify,
};

/* libslirp complains through GLib; a guest can make it do so as often as it likes. */
static void slirp_log(const gchar *domain, GLogLevelFlags level, const gchar *message,
                      gpointer opaque)
{
    (void)domain;
    (void)level;
    (void)opaque;
    log_limited(LOG_WARN, "net", "user network: %s", message);
}

/* --- life --- */

static void network_destroy(struct user_network *network)
{
    if (network->slirp)
        slirp_cleanup(network->slirp);
    user_poll_stop(network);
    user_forwards_stop(network);
    if (network->log_handler)
        g_log_remove_handler("Slirp", network->log_handler);
    free(network->search);
    free(network);
}

static int network_create(const struct net_host_options *options,
                          const struct user_services *services, struct user_network **out,
                          struct error *err)
{
    struct user_network *network = calloc(1, sizeof(*network));
    int ret;

    if (!network)
        return error_set(err, ENOMEM, "no memory for a network");
    network->services = *services;
    network->options = options;
    network->poll.ready.fd = -1;
    ret = user_config(network, err);
    if (!ret)
        ret = user_forwards_parse(network, err);
    if (ret) {
        network_destroy(network);
        return ret;
    }
    *out = network;
    return 0;
}

static int network_start(struct user_network *network, struct error *err)
{
    int ret = user_poll_start(network, err);

    if (ret)
        return ret;
    network->log_handler = g_log_set_handler(
        "Slirp", G_LOG_LEVEL_MASK | G_LOG_FLAG_FATAL | G_LOG_FLAG_RECURSION, slirp_log, NULL);
    network->slirp = slirp_new(&network->config, &callbacks, network);
    if (!network->slirp)
        return error_set(err, EINVAL, "libslirp does not make this network");
    ret = user_forwards_start(network, err);
    if (!ret)
        user_poll_soon(network);
    return ret;
}

/* Frames before the start come from nowhere. */
static void network_input(struct user_network *network, const void *frame, size_t length)
{
    if (!network->slirp)
        return;
    slirp_input(network->slirp, frame, (int)length);
    user_poll_soon(network);
}

const struct user_module vireo_module_user = {
    .create = network_create,
    .start = network_start,
    .input = network_input,
    .pause = user_poll_pause,
    .destroy = network_destroy,
};
