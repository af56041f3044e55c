/*
 * Keeping the image cache small: runs whenever an image was added.
 */
#include "guest/image_cache.h"

#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STALE_SECONDS 3600 /* a .new file this old was left by a process that died */

struct oldest {
    size_t count; /* how many there are */
    int64_t time_ns;
    char name[256];
};

static int64_t time_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* With relatime a file in use has a time of access at most a day old, which orders kernels well
 * enough. */
static int64_t last_use(const struct stat *st)
{
    return MAX(time_ns(&st->st_atim), time_ns(&st->st_mtim));
}

static void note(struct oldest *oldest, const char *name, const struct stat *st)
{
    if (!oldest->count || last_use(st) < oldest->time_ns) {
        oldest->time_ns = last_use(st);
        snprintf(oldest->name, sizeof(oldest->name), "%s", name);
    }
    oldest->count++;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);

    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static void look_at(int directory, const char *name, struct oldest *images, struct oldest *links)
{
    struct stat st;

    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (ends_with(name, ".image"))
        note(images, name, &st);
    else if (ends_with(name, ".link") && faccessat(directory, name, F_OK, 0) < 0)
        (void)unlinkat(directory, name, 0); /* what it led to is gone */
    else if (ends_with(name, ".link"))
        note(links, name, &st);
    else if (ends_with(name, ".new") && time(NULL) - st.st_mtim.tv_sec > STALE_SECONDS)
        (void)unlinkat(directory, name, 0);
}

/* One pass over the directory; removes at most one image and one link. True when it should be run
 * again. */
static bool prune_once(int directory)
{
    struct oldest images = {.count = 0}, links = {.count = 0};
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    bool removed = false;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    while ((entry = readdir(dir)))
        look_at(directory, entry->d_name, &images, &links);
    closedir(dir);
    if (images.count > IMAGE_CACHE_IMAGES)
        removed |= unlinkat(directory, images.name, 0) == 0;
    if (links.count > IMAGE_CACHE_LINKS)
        removed |= unlinkat(directory, links.name, 0) == 0;
    return removed;
}

void image_cache_prune(const struct image_cache *cache)
{
    while (prune_once(cache->directory))
        ;
}
