/*
 * The cache of unpacked kernels: a directory of flat images, named by the content they were made
 * from.
 *
 *   HEX.image   the flat image of the bzImage whose SHA-256 is HEX
 *   ID.link     symbolic link to such an image; ID is the identity of a bzImage file (device,
 * inode, size, times of modification and change), so that a known file is not even opened for
 * hashing
 *
 * Files appear by rename, so any number of processes can use one cache. Only a directory and files
 * that are ours and that nobody else can write are trusted. Nothing here is ever an error for the
 * user: a cache that cannot be used is a slower start.
 */
#ifndef GUEST_IMAGE_CACHE_H
#define GUEST_IMAGE_CACHE_H

#include "base/error.h"

#include <stdint.h>
#include <sys/stat.h>

#define IMAGE_CACHE_IMAGES 8 /* the oldest are dropped beyond that */
#define IMAGE_CACHE_LINKS  32
#define IMAGE_CACHE_KEY    32 /* bytes of content key */

struct image_cache {
    int directory; /* -1: closed */
};

/* Open the directory to look something up. -ENOENT when there is none yet, -EPERM when it is not to
 * be trusted. */
int image_cache_open(struct image_cache *cache, const char *path, struct error *err);

/* The same to store something: missing directories are made. */
int image_cache_create(struct image_cache *cache, const char *path, struct error *err);
void image_cache_close(struct image_cache *cache);

/* A descriptor of the image made from a file, by the file's identity or by its content; -ENOENT,
 * -EPERM. */
int image_cache_find(const struct image_cache *cache, const struct stat *file);
int image_cache_find_content(const struct image_cache *cache, const uint8_t key[IMAGE_CACHE_KEY]);

/* A new file for an image, readable and writable, not yet to be found. Its name is in `temporary`.
 */
#define IMAGE_CACHE_NAME 80
int image_cache_new(const struct image_cache *cache, char temporary[IMAGE_CACHE_NAME],
                    struct error *err);

/* Give it its place, and make room; or drop it. */
int image_cache_commit(const struct image_cache *cache, const char *temporary,
                       const uint8_t key[IMAGE_CACHE_KEY], struct error *err);
void image_cache_discard(const struct image_cache *cache, const char *temporary);

/* Drop what is too much or left over. */
void image_cache_prune(const struct image_cache *cache);

/* Remember that `file` has this content. A file that changed a moment ago is not remembered: it
 * could change once more without its time of change showing it. */
void image_cache_link(const struct image_cache *cache, const struct stat *file,
                      const uint8_t key[IMAGE_CACHE_KEY]);

#endif
