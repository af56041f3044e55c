/*
 * An output as a screen of LibVNCServer's: a buffer that follows the guest's picture, one frame at
 * a time, while there are clients.
 */
#include "devices/display/vnc/vnc.h"

#include "base/bytes.h"
#include "base/log.h"
#include "devices/display/common/pixels.h"

#include <errno.h>
#include <stdlib.h>

#define FRAME_NS UINT64_C(16000000) /* the least between two */
#define PATIENCE 5000               /* ms: for a client in the middle of a message */
#define NO_PICTURE                  \
    {                               \
        .width = 640, .height = 480 \
    } /* black, before the guest shows anything */

/* --- on the display's loop, while the server waits -------------------------------------------- */

static void copy_rects(struct vnc_frame *f, const struct vnc_source *source, uint8_t *to)
{
    size_t stride = 4 * (size_t)f->width;

    for (unsigned i = 0; i < f->copied.count; i++) {
        const struct display_rect *r = &f->copied.rects[i];
        uint8_t *out = to + stride * r->y + 4 * (size_t)r->x;

        if (display_pixels_read(&source->picture, r, out, stride))
            log_limited(LOG_WARN, "vnc", "output %u: its picture cannot be read",
                        f->screen->output);
    }
}

/* A size that is another needs another buffer, all of it new. */
static void take_picture(struct vnc_frame *f, struct vnc_source *source)
{
    const struct display_picture black = NO_PICTURE;
    const struct display_picture *p = source->picture.width ? &source->picture : &black;
    const rfbScreenInfo *rfb = f->screen->rfb;

    f->width = p->width;
    f->height = p->height;
    if ((int)p->width != rfb->width || (int)p->height != rfb->height) {
        f->buffer = calloc((size_t)p->width * p->height, 4);
        if (!f->buffer)
            return;
        f->all = true;
    } else if (source->resized && !source->picture.width) {
        memset(f->screen->buffer, 0, 4 * (size_t)p->width * p->height);
        f->all = true;
    }
    f->copied = source->damage;
    if (f->all) {
        f->copied.count = 0;
        display_damage_add(&f->copied, &(struct display_rect){0, 0, p->width, p->height});
    }
    if (source->picture.width)
        copy_rects(f, source, f->buffer ? f->buffer : f->screen->buffer);
    source->timing.copied += 4 * display_damage_pixels(&f->copied);
    source->damage.count = 0;
    source->resized = false;
}

/* The guest's pointer, as the library has it: colours and alpha apart. */
static rfbCursorPtr make_cursor(const struct display_cursor *from)
{
    size_t pixels = (size_t)from->width * from->height;
    rfbCursorPtr c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    *c = (rfbCursor){.cleanup = TRUE,
                     .cleanupSource = TRUE,
                     .cleanupMask = TRUE,
                     .cleanupRichSource = TRUE,
                     .width = (unsigned short)from->width,
                     .height = (unsigned short)from->height,
                     .xhot = (unsigned short)from->hot_x,
                     .yhot = (unsigned short)from->hot_y};
    c->richSource = malloc(4 * pixels);
    c->alphaSource = malloc(pixels);
    if (!c->richSource || !c->alphaSource) {
        rfbFreeCursor(c);
        return NULL;
    }
    display_cursor_straight(from, (uint32_t *)(void *)c->richSource);
    for (size_t i = 0; i < pixels; i++)
        c->alphaSource[i] = (unsigned char)(from->pixels[i] >> 24);
    c->mask = (unsigned char *)rfbMakeMaskFromAlphaSource((int)from->width, (int)from->height,
                                                          c->alphaSource);
    return c;
}

static void take_frame(void *arg)
{
    struct vnc_frame *f = arg;
    struct vnc_source *source = &f->screen->source;

    take_picture(f, source);
    f->cursor_changed = source->cursor_changed;
    f->cursor_moved = source->cursor_moved;
    f->cursor_x = source->cursor_x;
    f->cursor_y = source->cursor_y;
    if (source->cursor_changed && source->cursor)
        f->cursor = make_cursor(source->cursor);
    source->cursor_changed = source->cursor_moved = false;
    f->since_ns = display_timing_draw(&source->timing);
}

static void frame_shown(void *arg)
{
    struct vnc_frame *f = arg;

    display_timing_shown(&f->screen->source.timing, f->since_ns);
}

/* --- on the server's loop --------------------------------------------------------------------- */

/* The library's guess is red in the lowest byte, anew for each buffer. */
static void set_format(rfbScreenInfoPtr rfb)
{
    rfb->serverFormat.redShift = 16;
    rfb->serverFormat.greenShift = 8;
    rfb->serverFormat.blueShift = 0;
    for (rfbClientPtr cl = rfb->clientHead; cl; cl = cl->next)
        rfb->setTranslateFunction(cl);
}

static void use_picture(struct vnc_screen *s, const struct vnc_frame *f)
{
    uint8_t *before = s->buffer;

    if (f->buffer) {
        s->buffer = f->buffer;
        rfbNewFramebuffer(s->rfb, (char *)s->buffer, (int)f->width, (int)f->height, 8, 3, 4);
        set_format(s->rfb);
        free(before);
        return;
    }
    for (unsigned i = 0; i < f->copied.count; i++) {
        const struct display_rect *r = &f->copied.rects[i];

        rfbMarkRectAsModified(s->rfb, (int)r->x, (int)r->y, (int)(r->x + r->width),
                              (int)(r->y + r->height));
    }
}

