/*
 * vireo-unpack.so: the table of guest/unpack.h.
 */
#include "guest/unpack/formats.h"

#include <errno.h>
#include <sha256.h>
#include <stddef.h>

static int unpack(enum payload_format format, const uint8_t *in, size_t in_size, uint8_t *out,
                  size_t out_size, const char **reason)
{
    static unpack_function *const functions[PAYLOAD_FORMATS] = {
        [PAYLOAD_GZIP] = unpack_gzip, [PAYLOAD_XZ] = unpack_xz,     [PAYLOAD_LZMA] = unpack_lzma,
        [PAYLOAD_LZ4] = unpack_lz4,   [PAYLOAD_ZSTD] = unpack_zstd, [PAYLOAD_BZIP2] = unpack_bzip2,
    };

    *reason = "the format is not supported";
    if (format >= PAYLOAD_FORMATS || !functions[format])
        return -EOPNOTSUPP;
    /* Several of the libraries count in 32 bits. */
    *reason = "it is too large";
    if (in_size > INT32_MAX || out_size > INT32_MAX)
        return -EINVAL;
    *reason = "it is damaged";
    return functions[format](in, in_size, out, out_size, reason);
}

static void sha256(const void *data, size_t size, uint8_t digest[UNPACK_DIGEST])
{
    SHA2_CTX context;

    SHA256Init(&context);
    SHA256Update(&context, data, size);
    SHA256Final(digest, &context);
}

extern const struct unpack_module vireo_module_unpack;

const struct unpack_module vireo_module_unpack = {
    .unpack = unpack,
    .sha256 = sha256,
};
