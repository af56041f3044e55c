/*
 * `vireo device TYPE`: a device as a program of its own, served to any VMM over vhost-user.
 *
 * Follows the conventions of vhost-user back-end programs: --socket-path or --fd, which exclude one
 * another; --print-capabilities, which prints JSON and ends; it stays in the foreground, ends at
 * SIGTERM, and refuses at start what the host cannot do.
 */
#ifndef VMM_DEVICE_PROGRAM_H
#define VMM_DEVICE_PROGRAM_H

#include <stdio.h>

/* Arguments after "device". Returns an exit status. */
int device_program_main(int argc, char **argv);

/* The type that a program of this path serves, where we are called by such a name:
 * PREFIX/libexec/vireo/vhost-user-TYPE; else NULL. */
const char *device_program_type(const char *path);

/* For `vireo help programs`. */
void device_program_print_help(FILE *out);

#endif
