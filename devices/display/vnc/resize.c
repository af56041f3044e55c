/*
 * The size that clients would like the guest's screen to have (SetDesktopSize, of the community's
 * RFB specification): asked of the guest now and then, however often they say it, the last one
 * last.
 */
#include "devices/display/vnc/vnc.h"

#include "base/bytes.h"

#define APART_NS UINT64_C(200000000) /* the least between two */

static void ask_guest(void *arg)
{
    const struct vnc_screen *s = arg;

    display_resize(s->owner->viewer.display, s->output, s->wanted_width, s->wanted_height, 0, 0);
}

static void resize_expired(struct loop_timer *timer)
{
    struct vnc_screen *s = container_of(timer, struct vnc_screen, resize);

    s->resized_ns = loop_now_ns();
    handoff_run(&s->owner->display, ask_guest, s);
}

void vnc_resize_init(struct vnc_screen *s)
{
    s->resize.expired = resize_expired;
}

/* Who asked is in what all are told of the new size; who asked in vain is told now. */
static void note(rfbClientPtr asker, int result)
{
    asker->requestedDesktopSizeChange = rfbExtDesktopSize_ClientRequestedChange;
    asker->lastDesktopSizeChangeError = result;
    if (result != rfbExtDesktopSize_Success) {
        asker->newFBSizePending = TRUE;
        return;
    }
    for (rfbClientPtr cl = asker->screen->clientHead; cl; cl = cl->next)
        if (cl != asker)
            cl->requestedDesktopSizeChange = rfbExtDesktopSize_OtherClientRequestedChange;
}

void vnc_resize(struct vnc_client *c, const uint8_t *message)
{
    struct vnc_screen *s = c->screen;
    uint16_t width = load_be16(message + 2), height = load_be16(message + 4);
    uint64_t next = s->resized_ns + APART_NS, now = loop_now_ns();

    if (message[6] != 1 || !width || !height) {
        note(c->rfb, rfbExtDesktopSize_InvalidScreenLayout);
        return;
    }
    note(c->rfb, rfbExtDesktopSize_Success);
    s->wanted_width = width;
    s->wanted_height = height;
    if (!s->resize.deadline_ns)
        loop_timer_set(s->owner->loop, &s->resize, next > now ? next - now : 1);
}
