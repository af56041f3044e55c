/*
 * Ranges of this process's addresses that are kept free for mappings that come later.
 */
#ifndef BASE_RESERVATION_H
#define BASE_RESERVATION_H

#include <stdint.h>

/* Reserve `length` bytes that agree with guest address `start` modulo 2 MiB: without that KVM could
 * not map huge pages, whatever the host gives. NULL, and errno, when there is no room. munmap frees
 * them. */
void *reservation_make(uint64_t start, uint64_t length);

/* Drop what is mapped in a part of a reservation. */
void reservation_clear(void *at, uint64_t length);

#endif
