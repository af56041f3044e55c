/*
 * A back end that says anything about what a GPU shows: the front end's reader of the socket of the
 * vhost-user-gpu protocol.
 *
 * Input, for each message: a byte of what it is, one of what is wrong with it, and what follows as
 * each needs; sound but for that, so that the reader gets far. Checked besides what sanitizers see:
 * what is shown is within what the front end has, and no descriptors are left behind.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "devices/display/display.h"
#include "devices/gpu/vhost_user/message.h"
#include "devices/gpu/vhost_user/source.h"
#include "tests/fuzz/input.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_MAX 32
#define PIXELS_MAX   4096 /* bytes that are sent at once */

static struct input input;

static uint32_t number(void)
{
    static const uint32_t interesting[] = {0,          1,          64,         65,
                                           0x4000,     0x4001,     0x7fffffff, 0x80000000,
                                           0xfffffffc, 0xffffffff, 0x40000000, 0x10000};
    uint8_t kind = take(&input);

    return kind < 0xc0 ? kind % 128 : interesting[kind % ARRAY_SIZE(interesting)];
}

/* --- a viewer that looks at every pixel that is said to be there ---------------------------- */

static uint64_t sum;

static void look(const struct display_picture *picture, const struct display_rect *rect)
{
    REQUIRE(picture->width <= DISPLAY_SIZE_MAX && picture->height <= DISPLAY_SIZE_MAX);
    REQUIRE(rect->x + rect->width <= picture->width);
    REQUIRE(rect->y + rect->height <= picture->height);
    if (!rect->width || !rect->height)
        return;
    REQUIRE(picture->kind == DISPLAY_PIXELS);
    sum += picture->pixels[(size_t)rect->y * picture->stride + rect->x * 4];
    sum += picture->pixels[(size_t)(rect->y + rect->height - 1) * picture->stride +
                           (rect->x + rect->width) * 4 - 1];
}

static void show(struct display_viewer *viewer, unsigned output,
                 const struct display_picture *picture)
{
    (void)viewer;
    (void)output;
    if (picture)
        look(picture, &(struct display_rect){0, 0, picture->width, picture->height});
}

static void damage(struct display_viewer *viewer, unsigned output, const struct display_rect *rect)
{
    look(display_picture(viewer->display, output), rect);
}

static void set_cursor(struct display_viewer *viewer, unsigned output,
                       const struct display_cursor *cursor)
{
    (void)viewer;
    (void)output;
    if (cursor)
        REQUIRE(cursor->hot_x < cursor->width && cursor->hot_y < cursor->height);
}

static void detached(struct display_viewer *viewer)
{
    (void)viewer;
}

static const struct display_viewer_ops viewer_ops = {
    .show = show, .damage = damage, .set_cursor = set_cursor, .destroy = detached};

/* --- messages --------------------------------------------------------------------------------- */

static void say(int socket, const void *bytes, size_t size, int fd)
{
    gpu_send_bytes(socket, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, fd);
}

/* Of 64 rows of 256 bytes, or not. */
static int make_buffer(void)
{
    int fd = memfd_create("buffer", MFD_CLOEXEC);

    REQUIRE(ftruncate(fd, take(&input) * 128) == 0);
    return fd;
}

static void say_one(int socket)
{
    static const uint8_t pixels[PIXELS_MAX];
    struct vhost_user_gpu_message message = {
        .header = {take(&input) % (VHOST_USER_GPU_REQUESTS + 1), 0, 0}};
    uint8_t wrong = take(&input);
    int fixed = gpu_message_fixed(&message.header, false), fd = -1;
    uint32_t size, tail = 0;

    /* A size that is right is found by trying: there are few. */
    for (size = 0; fixed < 0 && size <= sizeof(message.payload); size += 4) {
        message.header.size = size;
        fixed = gpu_message_fixed(&message.header, false);
    }
    for (size_t i = 0; i < 12 && message.header.request != VHOST_USER_GPU_CURSOR_UPDATE; i++)
        ((uint32_t *)(void *)&message.payload)[i] = number();
    if (message.header.request == VHOST_USER_GPU_UPDATE) {
        tail = message.payload.update.width * message.payload.update.height * 4;
        message.header.size += tail;
    }
    if (wrong & 1)
        message.header.size += number();
    if (wrong & 2)
        message.header.flags = number();
    if (wrong & 4 || message.header.request == VHOST_USER_GPU_DMABUF_SCANOUT ||
        message.header.request == VHOST_USER_GPU_DMABUF_SCANOUT2)
        fd = make_buffer();
    say(socket, &message, sizeof(message.header) + (fixed > 0 ? (size_t)fixed : 0), fd);
    if (tail)
        say(socket, pixels, MIN(tail, (uint32_t)PIXELS_MAX), wrong & 8 ? fd : -1);
    if (fd >= 0)
        close(fd);
}

/* --- one connection --------------------------------------------------------------------------- */

static void drain(int socket)
{
    uint8_t bytes[4096];

    while (recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct display_viewer viewer = {.ops = &viewer_ops};
    struct vhost_user_front_part *part;
    struct display *display;
    struct loop *loop;
    unsigned before;
    int socket;

    log_configure("error");
    signal(SIGPIPE, SIG_IGN);
    before = open_descriptors();
    input = (struct input){data, size};
    REQUIRE(loop_create(&loop, NULL) == 0);
    REQUIRE(display_create(loop, "fuzz", &display, NULL) == 0);
    REQUIRE(gpu_source_create(display, "gpu", "64x64+64x64", &part, NULL) == 0);
    display_attach_viewer(display, &viewer);
    socket = part->ops->socket(part, NULL);
    for (int i = 0; i < MESSAGES_MAX && input.left; i++) {
        say_one(socket);
        turn(loop);
        if (take(&input) & 1)
            drain(socket);
        if (take(&input) == 0xff)
            part->ops->reset(part);
    }
    close(socket);
    turn(loop);
    part->ops->destroy(part);
    display_destroy(display);
    loop_destroy(loop);
    REQUIRE(open_descriptors() == before);
    return 0;
}
