/*
 * Character devices' host side: where the bytes of a serial port or a console go.
 *
 *   stdio                 this process's standard input and output
 *   null                  nowhere
 *   file:PATH             appended to a file (or written to a FIFO or a device); no input
 *   pty                   a new pseudo-terminal; its name is logged at start
 *   unix:PATH             a Unix socket that listens; one client at a time, the next one waits
 *   unix:PATH,server=off  connects to a Unix socket
 *   fd:N                  the descriptor N, inherited from whoever started this process
 *
 * Nothing is buffered here. Output: chardev_write takes what the host takes at once, and says later
 * (`writable`) when it would take more. So a slow reader is never waited for, nothing is lost, and
 * it is the guest's device that shows itself busy. Where nobody is connected (pty, unix), and where
 * writing fails (disk full, reader gone), output is dropped. Input: `receive` never gets more than
 * `room` asked for; the rest stays with the host.
 *
 * When standard input is a terminal it is put into raw mode and Ctrl-A is a prefix: x quits, c
 * sends a break, h prints help, Ctrl-A sends Ctrl-A. These work even while the guest does not read:
 * up to 512 keys are kept for it, and thrown away when it takes none of them for a second. From
 * anything else (a pipe, a file) every byte goes to the guest, and its end just ends the input. In
 * the background of a terminal there is no input.
 *
 * The program must ignore SIGPIPE. There is one standard input, and so there is one handler of
 * "quit" in a process, and one terminal whose size may change.
 */
#ifndef DEVICES_CHARDEV_CHARDEV_H
#define DEVICES_CHARDEV_CHARDEV_H

#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;

/* The device at the guest's side. All are called on the loop, holding no lock. */
struct chardev_client {
    size_t (*room)(void *opaque); /* how many bytes it would take now */
    void (*receive)(void *opaque, const uint8_t *data, size_t len);
    void (*writable)(void *opaque); /* a chardev_write fell short; now it is worth trying again */
    void (*opened)(void *opaque, bool open); /* somebody came or went; see chardev_is_open */
    void (*resized)(void *opaque);           /* chardev_size gives something else now */
    void *opaque;
};

/* Does `where` name a place, in the syntax above? Opens nothing. -EINVAL with the reason. */
int chardev_check(const char *where, struct error *err);

/*
 * Open everything that can fail: a file that cannot be written, a socket name that is taken, a
 * second `stdio` (-EBUSY). The terminal stays as it is until chardev_start.
 */
int chardev_open(const char *where, struct loop *loop, struct chardev **out, struct error *err);

/* In a dry run chardev_open leaves no trace: files and sockets are only named, not made. Main
 * thread, before any is opened. */
void chardev_set_dry_run(bool dry_run);

/* Who ends the machine when a user asks for it by an escape key; `quit` is called on the loop of
 * the terminal's chardev. Main thread, before any is started. */
void chardev_set_quit(void (*quit)(void *opaque), void *opaque);

/* Who sends a break, on the loop; before chardev_start. */
void chardev_set_break(struct chardev *chardev, void (*send_break)(void *opaque), void *opaque);

/* What it is, for messages ("console0"); borrowed. Before chardev_start; "the serial port" if never
 * called. */
void chardev_set_name(struct chardev *chardev, const char *name);

/* Begin: raw mode, listening, input. [loop] */
int chardev_start(struct chardev *chardev, struct error *err);

/* Set, or with NULL take away, the client; *client is copied. No callback of the old client runs
 * after this returns. Never call it holding a lock that a callback takes. [any] */
void chardev_set_client(struct chardev *chardev, const struct chardev_client *client);

/* Write as much as the host takes at once and return how much that was. Less than `len`: `writable`
 * follows, and until then nothing more is taken. [any] */
size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t len);

/* Write all, waiting as long as there is progress within every `patience_ms`. For the end of a
 * machine. Returns how much was written. [loop] */
size_t chardev_write_wait(struct chardev *chardev, const uint8_t *data, size_t len,
                          int patience_ms);

/* After `room` returned 0: there is room again. [any] */
void chardev_resume(struct chardev *chardev);

/* Is anybody there? Always, where nobody can come and go (stdio, null, file). [loop] */
bool chardev_is_open(const struct chardev *chardev);

/* Columns and rows of the terminal at the host's side; false when it is none, or does not know. */
bool chardev_size(struct chardev *chardev, uint16_t *columns, uint16_t *rows);

/* The program got a SIGWINCH: standard input's terminal may have another size. [any] */
void chardev_window_changed(void);

/* Where others connect to: the socket's or the pseudo-terminal's path; NULL for the other kinds. */
const char *chardev_path(const struct chardev *chardev);

/* Restores the terminal, removes the socket. The client must be gone. [any] */
void chardev_close(struct chardev *chardev);

#endif
