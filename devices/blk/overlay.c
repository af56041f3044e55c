#include "devices/blk/overlay.h"

#include "base/bytes.h"
#include "devices/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file system without O_TMPFILE gets a name that goes at once. */
static int open_named(const char *directory)
{
    char *path;
    int fd, code;

    if (asprintf(&path, "%s/vireo-snapshot.XXXXXX", directory) < 0)
        return -ENOMEM;
    fd = mkostemp(path, O_CLOEXEC);
    code = errno;
    if (fd >= 0)
        unlink(path);
    free(path);
    return fd >= 0 ? fd : -code;
}

static int file_open(struct blk_overlay *overlay, struct error *err)
{
    const char *directory = getenv("TMPDIR");
    int fd;

    if (!directory || !directory[0])
        directory = "/var/tmp";
    fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        fd = open_named(directory);
    else if (fd < 0)
        fd = -errno;
    if (fd < 0)
        return error_errno(err, -fd,
                           "snapshot: cannot make a temporary file in '%s' (TMPDIR names another "
                           "directory)",
                           directory);
    overlay->file.fd = fd;
    return 0;
}

static int map_open(struct blk_overlay *overlay, uint64_t sectors, struct error *err)
{
    void *map;

    overlay->map_bytes = align_up((sectors + 7) / 8, sizeof(uint64_t));
    map = mmap(NULL, overlay->map_bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return error_errno(err, errno, "snapshot: no memory for the map of a disk this large");
    overlay->map = map;
    return 0;
}

int blk_overlay_open(struct blk_overlay *overlay, uint64_t sectors, struct error *err)
{
    int r;

    *overlay = (struct blk_overlay){.file.fd = -1, .image_sectors = sectors};
    r = file_open(overlay, err);
    if (r == 0)
        r = blk_overlay_resize(overlay, sectors, err);
    if (r == 0)
        r = map_open(overlay, sectors, err);
    if (r == 0)
        blk_file_find_methods(&overlay->file, sectors * BLK_SECTOR_SIZE);
    else
        blk_overlay_close(overlay);
    return r;
}

void blk_overlay_close(struct blk_overlay *overlay)
{
    if (overlay->map)
        munmap(overlay->map, overlay->map_bytes);
    if (overlay->file.fd >= 0)
        close(overlay->file.fd);
    overlay->map = NULL;
    overlay->file.fd = -1;
}

int blk_overlay_resize(struct blk_overlay *overlay, uint64_t sectors, struct error *err)
{
    if (ftruncate(overlay->file.fd, (off_t)(sectors * BLK_SECTOR_SIZE)) < 0)
        return error_errno(err, errno, "cannot make the snapshot's file as large as the disk");
    overlay->image_sectors = MIN(overlay->image_sectors, sectors);
    return 0;
}

/* The first bit from `from` on, but before `end`, that is `set`; else `end`. */
static uint64_t map_find(const uint64_t *map, uint64_t from, uint64_t end, bool set)
{
    while (from < end) {
        uint64_t word = (set ? map[from / 64] : ~map[from / 64]) >> (from % 64);

        if (word)
            return MIN(from + (uint64_t)__builtin_ctzll(word), end);
        from = align_down(from, 64) + 64;
    }
    return end;
}

bool blk_overlay_has(const struct blk_overlay *overlay, uint64_t sector, uint64_t count,
                     uint64_t *run)
{
    uint64_t end = MIN(sector + count, overlay->image_sectors);
    bool has;

    if (sector >= overlay->image_sectors) {
        *run = count;
        return true;
    }
    has = overlay->map[sector / 64] >> (sector % 64) & 1;
    *run = map_find(overlay->map, sector, end, !has) - sector;
    return has;
}

void blk_overlay_add(struct blk_overlay *overlay, uint64_t sector, uint64_t count)
{
    uint64_t end = MIN(sector + count, overlay->image_sectors);

    for (uint64_t next; sector < end; sector = next) {
        uint64_t bits = UINT64_MAX << (sector % 64);

        next = align_down(sector, 64) + 64;
        if (next > end)
            bits &= UINT64_MAX >> (next - end);
        overlay->map[sector / 64] |= bits;
    }
}
