#include "devices/blk/parts.h"

#include "base/bytes.h"

#define HEADER_SIZE 16

static void span_drop_front(struct blk_span *s, uint32_t bytes)
{
    s->bytes -= bytes;
    while (s->count > 0 && bytes >= s->iov->iov_len) {
        bytes -= (uint32_t)s->iov->iov_len;
        s->iov++;
        s->count--;
    }
    if (bytes > 0) {
        s->iov->iov_base = (uint8_t *)s->iov->iov_base + bytes;
        s->iov->iov_len -= bytes;
    }
}

/* Split the last byte off a span that is not empty. */
static uint8_t *span_take_last(struct blk_span *s)
{
    struct iovec *last = &s->iov[s->count - 1];

    while (last->iov_len == 0) {
        last--;
        s->count--;
    }
    s->bytes--;
    if (--last->iov_len == 0)
        s->count--;
    return (uint8_t *)last->iov_base + last->iov_len;
}

bool blk_parts_framed(const struct virtqueue_buffer *buffer)
{
    return buffer->readable_count > 0 && buffer->readable[0].iov_len == HEADER_SIZE &&
           buffer->writable_count > 0 && buffer->writable[buffer->writable_count - 1].iov_len == 1;
}

bool blk_parts_split(struct blk_parts *p, struct virtqueue_buffer *buffer)
{
    uint8_t header[HEADER_SIZE];

    if (buffer->writable_bytes == 0 || buffer->readable_bytes < HEADER_SIZE)
        return false;
    if (buffer->readable[0].iov_len >= HEADER_SIZE)
        memcpy(header, buffer->readable[0].iov_base, HEADER_SIZE);
    else
        virtqueue_read(buffer, 0, header, sizeof(header));
    p->buffer = buffer;
    p->type = load_le32(header); /* header + 4 is reserved: ignored (DRV-BLK-16) */
    p->sector = load_le64(header + 8);
    p->out = (struct blk_span){buffer->readable, buffer->readable_count, buffer->readable_bytes};
    p->in = (struct blk_span){buffer->writable, buffer->writable_count, buffer->writable_bytes};
    span_drop_front(&p->out, HEADER_SIZE);
    p->status = span_take_last(&p->in);
    return true;
}
