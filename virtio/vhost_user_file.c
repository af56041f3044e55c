/*
 * Files of a vhost-user peer's, mapped where the driver will see them: over parts of ranges that
 * are reserved for that (base/reservation.h).
 */
#include "virtio/vhost_user_internal.h"

#include "base/reservation.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

/* Whoever reads a file of FUSE waits for a process, which may be the peer. Secret memory is not for
 * KVM to look at, which would be the end of the vCPU that does. And of huge pages the kernel maps
 * whole ones, whatever the length: over what is behind the range. */
static int check(const struct vhost_user_file *file, struct error *err)
{
    struct statfs status;

    if (fstatfs(file->fd, &status) < 0 || status.f_type == FUSE_SUPER_MAGIC)
        return error_set(err, EINVAL, "%s of a file that another process provides", file->request);
    if (status.f_type == SECRETMEM_MAGIC)
        return error_set(err, EINVAL, "%s of secret memory", file->request);
    if (status.f_type == HUGETLBFS_MAGIC && file->length % (uint64_t)status.f_bsize)
        return error_set(err, EINVAL, "%s of a part of a huge page", file->request);
    return 0;
}

int vhost_user_file_map(const struct vhost_user_file *file, void *at, struct error *err)
{
    int rights = file->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    int ret = check(file, err);

    if (ret ||
        mmap(at, file->length, rights, MAP_SHARED | MAP_FIXED, file->fd, (off_t)file->offset) == at)
        return ret;
    error_errno(err, errno, "cannot map what is given with %s", file->request);
    reservation_clear(at, file->length); /* what was there may be gone already */
    return -EINVAL;
}
