/*
 * Where the program under test and its modules are, for unit tests that run or load them.
 */
#ifndef TESTS_UNIT_BUILD_DIRECTORY_H
#define TESTS_UNIT_BUILD_DIRECTORY_H

#include "base/module.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* BUILD of BUILD/tests/test_x, where modules are looked for from now on. Ends the program when it
 * is not known. */
static inline const char *build_directory(void)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

    for (int i = 0; i < 2; i++) {
        char *slash = length > 0 ? strrchr(path, '/') : NULL;

        if (!slash)
            exit(1);
        *slash = '\0';
    }
    module_search_first(path);
    return path;
}

#endif
