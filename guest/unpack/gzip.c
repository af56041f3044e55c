#include "guest/unpack/formats.h"

#include <errno.h>
#include <zlib.h>

#define WINDOW_GZIP (15 + 16) /* largest window, gzip wrapper */

int unpack_gzip(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
                const char **reason)
{
    z_stream stream = {
        .next_in = (uint8_t *)in, /* zlib does not write to it */
        .avail_in = (uInt)in_size,
        .next_out = out,
        .avail_out = (uInt)out_size,
    };
    int ret;

    if (inflateInit2(&stream, WINDOW_GZIP) != Z_OK) {
        *reason = "out of memory";
        return -ENOMEM;
    }
    ret = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return ret == Z_STREAM_END && stream.avail_out == 0 ? 0 : -EINVAL;
}
