/*
 * Frames in memory that a guest may change at any time: each byte is copied once. Any thread.
 */
#ifndef DEVICES_NET_FRAME_H
#define DEVICES_NET_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Bytes in all iovecs; SIZE_MAX if that is beyond counting. */
size_t net_iov_length(const struct iovec *iov, unsigned count);

/* Copy at most `size` bytes from `skip` on into `out`: how many there were. */
size_t net_iov_read(const struct iovec *iov, unsigned count, size_t skip, void *out, size_t size);

/* The frame behind the header: its length, or 0 when it is shorter than an Ethernet header or
 * longer than `size`. */
size_t net_frame_gather(const struct iovec *iov, unsigned count, void *frame, size_t size);

/* Write a header of zeroes and the frame: the length of both, or -EMSGSIZE when they do not fit. */
ssize_t net_frame_scatter(const struct iovec *iov, unsigned count, const void *frame,
                          size_t length);

#endif
