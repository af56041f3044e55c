/*
 * The arguments of a program to start, put together one by one: a NULL-terminated list of texts,
 * which begins with the program's path and belongs to whoever has it. An empty list is NULL.
 */
#ifndef VMM_ARGUMENTS_H
#define VMM_ARGUMENTS_H

#include "base/error.h"

/* -ENOMEM leaves what was there. */
int arguments_add(char ***arguments, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void arguments_free(char **arguments);

#endif
