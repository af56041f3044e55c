/*
 * What a test program has mapped and open.
 */
#ifndef TESTS_UNIT_THIS_PROCESS_H
#define TESTS_UNIT_THIS_PROCESS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A file whose path has this part. */
static inline bool is_mapped(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool found = false;

    while (maps && !found && fgets(line, sizeof(line), maps))
        found = strstr(line, name);
    if (maps)
        fclose(maps);
    return found;
}

static inline unsigned count_fds(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

#endif
