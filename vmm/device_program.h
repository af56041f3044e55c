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

/* For `vireo help device-program`. */
void device_program_print_help(FILE *out);

#endif
