/*
 * A vhost-user back end of a device with shared memory, for tests/integration: it maps files into a
 * region of 8 GiB, and changes that as the guest tells it.
 *
 *     peer_shared_memory SOCKET      connects to the front end there, and serves until it is killed
 *
 * The region holds a page for words between guest and peer; at PATTERN, 16 MiB to be read; and at
 * FILE 64 KiB of a file. The first word of the page is what the guest wants, 0 once that is done:
 * 'U' to unmap the pattern, 'S' to shorten the file to nothing. A driver's reset unmaps everything,
 * so that it is mapped again whenever it is gone.
 */
#include "base/bytes.h"
#include "tests/driver/vhost_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION         (8 * GIB)
#define PAGE           (4 * KIB)
#define PATTERN        (4 * GIB)
#define PATTERN_LENGTH (16 * MIB)
#define FILE_AT        (6 * GIB)
#define FILE_LENGTH    (64 * KIB)
#define READY          0x64616572 /* "read" in the second word */

struct file {
    uint64_t at, length, flags;
    int fd;
    uint32_t *words;
};

static struct file make_file(uint64_t at, uint64_t length, uint64_t flags)
{
    struct file file = {at, length, flags, memfd_create("peer", MFD_CLOEXEC), NULL};

    if (file.fd < 0 || ftruncate(file.fd, (off_t)length) < 0)
        exit(1);
    file.words = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    if (file.words == MAP_FAILED)
        exit(1);
    return file;
}

static bool say(struct vhost_peer *peer, uint32_t request, const struct file *file)
{
    const struct vhost_user_mapping mapping = {
        .shm_offset = file->at, .length = file->length, .flags = file->flags};
    bool maps = request == VHOST_USER_BACKEND_SHMEM_MAP;

    return vhost_peer_say(peer, request, &mapping, sizeof(mapping), maps ? file->fd : -1) == 0;
}

static void obey(struct vhost_peer *peer, volatile uint32_t *want, const struct file *pattern,
                 const struct file *file)
{
    if (*want == 'U')
        say(peer, VHOST_USER_BACKEND_SHMEM_UNMAP, pattern);
    else if (*want == 'S' && ftruncate(file->fd, 0) < 0)
        exit(1);
    *want = 0;
}

int main(int argc, char **argv)
{
    struct file page = make_file(0, PAGE, VHOST_USER_MAPPING_WRITABLE);
    struct file pattern = make_file(PATTERN, PATTERN_LENGTH, 0);
    struct file file = make_file(FILE_AT, FILE_LENGTH, VHOST_USER_MAPPING_WRITABLE);
    struct vhost_peer peer;

    if (argc != 2)
        return 2;
    for (uint32_t i = 0; i < PATTERN_LENGTH / 4; i++)
        pattern.words[i] = i;
    page.words[1] = READY;
    vhost_peer_init(&peer);
    peer.connects_to = argv[1];
    peer.queues = 1;
    peer.shmem = (struct vhost_user_shmem_config){.count = 1, .sizes = {REGION}};
    vhost_peer_start(&peer);
    for (;; usleep(100000)) {
        if (!vhost_peer_count(&peer, VHOST_USER_SET_BACKEND_REQ_FD))
            continue;
        if (page.words[0])
            obey(&peer, page.words, &pattern, &file);
        else if (say(&peer, VHOST_USER_BACKEND_SHMEM_MAP, &page) &&
                 !(say(&peer, VHOST_USER_BACKEND_SHMEM_MAP, &pattern) &&
                   say(&peer, VHOST_USER_BACKEND_SHMEM_MAP, &file)))
            return 1;
    }
}
