/*
 * One decompressor a file. Each unpacks exactly out_size bytes or fails; `*reason` says "it is
 * damaged" unless the function sets something better. Sizes are at most INT32_MAX.
 */
#ifndef GUEST_UNPACK_FORMATS_H
#define GUEST_UNPACK_FORMATS_H

#include "guest/unpack.h"

typedef int unpack_function(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
                            const char **reason);

unpack_function unpack_gzip, unpack_xz, unpack_lzma, unpack_lz4, unpack_zstd, unpack_bzip2;

#endif
