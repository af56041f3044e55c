/*
 * `vireo help [TOPIC]` and the manual page, from the same tables that options are parsed with.
 */
#ifndef VMM_HELP_H
#define VMM_HELP_H

#include <stdio.h>

/* NULL: the overview. -ENOENT for an unknown topic. Topic "man" is the manual page in roff. */
int help_print(FILE *out, const char *topic);

#endif
