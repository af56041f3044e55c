#include "guest/kernel_unpack.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/module.h"
#include "guest/flat_image.h"
#include "guest/image_cache.h"
#include "guest/image_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNPACKED_MAX GIB

_Static_assert(IMAGE_CACHE_KEY == UNPACK_DIGEST, "the key is the digest");

struct unpack_job {
    const struct unpack_module *module;
    const struct bzimage *bz;
    struct stat st;
    uint8_t *file; /* the whole bzImage */
    struct image_cache cache;
    uint8_t key[IMAGE_CACHE_KEY];
};

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int read_file(struct unpack_job *job, int fd, struct error *err)
{
    struct stat after;
    int ret;

    job->file = malloc((size_t)job->st.st_size);
    if (!job->file)
        return error_set(err, ENOMEM, "not enough memory to unpack the kernel");
    ret = file_read_at(fd, 0, job->file, (size_t)job->st.st_size, err);
    if (ret == 0 && (fstat(fd, &after) < 0 || !same_file(&job->st, &after)))
        ret = error_set(err, EAGAIN, "the file is being changed");
    return ret;
}

/* The unpacked size is the last word of the payload: gzip's own trailer, or appended by Linux's
 * build. */
static int unpack_payload(const struct unpack_job *job, enum payload_format format, uint8_t *out,
                          size_t out_size, struct error *err)
{
    const uint8_t *payload = job->file + job->bz->payload_offset;
    size_t size = job->bz->payload_size - (format == PAYLOAD_GZIP ? 0 : 4);
    const char *reason = "";
    int ret = job->module->unpack(format, payload, size, out, out_size, &reason);

    if (ret < 0)
        return error_set(err, -ret, "cannot unpack the %s payload: %s", payload_format_name(format),
                         reason);
    return 0;
}

/* Unpack to memory, and lay that out in the empty file `fd`. */
static int make_image(const struct unpack_job *job, int fd, struct error *err)
{
    const struct bzimage *bz = job->bz;
    const uint8_t *payload = job->file + bz->payload_offset;
    enum payload_format format;
    size_t size;
    void *out;
    int ret;

    if (bz->payload_size < 8)
        return error_set(err, EINVAL, "the image has no payload");
    format = payload_detect(payload, bz->payload_size);
    size = load_le32(payload + bz->payload_size - 4);
    if (format == PAYLOAD_UNKNOWN)
        return error_set(err, EINVAL, "the payload is in an unknown format");
    if (!size || size > UNPACKED_MAX)
        return error_set(err, EINVAL, "the payload is damaged: it unpacks to %zu MiB", size >> 20);
    out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (out == MAP_FAILED)
        return error_set(err, ENOMEM, "not enough memory to unpack the kernel");
    ret = unpack_payload(job, format, out, size, err);
    if (ret == 0)
        ret = flat_image_write(fd, bz, payload_format_name(format), out, size, err);
    munmap(out, size);
    return ret;
}

static int make_image_in_memory(const struct unpack_job *job, struct error *err)
{
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    int ret;

    if (fd < 0)
        return error_errno(err, errno, "cannot create a memfd for the kernel");
    ret = make_image(job, fd, err);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    return fd;
}

/* Into the cache. */
static int make_image_in_cache(const struct unpack_job *job, struct error *err)
{
    char temporary[IMAGE_CACHE_NAME];
    int fd = image_cache_new(&job->cache, temporary, err);
    int ret;

    if (fd < 0)
        return fd;
    ret = make_image(job, fd, err);
    if (ret == 0)
        ret = image_cache_commit(&job->cache, temporary, job->key, err);
    else
        image_cache_discard(&job->cache, temporary);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    image_cache_link(&job->cache, &job->st, job->key);
    return fd;
}

/* The same content under another name, or a file that was touched. */
static int find_in_cache(const struct unpack_job *job)
{
    struct flat_image image;
    int fd = image_cache_find_content(&job->cache, job->key);

    /* A damaged one must not be linked to again: it is made anew and replaced. */
    if (fd < 0 || flat_image_open(&image, dup(fd), true, NULL) < 0) {
        if (fd >= 0)
            close(fd);
        return -ENOENT;
    }
    flat_image_close(&image);
    image_cache_link(&job->cache, &job->st, job->key);
    return fd;
}

static int run_job(struct unpack_job *job, const char *cache_dir, struct error *err)
{
    struct error why = ERROR_INIT;
    int fd;

    if (!cache_dir)
        return make_image_in_memory(job, err);
    if (image_cache_create(&job->cache, cache_dir, &why) < 0) {
        log_info("kernel", "no image cache: %s", why.text);
        return make_image_in_memory(job, err);
    }
    job->module->sha256(job->file, (size_t)job->st.st_size, job->key);
    fd = find_in_cache(job);
    if (fd < 0)
        fd = make_image_in_cache(job, &why);
    image_cache_close(&job->cache);
    if (fd >= 0)
        return fd;
    /* A full disk or a read-only directory; when it was the kernel's fault this fails in the same
     * way. */
    log_info("kernel", "the image cache is not used: %s", why.text);
    return make_image_in_memory(job, err);
}

int kernel_unpack(int fd, const struct stat *st, const struct bzimage *bz, const char *cache_dir,
                  struct error *err)
{
    struct unpack_job job = {.bz = bz, .st = *st, .cache = {.directory = -1}};
    struct module module;
    int ret = module_load(&module, "unpack", err);

    if (ret < 0)
        return ret;
    job.module = module.table;
    ret = read_file(&job, fd, err);
    if (ret == 0)
        ret = run_job(&job, cache_dir, err);
    free(job.file);
    module_unload(&module);
    return ret;
}
