#include "devices/net/frame.h"

#include "base/bytes.h"
#include "devices/net/host.h"
#include "devices/net/protocol.h"

#include <errno.h>

size_t net_iov_length(const struct iovec *iov, unsigned count)
{
    size_t length = 0;

    for (unsigned i = 0; i < count; i++)
        if (__builtin_add_overflow(length, iov[i].iov_len, &length))
            return SIZE_MAX;
    return length;
}

size_t net_iov_read(const struct iovec *iov, unsigned count, size_t skip, void *out, size_t size)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < size; i++) {
        size_t skipped = MIN(skip, iov[i].iov_len);
        size_t part = MIN(size - done, iov[i].iov_len - skipped);

        if (part > 0)
            memcpy((char *)out + done, (const char *)iov[i].iov_base + skipped, part);
        skip -= skipped;
        done += part;
    }
    return done;
}

static size_t iov_write(const struct iovec *iov, unsigned count, size_t skip, const void *data,
                        size_t size)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < size; i++) {
        size_t skipped = MIN(skip, iov[i].iov_len);
        size_t part = MIN(size - done, iov[i].iov_len - skipped);

        if (part > 0)
            memcpy((char *)iov[i].iov_base + skipped, (const char *)data + done, part);
        skip -= skipped;
        done += part;
    }
    return done;
}

size_t net_frame_gather(const struct iovec *iov, unsigned count, void *frame, size_t size)
{
    size_t length = net_iov_length(iov, count);

    if (length < NET_HEADER_SIZE + NET_ETHERNET_HEADER || length - NET_HEADER_SIZE > size)
        return 0;
    return net_iov_read(iov, count, NET_HEADER_SIZE, frame, size);
}

ssize_t net_frame_scatter(const struct iovec *iov, unsigned count, const void *frame, size_t length)
{
    static const uint8_t header[NET_HEADER_SIZE];

    if (net_iov_length(iov, count) < sizeof(header) + length)
        return -EMSGSIZE;
    iov_write(iov, count, 0, header, sizeof(header));
    iov_write(iov, count, sizeof(header), frame, length);
    return (ssize_t)(sizeof(header) + length);
}
