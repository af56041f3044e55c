/*
 * A client: hearing it and telling it what is new, so that no other waits for it.
 *
 * It is heard when a message is there whole (messages.h). It is told when its socket has room, and
 * no more at a time than fits: a band of rows, whatever the encoding; the rest follows when it has
 * taken that, after the others' turn.
 */
#include "devices/display/vnc/vnc.h"

#include "base/bytes.h"
#include "devices/display/vnc/messages.h"

#include <errno.h>
#include <poll.h>
#include <rfb/rfbregion.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define MESSAGES  32  /* that are heard in one turn */
#define REGION    256 /* rectangles that are kept apart, of what it asked for or has yet to get */
#define UPDATE    50  /* and in one update */
#define HANDSHAKE 1   /* bytes of its shorter messages */

static bool is_gone(const struct vnc_client *c)
{
    return c->rfb->sock == RFB_INVALID_SOCKET;
}

/* Its socket has room for a band. */
static bool has_room(const struct vnc_client *c)
{
    struct pollfd p = {.fd = c->fd.fd, .events = POLLOUT};

    return poll(&p, 1, 0) == 1;
}

/* --- hearing ---------------------------------------------------------------------------------- */

static struct vnc_message look(const struct vnc_client *c)
{
    uint8_t head[VNC_MESSAGE_HEAD];
    ssize_t size = recv(c->fd.fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
    int there = 0, wanted = HANDSHAKE;

    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
        return (struct vnc_message){VNC_MESSAGE_BAD, 0};
    if (size < 0 || ioctl(c->fd.fd, FIONREAD, &there))
        return (struct vnc_message){VNC_MESSAGE_PARTIAL, 0};
    if (c->rfb->state == RFB_NORMAL)
        return vnc_message_look(head, (size_t)size, (size_t)there);
    if (c->rfb->state == RFB_PROTOCOL_VERSION)
        wanted = sz_rfbProtocolVersionMsg;
    else if (c->rfb->state == RFB_AUTHENTICATION)
        wanted = CHALLENGESIZE;
    return (struct vnc_message){there < wanted ? VNC_MESSAGE_PARTIAL : VNC_MESSAGE_HEAR, 0};
}

/* Of what is to be dropped, what has come. */
static bool drop(struct vnc_client *c)
{
    char bytes[4096];
    ssize_t size = recv(c->fd.fd, bytes, MIN(c->dropping, sizeof(bytes)), MSG_DONTWAIT);

    if (size > 0)
        c->dropping -= (uint64_t)size;
    return size > 0;
}

static bool hear_resize(struct vnc_client *c, uint64_t length)
{
    uint8_t message[VNC_MESSAGE_MAX];

    if (recv(c->fd.fd, message, length, MSG_DONTWAIT) == (ssize_t)length)
        vnc_resize(c, message);
    return true;
}

/* The next message; whether there may be more. `ended`: no byte will come any more. */
static bool hear_one(struct vnc_client *c, bool ended)
{
    struct vnc_message m;

    if (c->dropping && drop(c))
        return true;
    m = c->dropping ? (struct vnc_message){VNC_MESSAGE_PARTIAL, 0} : look(c);
    if (m.kind == VNC_MESSAGE_BAD || (m.kind == VNC_MESSAGE_PARTIAL && ended))
        rfbCloseClient(c->rfb);
    c->answers = m.kind == VNC_MESSAGE_HEAR && !has_room(c);
    if (m.kind == VNC_MESSAGE_BAD || m.kind == VNC_MESSAGE_PARTIAL || c->answers)
        return false;
    if (m.kind == VNC_MESSAGE_RESIZE)
        return hear_resize(c, m.length);
    if (m.kind == VNC_MESSAGE_DROP)
        c->dropping = m.length;
    else
        rfbProcessClientMessage(c->rfb);
    return !is_gone(c);
}

/* However oddly a client asks, and guests draw: no more than so many pieces. */
static void simplify(sraRegionPtr region, unsigned long most)
{
    sraRegionPtr box;

    if (sraRgnCountRects(region) <= most)
        return;
    box = sraRgnBBox(region);
    sraRgnOr(region, box);
    sraRgnDestroy(box);
}

/* Whether there may be more than its turn allows. */
static bool hear(struct vnc_client *c, bool ended)
{
    bool more = true;

    for (int i = 0; i < MESSAGES && more; i++)
        more = hear_one(c, ended);
    return more && !is_gone(c);
}

/* --- telling ---------------------------------------------------------------------------------- */

/* Pixels apart: its size, the pointer, the keyboard's lights. */
static bool has_news(const struct vnc_client *c)
{
    rfbClientPtr cl = c->rfb;
    rfbScreenInfoPtr rfb = cl->screen;

    return (cl->useNewFBSize && cl->newFBSizePending) ||
           (cl->enableCursorShapeUpdates
                ? cl->cursorWasChanged
                : cl->cursorX != rfb->cursorX || cl->cursorY != rfb->cursorY) ||
           (cl->enableCursorPosUpdates && cl->cursorWasMoved) ||
           (cl->enableKeyboardLedState &&
            cl->lastKeyboardLedState != rfb->getKeyboardLedStateHook(rfb));
}

/* What it asked for and has not got as it is now; the caller's to destroy. */
static sraRegionPtr pixels_due(const struct vnc_client *c)
{
    sraRegionPtr due = sraRgnCreateRgn(c->rfb->requestedRegion);

    sraRgnAnd(due, c->rfb->modifiedRegion);
    return due;
}

static bool is_due(const struct vnc_client *c)
{
    sraRegionPtr due;
    bool is;

    if (is_gone(c) || sraRgnEmpty(c->rfb->requestedRegion))
        return false;
    due = pixels_due(c);
    is = !sraRgnEmpty(due) || has_news(c);
    sraRgnDestroy(due);
    return is;
}

/* Cut it down to a band that the socket has room for: they go round, so that none is left out when
 * the guest draws faster than the client takes. A socket that has room (poll) has it for a third of
 * its buffer at least; a quarter leaves some for the pointer. */
static void cut(struct vnc_client *c, sraRegionPtr due)
{
    int width = c->rfb->screen->width, height = c->rfb->screen->height, size = 0, rows;
    int from = c->row < height ? c->row : 0;
    sraRegionPtr rest = sraRgnCreateRect(0, from, width, height), box, band;
    socklen_t length = sizeof(size);
    sraRect first;

    getsockopt(c->fd.fd, SOL_SOCKET, SO_SNDBUF, &size, &length);
    rows = MAX(size / 4 / (4 * width), 1);
    sraRgnAnd(rest, due);
    box = sraRgnBBox(sraRgnEmpty(rest) ? due : rest);
    if (sraRgnPopRect(box, &first, 0)) {
        band = sraRgnCreateRect(0, first.y1, width, first.y1 + rows);
        sraRgnAnd(due, band);
        sraRgnDestroy(band);
        simplify(due, UPDATE);
        c->row = first.y1 + rows;
    }
    sraRgnDestroy(box);
    sraRgnDestroy(rest);
}

/* What is left of what it asked for stays asked for. */
static void tell_some(struct vnc_client *c)
{
    sraRegionPtr due = pixels_due(c), rest = sraRgnCreateRgn(due);

    cut(c, due);
    rfbSendFramebufferUpdate(c->rfb, due);
    sraRgnSubtract(rest, due);
    sraRgnOr(c->rfb->requestedRegion, rest);
    sraRgnDestroy(rest);
    sraRgnDestroy(due);
}

/* --- its turn --------------------------------------------------------------------------------- */

/* Be woken for what it says, and for room when there is something for it. */
static void wait_for(struct vnc_client *c, bool more)
{
    bool wants = c->answers || is_due(c), room = wants && has_room(c);
    uint32_t events = VNC_CLIENT_EVENTS | (wants ? EPOLLOUT : 0);

    atomic_store(&c->connection.full, wants && !room);
    if (more || room)
        c->fd.events = 0; /* set again, it is told again of what is there now */
    loop_fd_set_events(c->screen->owner->loop, &c->fd, events);
}

void vnc_client_serve(struct vnc_client *c, uint32_t events)
{
    struct vnc_patience *patience = &c->screen->owner->patience;
    bool more;

    if (is_gone(c))
        return;
    vnc_patience_begin(patience, c->fd.fd);
    more = events && hear(c, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    simplify(c->rfb->requestedRegion, REGION); /* also of one that says nothing for long */
    simplify(c->rfb->modifiedRegion, REGION);
    if (is_due(c) && has_room(c))
        tell_some(c);
    vnc_patience_end(patience);
    if (c->rfb->state == RFB_NORMAL)
        atomic_store(&c->connection.admitted, true);
    if (!is_gone(c))
        wait_for(c, more);
}
