/*
 * What the kinds of character devices share: one input and one output descriptor on a loop.
 */
#ifndef DEVICES_CHARDEV_INTERNAL_H
#define DEVICES_CHARDEV_INTERNAL_H

#include "devices/chardev/chardev.h"

#include <pthread.h>
#include <stdbool.h>

/* All on the loop, all optional. */
struct chardev_kind {
    int (*start)(struct chardev *chardev, struct error *err);

    /* Input came to its end, or failed; it is not watched any more. */
    void (*input_ended)(struct chardev *chardev);

    /* Writing failed; the data was dropped. */
    void (*output_failed)(struct chardev *chardev);

    /* Something of its own between descriptor and client; without these three input goes straight
     * through. */
    size_t (*room)(struct chardev *chardev);
    void (*receive)(struct chardev *chardev, const uint8_t *data, size_t len);
    void (*resume)(struct chardev *chardev);

    /* Size of the terminal at the other end. Any thread. */
    bool (*size)(struct chardev *chardev, uint16_t *columns, uint16_t *rows);

    /* Somebody has to come first: the kind calls chardev_set_open. */
    bool comes_and_goes;

    /* Undo everything and close the descriptors. */
    void (*close)(struct chardev *chardev);
};

/* How an output descriptor must be written to. */
enum chardev_output_mode {
    OUTPUT_NONBLOCKING,
    OUTPUT_SOCKET,   /* send(2): no SIGPIPE, and O_NONBLOCK need not be set */
    OUTPUT_BLOCKING, /* ask poll(2) first, and write little */
};

struct chardev {
    const struct chardev_kind *kind;
    struct loop *loop;
    const char *path; /* owned by the kind */
    const char *name; /* chardev_set_name */
    struct chardev_client client;
    void (*send_break)(void *opaque);
    void *break_opaque;
    bool open; /* the loop's thread only */

    /* input.c; the loop's thread only */
    struct loop_fd in; /* fd -1: no input */
    bool in_watched;
    struct loop_task resume_task;

    /* output.c */
    struct loop_fd out; /* the loop's thread only: EPOLLOUT of out_fd */
    bool out_watched;   /* same */
    struct loop_task out_task;
    pthread_mutex_t lock; /* guards what follows */
    int out_fd;           /* -1: nobody is there, output is dropped */
    enum chardev_output_mode out_mode;
    bool out_full; /* a write fell short; the client waits for `writable` */
    bool out_failed;
};

/* One function a kind: `where` without its "KIND:". The result's common part is still to be
 * initialised by chardev_open: a kind fills `kind` and `path`, and sets descriptors in `start`. */
int chardev_open_stdio(const char *where, struct chardev **out, struct error *err);
int chardev_open_null(const char *where, struct chardev **out, struct error *err);
int chardev_open_file(const char *where, struct chardev **out, struct error *err);
int chardev_open_pty(const char *where, struct chardev **out, struct error *err);
int chardev_open_unix(const char *where, struct chardev **out, struct error *err);
int chardev_open_fd(const char *where, struct chardev **out, struct error *err);

/* A chardev for a connected stream socket, which it owns from now on (unix_socket.c). */
int chardev_adopt_socket(int fd, struct chardev **out, struct error *err);

/* chardev.c: somebody is there now, or nobody any more. [loop] */
void chardev_set_open(struct chardev *chardev, bool open);

/* chardev.c: the handler of chardev_set_quit. [loop] */
void chardev_quit(void);

/* descriptor.c: a descriptor of our own for what `fd` is open on, if possible with a file
 * description of our own, not blocking. -1 and errno when fd is not open. */
int chardev_own_fd(int fd, int access, enum chardev_output_mode *mode);

/* descriptor.c: chardev_size for a descriptor of a terminal. */
bool chardev_terminal_size(int fd, uint16_t *columns, uint16_t *rows);

/* input.c [loop] */
void chardev_input_init(struct chardev *chardev);
void chardev_input_set(struct chardev *chardev, int fd);
void chardev_input_clear(struct chardev *chardev); /* does not close */
void chardev_input_resume(struct chardev *chardev);
size_t chardev_client_room(struct chardev *chardev);

/* output.c [loop] */
void chardev_output_init(struct chardev *chardev);
void chardev_output_set(struct chardev *chardev, int fd, enum chardev_output_mode mode);
void chardev_output_clear(struct chardev *chardev); /* does not close */

#endif
