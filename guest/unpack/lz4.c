/*
 * The LZ4 legacy frame, which is what `lz4 -l` writes and Linux's lib/decompress_unlz4.c reads: a
 * magic number, then blocks of a 32-bit packed size and that many bytes. Each block unpacks to 8
 * MiB, the last to what is left.
 */
#include "guest/unpack/formats.h"

#include "base/bytes.h"

#include <errno.h>
#include <lz4.h>

#define MAGIC      0x184c2102u
#define BLOCK_SIZE (8 * MIB)

int unpack_lz4(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
               const char **reason)
{
    size_t in_at = 0, out_at = 0;

    (void)reason;
    while (out_at < out_size) {
        size_t packed, room = MIN(out_size - out_at, BLOCK_SIZE);
        int n;

        if (in_size - in_at < 4)
            return -EINVAL;
        packed = load_le32(in + in_at);
        in_at += 4;
        if (packed == MAGIC) /* at the start, and between frames that were concatenated */
            continue;
        if (packed > in_size - in_at)
            return -EINVAL;
        n = LZ4_decompress_safe((const char *)in + in_at, (char *)out + out_at, (int)packed,
                                (int)room);
        if (n <= 0)
            return -EINVAL;
        in_at += packed;
        out_at += (size_t)n;
    }
    return 0;
}
