#include "guest/image_cache.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define DIRECTORY_MODE 0700
#define FILE_MODE      0600
#define RACY_NS        INT64_C(50000000) /* above the granularity of file times */

/* Ours, and nobody else can write to it. */
static bool trusted(const struct stat *st)
{
    return st->st_uid == geteuid() && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

int image_cache_open(struct image_cache *cache, const char *path, struct error *err)
{
    struct stat st;
    int ret = 0;

    cache->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cache->directory < 0)
        return error_errno(err, errno, "cannot open the cache directory '%s'", path);
    if (fstat(cache->directory, &st) < 0)
        ret = error_errno(err, errno, "cannot look at the cache directory '%s'", path);
    else if (!trusted(&st))
        ret =
            error_set(err, EPERM,
                      "the cache directory '%s' belongs to or is writable for somebody else", path);
    if (ret < 0)
        image_cache_close(cache);
    return ret;
}

int image_cache_create(struct image_cache *cache, const char *path, struct error *err)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    cache->directory = -1;
    if (length >= sizeof(part))
        return error_set(err, ENAMETOOLONG, "the name of the cache directory is too long");
    /* What is already there, or cannot be made, shows when the directory is opened. */
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        (void)mkdir(part, DIRECTORY_MODE);
    }
    return image_cache_open(cache, path, err);
}

void image_cache_close(struct image_cache *cache)
{
    if (cache->directory >= 0)
        close(cache->directory);
    cache->directory = -1;
}

static void image_name(const uint8_t key[IMAGE_CACHE_KEY], char name[IMAGE_CACHE_NAME])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < IMAGE_CACHE_KEY; i++) {
        name[2 * i] = digits[key[i] >> 4];
        name[2 * i + 1] = digits[key[i] & 15];
    }
    memcpy(name + 2 * IMAGE_CACHE_KEY, ".image", sizeof(".image"));
}

#define LINK_NAME 128

static void link_name(const struct stat *st, char name[LINK_NAME])
{
    snprintf(name, LINK_NAME, "%jx-%jx-%jx-%jx.%lx-%jx.%lx.link", (uintmax_t)st->st_dev,
             (uintmax_t)st->st_ino, (uintmax_t)st->st_size, (uintmax_t)st->st_mtim.tv_sec,
             st->st_mtim.tv_nsec, (uintmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static int open_trusted(const struct image_cache *cache, const char *name)
{
    int fd = openat(cache->directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !trusted(&st)) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

int image_cache_find(const struct image_cache *cache, const struct stat *file)
{
    char name[LINK_NAME];

    link_name(file, name);
    return open_trusted(cache, name);
}

int image_cache_find_content(const struct image_cache *cache, const uint8_t key[IMAGE_CACHE_KEY])
{
    char name[IMAGE_CACHE_NAME];

    image_name(key, name);
    return open_trusted(cache, name);
}

static void temporary_name(char name[IMAGE_CACHE_NAME])
{
    uint64_t unique = 0;

    /* Should there be no random numbers, O_EXCL still keeps two writers apart. */
    if (getrandom(&unique, sizeof(unique), GRND_NONBLOCK) < 0)
        unique = (uint64_t)getpid();
    snprintf(name, IMAGE_CACHE_NAME, "%016" PRIx64 ".new", unique);
}

int image_cache_new(const struct image_cache *cache, char temporary[IMAGE_CACHE_NAME],
                    struct error *err)
{
    int fd;

    temporary_name(temporary);
    fd = openat(cache->directory, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return error_errno(err, errno, "cannot write to the cache directory");
    return fd;
}

void image_cache_discard(const struct image_cache *cache, const char *temporary)
{
    (void)unlinkat(cache->directory, temporary, 0);
}

int image_cache_commit(const struct image_cache *cache, const char *temporary,
                       const uint8_t key[IMAGE_CACHE_KEY], struct error *err)
{
    char name[IMAGE_CACHE_NAME];

    image_name(key, name);
    if (renameat(cache->directory, temporary, cache->directory, name) < 0) {
        int code = errno;

        image_cache_discard(cache, temporary);
        return error_errno(err, code, "cannot write to the cache directory");
    }
    image_cache_prune(cache);
    return 0;
}

void image_cache_link(const struct image_cache *cache, const struct stat *file,
                      const uint8_t key[IMAGE_CACHE_KEY])
{
    char name[LINK_NAME], target[IMAGE_CACHE_NAME], temporary[IMAGE_CACHE_NAME];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if ((now.tv_sec - file->st_ctim.tv_sec) * INT64_C(1000000000) + now.tv_nsec -
            file->st_ctim.tv_nsec <
        RACY_NS)
        return;
    link_name(file, name);
    image_name(key, target);
    temporary_name(temporary);
    if (symlinkat(target, cache->directory, temporary) < 0)
        return;
    if (renameat(cache->directory, temporary, cache->directory, name) < 0)
        image_cache_discard(cache, temporary);
}
