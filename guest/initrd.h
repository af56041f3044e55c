/*
 * Initial RAM disks: files placed in guest memory one after the other, each padded to 4 bytes with
 * zeroes, as Linux's initramfs unpacker expects of concatenated archives.
 */
#ifndef GUEST_INITRD_H
#define GUEST_INITRD_H

#include "base/error.h"
#include "guest/memory.h"

#include <stddef.h>
#include <stdint.h>

struct initrd {
    size_t count;
    struct initrd_file {
        const char *path; /* borrowed */
        int fd;
        uint64_t size;
    } * files;
    uint64_t size; /* of all together, padding included */
};

/* Open and measure the files. Errors name the file: missing, not a regular file, empty, unreadable.
 */
int initrd_open(struct initrd *initrd, const char *const *paths, size_t count, struct error *err);

/*
 * Read them into guest RAM as high as possible below `limit` (exclusive) and not below `lowest`;
 * *out_start is the page-aligned address. -ENOMEM, saying how much is needed, when RAM is too
 * small.
 */
int initrd_load(const struct initrd *initrd, struct guest_memory *mem, uint64_t lowest,
                uint64_t limit, uint64_t *out_start, struct error *err);

void initrd_close(struct initrd *initrd);

#endif
