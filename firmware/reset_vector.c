/*
 * The reset vector's code, for 16-bit real mode.
 */
#include "firmware/reset_vector.h"

#include "base/bytes.h"

#include <errno.h>

int reset_vector_write(struct guest_memory *mem, uint16_t port, uint8_t value, struct error *err)
{
    uint8_t code[RESET_VECTOR_SIZE] = {
        0xba, 0,     0, /* mov $port, %dx */
        0xb0, value,    /* mov $value, %al */
        0xee,           /* out %al, (%dx) */
        0xf4,           /* 1: hlt */
        0xeb, 0xfd,     /* jmp 1b */
    };

    store_le16(code + 1, port);
    int ret = guest_memory_write(mem, GPA(RESET_VECTOR), code, sizeof(code));
    if (ret)
        return error_errno(err, -ret, "writing the reset vector");
    return 0;
}
