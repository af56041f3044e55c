/*
 * The viewer for VNC clients, on LibVNCServer.
 *
 * That library waits within its calls for clients that are slow to send or to take, so it has a
 * thread and a loop of its own: nothing that a client does or leaves undone holds up the guest. The
 * two meet in two ways. The display's loop posts "there is something new" to the server's; and the
 * server, when it has a client and the time for a frame has come, has the display's loop copy what
 * is damaged into the server's buffer, waiting meanwhile (handoff.h). So each buffer is touched by
 * one thread at a time without a lock, each damaged byte is copied at most once, and nothing is
 * copied when nobody looks.
 *
 *   vnc.c      opening it; what the display tells
 *   screen.c   an output as LibVNCServer's screen: frames, pointer
 *   where.c    where clients connect
 *   client.c   hearing and telling a client
 *   messages.c what clients say
 *   resize.c   what size they want
 *   listen.c   sockets, and who may connect
 *   guard.c    who may try a password
 *   input.c    what clients type and point
 *   keymap.c   keysyms to keys
 *   handoff.c  work for the display's loop
 *   patience.c how long clients may hold up the server
 */
#ifndef DEVICES_DISPLAY_VNC_VNC_H
#define DEVICES_DISPLAY_VNC_VNC_H

#include "devices/display/common/damage.h"
#include "devices/display/common/timing.h"
#include "devices/display/display.h"
#include "devices/display/viewer_kinds.h"
#include "devices/display/vnc/guard.h"
#include "devices/display/vnc/handoff.h"
#include "devices/display/vnc/keymap.h"
#include "devices/display/vnc/patience.h"
#include "devices/display/vnc/where.h"

#include <limits.h>
#include <linux/input-event-codes.h>
#include <rfb/rfb.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#define VNC_PASSWORD_MAX 8 /* that is all that VNC's authentication looks at */
#define VNC_LISTEN_MAX   4 /* addresses of one name */

struct vnc_viewer;
struct vnc_screen;

struct vnc_listener {
    struct loop_fd fd;
    struct loop_timer retry; /* there was no descriptor for a client */
    struct vnc_screen *screen;
};

/* Of one connection: clientData of LibVNCServer's. */
struct vnc_client {
    struct vnc_screen *screen;
    rfbClientPtr rfb;
    struct vnc_origin origin;
    struct vnc_connection connection;
    struct loop_fd fd; /* a copy of the socket's, which is the library's to close */
    uint8_t pressed[(KEY_CNT + 7) / 8];
    int buttons; /* as VNC has them */
    int x, y;    /* of the pointer, for its motion */
    bool placed;
    uint64_t dropping; /* bytes to come that nobody wants */
    bool answers;      /* its next message brings an answer, for which there is no room */
    int row;           /* where its next band begins */
};

/* Told of once each, and again when they are set again: half a message wakes nobody. */
#define VNC_CLIENT_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)

/* A connection, until it is a client's. */
struct vnc_caller {
    int fd, stand_in; /* the other end of what the library greets */
    struct sockaddr_storage address;
    struct vnc_origin origin;
};

/* What the display's loop keeps for the server. */
struct vnc_source {
    struct display_picture picture; /* width 0: there is none, the screen is black */
    struct display_damage_list damage;
    bool resized; /* or turned on or off */
    const struct display_cursor *cursor;
    int32_t cursor_x, cursor_y;
    bool cursor_changed, cursor_moved;
    struct display_timing timing;
};

/* What it hands over for one frame. */
struct vnc_frame {
    struct vnc_screen *screen;
    bool all;                          /* asked: of the whole picture */
    struct display_damage_list copied; /* into the buffer */
    uint8_t *buffer;                   /* a new one of this size; NULL: the old one was used */
    uint32_t width, height;
    rfbCursorPtr cursor;
    bool cursor_changed, cursor_moved;
    int32_t cursor_x, cursor_y;
    uint64_t since_ns;
};

struct vnc_screen {
    struct vnc_viewer *owner;
    unsigned output;

    /* The display's loop. */
    struct vnc_source source;
    struct loop_task changed; /* posted to the server's */

    /* The server's; `buffer` is written by the display's while the server waits. */
    rfbScreenInfoPtr rfb; /* NULL: it is not served */
    uint8_t *buffer;      /* XRGB8888 */
    struct vnc_listener listeners[VNC_LISTEN_MAX];
    unsigned listener_count;
    char socket_path[PATH_MAX]; /* "": it has none */
    struct loop_timer frame;
    uint64_t sent_ns;         /* when the last frame was */
    struct loop_timer resize; /* clients want another size */
    uint32_t wanted_width, wanted_height;
    uint64_t resized_ns; /* when the guest was asked last */
    bool stale;          /* the buffer is old: nobody looked */

    atomic_uint clients;
};

struct vnc_viewer {
    struct display_viewer viewer;
    const struct display_vnc_options *options;
    struct loop *loop; /* the server's */
    bool runs;
    struct handoff display;
    struct vnc_patience patience;
    struct keymap *keymap;
    char password[VNC_PASSWORD_MAX + 1];
    char *passwords[2]; /* as the library wants them: one, and NULL */
    struct vnc_guard guard;
    struct vnc_caller caller; /* whom the library is being given */
    atomic_uint lights;
    atomic_uint outputs;
    struct loop_task outputs_changed;
    struct vnc_screen screens[DISPLAY_OUTPUTS_MAX];
};

/* --- screen.c: on the server's thread, or before it runs or after it has ended ---------------- */

int vnc_screen_open(struct vnc_screen *s, struct error *err);
void vnc_screen_close(struct vnc_screen *s);

/* A client came or asks for something: soon, a frame. */
void vnc_screen_schedule(struct vnc_screen *s);

/* Clients whose connection is closed are gone, and freed. */
void vnc_screen_reap(struct vnc_screen *s);

/* --- client.c --------------------------------------------------------------------------------- */

/* Have the library hear the client, when something has happened (EPOLL...), and tell it some of
 * what is new. */
void vnc_client_serve(struct vnc_client *c, uint32_t events);

/* --- resize.c --------------------------------------------------------------------------------- */

void vnc_resize_init(struct vnc_screen *s);

/* The client said so: a whole SetDesktopSize. */
void vnc_resize(struct vnc_client *c, const uint8_t *message);

/* --- listen.c --------------------------------------------------------------------------------- */

int vnc_listen(struct vnc_screen *s, struct error *err);
void vnc_listen_end(struct vnc_screen *s);
int vnc_read_password(const char *path, char out[VNC_PASSWORD_MAX + 1], struct error *err);

/* --- input.c ---------------------------------------------------------------------------------- */

void vnc_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl);
void vnc_pointer(int buttons, int x, int y, rfbClientPtr cl);
void vnc_release(struct vnc_client *client); /* all that it has pressed */

#endif
