/*
 * Having a vhost-user peer mark what it writes to guest memory in a log of dirty pages.
 */
#include "virtio/vhost_user_internal.h"

#include "guest/dirty_log.h"

#include <errno.h>

int vhost_user_tell_log(struct vhost_user *v, struct error *err)
{
    struct vhost_user_message message = {
        .header = {.request = VHOST_USER_SET_LOG_BASE, .size = sizeof(struct vhost_user_log)},
        .fd_count = 1,
    };

    if (!v->log)
        return 0;
    message.fds[0] = v->log->fd;
    message.payload.log = (struct vhost_user_log){.size = v->log->size};
    return vhost_user_ask(v, &message, err);
}

/* Tell the peer, in the middle of its work, whether there is a log. */
static int switch_log(struct vhost_user *v, struct error *err)
{
    int ret = vhost_user_tell_log(v, err);

    if (!ret && v->features_settled)
        ret = vhost_user_tell_features(v, err);
    for (uint16_t i = 0; i < v->queue_count && !ret; i++)
        if (v->queues[i].running)
            ret = vhost_user_tell_addresses(v, &v->queues[i], err);
    return ret;
}

int vhost_user_set_log(struct vhost_user *v, struct dirty_log *log, struct error *err)
{
    int ret;

    if (log && (!v->logs || !vhost_user_has(v, VHOST_USER_PROTOCOL_F_LOG_SHMFD)))
        return error_set(err, ENOTSUP, "%s: the process that serves it cannot tell what it writes",
                         v->backend.name);
    if (log && v->relay)
        return error_set(err, ENOTSUP, "%s: what relay=on passes on is not logged",
                         v->backend.name);
    v->log = log;
    if (v->lost) /* it hears of it when it is back */
        return 0;
    ret = switch_log(v, err);
    if (ret && log)
        v->log = NULL;
    return ret;
}
