#include "vmm/isolate_namespaces.h"

#include "base/bytes.h"
#include "base/log.h"
#include "vmm/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- users ------------------------------------------------------------------------------------ */

/* What to write so that a user name space knows its first process's user and group, and no others.
 */
struct user_maps {
    char users[32], groups[32];
};

static void user_maps_make(struct user_maps *maps)
{
    snprintf(maps->users, sizeof(maps->users), "%u %u 1", geteuid(), geteuid());
    snprintf(maps->groups, sizeof(maps->groups), "%u %u 1", getegid(), getegid());
}

/* As in a signal handler. */
static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        ret = -errno;
    close(fd);
    return ret;
}

/* As in a signal handler. Groups can be mapped only once they can no longer be changed. */
static int user_maps_write(const struct user_maps *maps)
{
    int ret = write_file("/proc/self/uid_map", maps->users);

    if (!ret)
        ret = write_file("/proc/self/setgroups", "deny");
    return ret ? ret : write_file("/proc/self/gid_map", maps->groups);
}

/* --- being born into some --------------------------------------------------------------------- */

/* The order of arguments is that of x86_64, but for the first all are 0. */
static pid_t clone_with(unsigned long flags)
{
    long ret = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);

    return ret < 0 ? -errno : (pid_t)ret;
}

/* *mapped: the child has to write its maps. */
static pid_t clone_alone(const char *name, bool *mapped)
{
    pid_t pid = clone_with(CLONE_NEWPID);

    if (pid == -EPERM) { /* not the host's administrator: as the one of a space of its own */
        *mapped = true;
        pid = clone_with(CLONE_NEWUSER | CLONE_NEWPID);
    }
    if (pid < 0) {
        log_info("isolate", "%s: no process ID name space of its own: %s", name, strerror(-pid));
        *mapped = false;
        pid = clone_with(0);
    }
    return pid;
}

pid_t isolate_clone(const char *name, bool alone)
{
    struct user_maps maps;
    bool mapped = false;
    pid_t pid;

    user_maps_make(&maps);
    pid = alone ? clone_alone(name, &mapped) : clone_with(0);
    if (pid != 0)
        return pid;
    if (mapped && user_maps_write(&maps) < 0)
        _exit(127);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return 0;
}

/* --- leaving the host's ----------------------------------------------------------------------- */

static bool leave(const char *name, int flag, const char *what)
{
    if (unshare(flag) == 0)
        return true;
    log_info("isolate", "%s: no %s name space of its own: %s", name, what, strerror(errno));
    return false;
}

static void leave_users(const char *name)
{
    struct user_maps maps;
    int ret;

    user_maps_make(&maps);
    if (!leave(name, CLONE_NEWUSER, "user"))
        return;
    ret = user_maps_write(&maps);
    if (ret)
        log_info("isolate", "%s: its user is unknown in its name space: %s", name, strerror(-ret));
}

/* Any directory will do to put the new root on: it goes with the rest of the old one. */
static int mount_empty(void)
{
    static const char *const places[] = {"/proc", "/tmp", "/dev", "/sys"};

    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (mount("none", places[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=4k,nr_inodes=1,mode=0") == 0)
            return chdir(places[i]) == 0 ? 0 : -errno;
    return -errno;
}

/* Where the root is no mount of its own, and so cannot be taken away, another one is as good: the
 * way back needs a capability, and system calls, that are given up. */
static int change_root(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 && errno != EINVAL)
        return -errno;
    if (mount_empty() < 0)
        return -errno;
    if (syscall(SYS_pivot_root, ".", ".") == 0)
        return umount2(".", MNT_DETACH) == 0 && chdir("/") == 0 ? 0 : -errno;
    return chroot(".") == 0 && chdir("/") == 0 ? 0 : -errno;
}

static void leave_files(const char *name)
{
    int ret;

    if (!leave(name, CLONE_NEWNS, "mount"))
        return;
    ret = change_root();
    if (ret)
        log_info("isolate", "%s: no root directory of its own: %s", name, strerror(-ret));
}

void isolate_namespaces_leave(const char *name)
{
    leave_users(name);
    leave(name, CLONE_NEWNET, "network");
    leave(name, CLONE_NEWIPC, "IPC");
    leave(name, CLONE_NEWUTS, "UTS");
    leave_files(name);
}
