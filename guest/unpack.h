/*
 * The interface of the module vireo-unpack.so: what is needed only when a kernel is met for the
 * first time.
 *
 * It holds all decompression libraries and a hash, so that neither is mapped into a process that
 * boots a kernel from the cache. The functions keep no state and may be called from any thread.
 */
#ifndef GUEST_UNPACK_H
#define GUEST_UNPACK_H

#include <stddef.h>
#include <stdint.h>

/* What a kernel's payload can be packed with (Linux init/Kconfig, KERNEL_GZIP and so on). */
enum payload_format {
    PAYLOAD_UNKNOWN,
    PAYLOAD_GZIP,
    PAYLOAD_XZ,
    PAYLOAD_LZMA,
    PAYLOAD_LZ4, /* the legacy frame format */
    PAYLOAD_ZSTD,
    PAYLOAD_BZIP2,
    PAYLOAD_LZO,
    PAYLOAD_FORMATS,
};

#define UNPACK_DIGEST 32

struct unpack_module {
    /*
     * Unpack exactly out_size bytes. Bytes behind the end of the packed stream are ignored.
     * -EOPNOTSUPP for a format this build does not know, -EINVAL for damaged data or another size,
     * -ENOMEM; `*reason` is then a constant phrase.
     */
    int (*unpack)(enum payload_format format, const uint8_t *in, size_t in_size, uint8_t *out,
                  size_t out_size, const char **reason);

    void (*sha256)(const void *data, size_t size, uint8_t digest[UNPACK_DIGEST]);
};

#endif
