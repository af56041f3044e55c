/*
 * Signals by eventfds that others have, too.
 *
 * A write waits while the counter is full, unless O_NONBLOCK is set, which is the file's and not
 * the descriptor's: so whoever shares it can fill it, clear the flag, and make us wait for good.
 * The kernel's own signals never wait, and one is to be had: that of a request of asynchronous I/O
 * which has completed (io_submit(2), IOCB_FLAG_RESFD). Twice as dear as a write: for eventfds of
 * our own, that is the way.
 */
#ifndef BASE_EVENT_SIGNAL_H
#define BASE_EVENT_SIGNAL_H

/* Add 1 to eventfd `fd`, or leave its counter full. Nothing happens to what is no eventfd. Without
 * asynchronous I/O (a kernel without it, fs.aio-max-nr used up) it is a write. [any] */
void event_signal(int fd);

#endif
