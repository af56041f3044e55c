#include "guest/unpack/formats.h"

#include <errno.h>
#include <lzma.h>

/* Linux packs with a dictionary of up to 128 MiB; a file that asks for more is not a kernel. */
#define MEMORY_LIMIT (UINT64_C(300) << 20)

static int result(lzma_ret ret, size_t produced, size_t wanted, const char **reason)
{
    if (ret == LZMA_MEM_ERROR || ret == LZMA_MEMLIMIT_ERROR) {
        *reason = "it needs too much memory";
        return -ENOMEM;
    }
    return (ret == LZMA_OK || ret == LZMA_STREAM_END) && produced == wanted ? 0 : -EINVAL;
}

int unpack_xz(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size, const char **reason)
{
    uint64_t limit = MEMORY_LIMIT;
    size_t in_at = 0, out_at = 0;
    lzma_ret ret =
        lzma_stream_buffer_decode(&limit, 0, NULL, in, &in_at, in_size, out, &out_at, out_size);

    return result(ret, out_at, out_size, reason);
}

/* The older .lzma format has no end marker when it says its size, and no check at all. */
int unpack_lzma(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
                const char **reason)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_ret ret = lzma_alone_decoder(&stream, MEMORY_LIMIT);

    if (ret == LZMA_OK) {
        stream.next_in = in;
        stream.avail_in = in_size;
        stream.next_out = out;
        stream.avail_out = out_size;
        ret = lzma_code(&stream, LZMA_FINISH);
    }
    lzma_end(&stream);
    return result(ret, out_size - stream.avail_out, out_size, reason);
}
