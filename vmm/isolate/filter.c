#include "vmm/isolate/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

extern const struct isolate_filter_module vireo_module_isolate;

/* --- the lists -------------------------------------------------------------------------------- */

/* Event loops, messages, eventfds, guest memory, threads, time, and the end. */
static const int common_calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(preadv2), /* of eventfds and pipes, without waiting */
    SCMP_SYS(pwritev2),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(dup3),
    SCMP_SYS(eventfd2),
    SCMP_SYS(io_setup), /* signals of eventfds, without waiting */
    SCMP_SYS(io_submit),
    SCMP_SYS(io_getevents),
    SCMP_SYS(memfd_create),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(accept4),
    SCMP_SYS(shutdown),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

static const int blk_calls[] = {SCMP_SYS(io_uring_enter), SCMP_SYS(preadv), SCMP_SYS(pwritev),
                                SCMP_SYS(fdatasync), SCMP_SYS(fallocate)};
static const unsigned long blk_ioctls[] = {BLKDISCARD, BLKSECDISCARD, BLKZEROOUT, BLKGETSIZE64};
static const unsigned long net_ioctls[] = {TUNSETOFFLOAD, TUNSETQUEUE};
static const unsigned long console_ioctls[] = {TIOCGWINSZ};
static const unsigned long input_ioctls[] = {_IOC(_IOC_READ, 'E', 0, 0)}; /* EVIOCG...: any */

#define CALLS(list)  .calls = (list), .call_count = COUNT(list)
#define IOCTLS(list) .ioctls = (list), .ioctl_count = COUNT(list)

static const struct list {
    const char *type;
    const int *calls;
    size_t call_count;
    const unsigned long *ioctls;
    size_t ioctl_count;
    scmp_datum_t ioctl_mask; /* of the bits that are compared; 0: all */

    /* Libraries compile for it, and threads of theirs do what nobody can list: executable memory
     * and any ioctl are allowed, and what is on no list is refused, and does not end the process.
     */
    bool compiles;
} lists[] = {
    {.type = "blk", CALLS(blk_calls), IOCTLS(blk_ioctls)},
    {.type = "net", IOCTLS(net_ioctls)},
    {.type = "console", IOCTLS(console_ioctls)},
    {.type = "rng"},
    {.type = "gpu"}, /* in two dimensions */
    {.type = "gpu-3d", .compiles = true},
    {.type = "input", IOCTLS(input_ioctls), .ioctl_mask = _IOC(_IOC_READ | _IOC_WRITE, 0xff, 0, 0)},
};

#define REFUSAL ENOSYS /* where others' processes would end */

/* What libraries and models try, and go on without. */
static const struct refusal {
    int call, error;
} refusals[] = {
    {SCMP_SYS(openat), ENOENT},        {SCMP_SYS(access), ENOENT}, {SCMP_SYS(readlink), ENOENT},
    {SCMP_SYS(unlink), ENOENT},        {SCMP_SYS(socket), EACCES}, {SCMP_SYS(connect), EACCES},
    {SCMP_SYS(io_uring_setup), EPERM}, {SCMP_SYS(clone3), ENOSYS}, /* so that clone is tried */
};

/* Calls for one purpose: the argument, masked, must be that value. */
static const struct narrowed {
    int call;
    unsigned argument;
    scmp_datum_t mask, value;
} narrowed[] = {
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD},
    {SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, AT_EMPTY_PATH},
    {SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFL},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_DUPFD_CLOEXEC},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_ADD_SEALS},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GET_SEALS},
};

/* --- putting them together -------------------------------------------------------------------- */

/* Allow a call if one of its arguments, masked, has this value. */
static int allow_if(scmp_filter_ctx filter, int call, unsigned argument, scmp_datum_t mask,
                    scmp_datum_t value)
{
    const struct scmp_arg_cmp compare = {argument, SCMP_CMP_MASKED_EQ, mask, value};

    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &compare);
}

static int add_calls(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int ret = 0;

    for (size_t i = 0; i < count && !ret; i++)
        ret = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, calls[i], 0, NULL);
    return ret;
}

/* The filter's own action needs no rule, and takes none. */
static bool is_refused_anyway(const struct list *list, const struct refusal *refusal)
{
    return list->compiles && refusal->error == REFUSAL;
}

static int add_common(scmp_filter_ctx filter, const struct list *list)
{
    int ret = add_calls(filter, common_calls, COUNT(common_calls));

    for (size_t i = 0; i < COUNT(narrowed) && !ret; i++)
        ret = allow_if(filter, narrowed[i].call, narrowed[i].argument, narrowed[i].mask,
                       narrowed[i].value);
    for (size_t i = 0; i < COUNT(refusals) && !ret; i++)
        if (!is_refused_anyway(list, &refusals[i]))
            ret = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((uint32_t)refusals[i].error),
                                         refusals[i].call, 0, NULL);
    /* abort() and raise(): signals to itself, to nobody else. */
    if (!ret)
        ret = allow_if(filter, SCMP_SYS(tgkill), 0, UINT32_MAX, (scmp_datum_t)getpid());
    return ret;
}

static const int compiler_calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(ioctl)};

/* The kernel looks at 32 bits of an ioctl's number. */
static int add_list(scmp_filter_ctx filter, const struct list *list)
{
    scmp_datum_t mask = list->ioctl_mask ? list->ioctl_mask : UINT32_MAX;
    int ret = add_calls(filter, list->calls, list->call_count);

    if (!ret && list->compiles)
        ret = add_calls(filter, compiler_calls, COUNT(compiler_calls));
    for (size_t i = 0; i < list->ioctl_count && !ret; i++)
        ret = allow_if(filter, SCMP_SYS(ioctl), 1, mask, list->ioctls[i]);
    return ret;
}

/* libseccomp writes to a file only. */
static int read_program(scmp_filter_ctx filter, struct sock_fprog *out)
{
    int fd = memfd_create("filter", MFD_CLOEXEC);
    int ret = fd < 0 ? -errno : seccomp_export_bpf(filter, fd);
    off_t bytes = ret ? 0 : lseek(fd, 0, SEEK_END);

    if (!ret) {
        out->len = (unsigned short)((size_t)bytes / sizeof(*out->filter));
        out->filter = malloc((size_t)bytes);
        if (!out->filter || pread(fd, out->filter, (size_t)bytes, 0) != bytes)
            ret = -ENOMEM;
    }
    if (fd >= 0)
        close(fd);
    return ret;
}

static const struct list *find_list(const char *type)
{
    for (size_t i = 0; i < COUNT(lists); i++)
        if (strcmp(lists[i].type, type) == 0)
            return &lists[i];
    return NULL;
}

static int filter_compile(const char *type, struct sock_fprog *out, struct error *err)
{
    const struct list *list = find_list(type);
    scmp_filter_ctx filter;
    int ret;

    *out = (struct sock_fprog){0};
    if (!list)
        return error_set(err, ENOENT, "%s devices have no list of system calls to be held to",
                         type);
    filter = seccomp_init(list->compiles ? SCMP_ACT_ERRNO(REFUSAL) : SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return error_set(err, ENOMEM, "no memory for a filter of system calls");
    ret = add_common(filter, list);
    if (!ret)
        ret = add_list(filter, list);
    if (!ret)
        ret = read_program(filter, out);
    seccomp_release(filter);
    if (!ret)
        return 0;
    free(out->filter);
    return error_errno(err, -ret, "cannot make a filter of system calls");
}

const struct isolate_filter_module vireo_module_isolate = {.compile = filter_compile};
