#include "devices/display/common/place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int display_place_check(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) + 1 : 1;

    if (snprintf(directory, sizeof(directory), "%.*s", length, slash ? path : ".") >= PATH_MAX)
        return -ENAMETOOLONG;
    return access(directory, W_OK | X_OK) ? -errno : 0;
}
