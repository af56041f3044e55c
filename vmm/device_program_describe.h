/*
 * What a device as a program says of itself, to management software.
 */
#ifndef VMM_DEVICE_PROGRAM_DESCRIBE_H
#define VMM_DEVICE_PROGRAM_DESCRIBE_H

/* --print-capabilities: returns an exit status. */
int device_program_print_capabilities(const char *type);

/*
 * `vireo device --write-discovery=DIRECTORY --programs=DIRECTORY`, for `make install`: write a
 * discovery file (discovery.h) for each type there is a model of, which names the program
 * vhost-user-TYPE in the second directory; and print these names, one a line. Returns an exit
 * status.
 */
int device_program_write_discovery(int argc, char **argv);

#endif
