#include "guest/unpack/formats.h"

#include <bzlib.h>
#include <errno.h>

int unpack_bzip2(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
                 const char **reason)
{
    unsigned produced = (unsigned)out_size;
    int ret = BZ2_bzBuffToBuffDecompress((char *)out, &produced, (char *)(uintptr_t)in,
                                         (unsigned)in_size, 0, 0);

    if (ret == BZ_MEM_ERROR) {
        *reason = "out of memory";
        return -ENOMEM;
    }
    return ret == BZ_OK && produced == out_size ? 0 : -EINVAL;
}