/* Its place: for clients that show the guest's pointer instead of their own. */
static void use_cursor(struct vnc_screen *s, const struct vnc_frame *f)
{
    if (f->cursor_changed)
        rfbSetCursor(s->rfb, f->cursor);
    if (!f->cursor_moved)
        return;
    s->rfb->cursorX = f->cursor_x;
    s->rfb->cursorY = f->cursor_y;
    for (rfbClientPtr cl = s->rfb->clientHead; cl; cl = cl->next)
        cl->cursorWasMoved = TRUE;
}

void vnc_screen_reap(struct vnc_screen *s)
{
    struct vnc_connection *next;

    for (struct vnc_connection *at = s->owner->patience.connections; at; at = next) {
        struct vnc_client *c = container_of(at, struct vnc_client, connection);

        next = at->next;
        if (c->screen == s && c->rfb->sock == RFB_INVALID_SOCKET)
            rfbClientConnectionGone(c->rfb);
    }
}

/* Nobody comes or goes meanwhile. */
static void update_clients(struct vnc_screen *s)
{
    for (struct vnc_connection *at = s->owner->patience.connections; at; at = at->next) {
        struct vnc_client *c = container_of(at, struct vnc_client, connection);

        if (c->screen == s)
            vnc_client_serve(c, 0);
    }
    vnc_screen_reap(s);
}

static void frame_expired(struct loop_timer *timer)
{
    struct vnc_screen *s = container_of(timer, struct vnc_screen, frame);
    struct vnc_frame frame = {.screen = s, .all = s->stale};

    if (!atomic_load(&s->clients) || !handoff_run(&s->owner->display, take_frame, &frame))
        return;
    s->stale = false;
    s->sent_ns = loop_now_ns();
    use_picture(s, &frame);
    use_cursor(s, &frame);
    update_clients(s);
    handoff_run(&s->owner->display, frame_shown, &frame);
}

void vnc_screen_schedule(struct vnc_screen *s)
{
    uint64_t next = s->sent_ns + FRAME_NS, now = loop_now_ns();

    if (!s->rfb || !atomic_load(&s->clients)) {
        s->stale = true;
        return;
    }
    if (!s->frame.deadline_ns)
        loop_timer_set(s->owner->loop, &s->frame, next > now ? next - now : 1);
}

static int lights(rfbScreenInfoPtr rfb)
{
    struct vnc_screen *s = rfb->screenData;
    unsigned on = atomic_load(&s->owner->lights);

    return (on & 1 << LED_CAPSL ? rfbKeyboardMaskCapsLock : 0) |
           (on & 1 << LED_NUML ? rfbKeyboardMaskNumLock : 0) |
           (on & 1 << LED_SCROLLL ? rfbKeyboardMaskScrollLock : 0);
}

static void set_hooks(struct vnc_screen *s)
{
    rfbScreenInfoPtr rfb = s->rfb;

    rfb->screenData = s;
    rfb->desktopName = display_title(s->owner->viewer.display);
    rfb->port = rfb->ipv6port = 0; /* it listens on nothing */
    rfb->ignoreSIGPIPE = FALSE;
    rfb->deferUpdateTime = 0; /* frames are timed by us */
    rfb->deferPtrUpdateTime = 0;
    rfb->maxClientWait = PATIENCE;
    rfb->alwaysShared = s->owner->options->shared == VNC_SHARED_ALWAYS;
    rfb->neverShared = s->owner->options->shared == VNC_SHARED_NEVER;
    rfb->cursor = NULL;
    rfb->kbdAddEvent = vnc_key;
    rfb->ptrAddEvent = vnc_pointer;
    rfb->getKeyboardLedStateHook = lights;
    if (s->owner->options->password_file) {
        rfb->authPasswdData = s->owner->passwords;
        rfb->authPasswdFirstViewOnly = 1;
    }
    set_format(rfb);
}

int vnc_screen_open(struct vnc_screen *s, struct error *err)
{
    const struct display_picture black = NO_PICTURE;
    int ret;

    s->frame.expired = frame_expired;
    vnc_resize_init(s);
    s->stale = true;
    s->buffer = calloc((size_t)black.width * black.height, 4);
    s->rfb =
        s->buffer ? rfbGetScreen(NULL, NULL, (int)black.width, (int)black.height, 8, 3, 4) : NULL;
    if (!s->rfb) {
        free(s->buffer);
        s->buffer = NULL;
        return error_set(err, ENOMEM, "no memory for a VNC server");
    }
    s->rfb->frameBuffer = (char *)s->buffer;
    set_hooks(s);
    rfbInitServer(s->rfb);
    ret = vnc_listen(s, err);
    if (ret)
        vnc_screen_close(s);
    return ret;
}

void vnc_screen_close(struct vnc_screen *s)
{
    if (!s->rfb)
        return;
    loop_timer_cancel(s->owner->loop, &s->frame);
    loop_timer_cancel(s->owner->loop, &s->resize);
    vnc_listen_end(s);
    rfbScreenCleanup(s->rfb); /* and its clients */
    s->rfb = NULL;
    free(s->buffer);
    s->buffer = NULL;
}
