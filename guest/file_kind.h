/*
 * What a file that is no kernel looks like: for the error message only.
 */
#ifndef GUEST_FILE_KIND_H
#define GUEST_FILE_KIND_H

#include <stddef.h>
#include <stdint.h>

/* "an arm64 kernel", "gzip data", ... or NULL when nothing is recognised. */
const char *file_kind(const uint8_t *start, size_t size);

#endif
