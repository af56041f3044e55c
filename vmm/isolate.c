#include "vmm/isolate.h"

#include "base/log.h"
#include "base/module.h"
#include "base/sanitizers.h"
#include "vmm/isolate/filter.h"
#include "vmm/isolate_namespaces.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Their runtimes make system calls of their own, on threads of their own. */
#define FILTERED (!SANITIZE_ADDRESS && !SANITIZE_THREAD)

int isolate_prepare(struct isolate *isolate, const char *type, const char *name, struct error *err)
{
    const struct isolate_filter_module *filter;
    struct module module;
    int ret = module_load(&module, "isolate", err);

    *isolate = (struct isolate){.name = name};
    if (ret)
        return ret;
    filter = module.table;
    ret = filter->compile(type, &isolate->filter, err);
    module_unload(&module);
    return ret;
}

void isolate_release(struct isolate *isolate)
{
    free(isolate->filter.filter);
    isolate->filter.filter = NULL;
}

/* What is in use was opened here, and so is closed on exec: the rest was inherited by accident. */
static void close_strays(const struct isolate *isolate)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    if (!directory) {
        log_info("isolate", "%s: cannot look for stray descriptors: %s", isolate->name,
                 strerror(errno));
        return;
    }
    while ((entry = readdir(directory))) {
        int fd = atoi(entry->d_name), flags = fcntl(fd, F_GETFD);

        if (fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC))
            close(fd);
    }
    closedir(directory);
}

static void drop_capabilities(const struct isolate *isolate)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {0};

    if (syscall(SYS_capset, &header, none) < 0)
        log_info("isolate", "%s: it keeps its capabilities: %s", isolate->name, strerror(errno));
}

static int set_filter(const struct isolate *isolate, struct error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_errno(err, errno, "cannot rule out new privileges");
    if (FILTERED && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                            &isolate->filter) != 0)
        return error_errno(err, errno, "cannot filter system calls");
    return 0;
}

int isolate_enter(struct isolate *isolate, struct error *err)
{
    const struct rlimit none = {0, 0};
    int death_signal = 0;

    /* Changes of credentials may clear it. */
    prctl(PR_GET_PDEATHSIG, &death_signal);
    close_strays(isolate);
    setrlimit(RLIMIT_CORE, &none);
    isolate_namespaces_leave(isolate->name);
    drop_capabilities(isolate);
    prctl(PR_SET_PDEATHSIG, death_signal);
    return set_filter(isolate, err);
}
