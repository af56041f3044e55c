#include "guest/unpack/formats.h"

#include <errno.h>
#include <zstd.h>

int unpack_zstd(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
                const char **reason)
{
    size_t frame = ZSTD_findFrameCompressedSize(in, in_size);
    size_t n;

    (void)reason;
    if (ZSTD_isError(frame))
        return -EINVAL;
    n = ZSTD_decompress(out, out_size, in, frame);
    return !ZSTD_isError(n) && n == out_size ? 0 : -EINVAL;
}
