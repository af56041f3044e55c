/*
 * Confinement: what a process has given up, asked of a child that has confined itself.
 */
#include "base/bytes.h"
#include "base/sanitizers.h"
#include "base/unix_socket.h"
#include "devices/gpu/gpu.h"
#include "tests/unit/build_directory.h"
#include "vmm/device_setup.h"
#include "vmm/isolate.h"
#include "vmm/isolate_monitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Under sanitizers there is no filter. */
#define SKIP_UNFILTERED()                        \
    do {                                         \
        if (SANITIZE_ADDRESS || SANITIZE_THREAD) \
            skip();                              \
    } while (0)

#define CONFINED 100 /* exit statuses of the child: this, and... */
#define REFUSED  101

static struct error err;

/* Confine a child as a device of this type, and have it do something: how it ended. */
static int confined(const char *type, int (*act)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct isolate isolate;

        if (isolate_prepare(&isolate, type, "test", NULL) || isolate_enter(&isolate, NULL))
            _exit(REFUSED);
        _exit(act());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_exits(int status, int wanted)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), wanted);
}

static void assert_killed(const char *type, int (*act)(void))
{
    int status = confined(type, act);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* --- lists ------------------------------------------------------------------------------------ */

static void every_type_has_a_list(void **state)
{
    struct isolate isolate;

    (void)state;
    for (size_t i = 0; device_models[i]; i++) {
        if (!virtio_model_exists(device_models[i]))
            continue;
        assert_int_equal(isolate_prepare(&isolate, device_models[i]->name, "test", &err), 0);
        assert_true(isolate.filter.len > 0);
        isolate_release(&isolate);
    }
    assert_int_equal(isolate_prepare(&isolate, "toaster", "test", &err), -ENOENT);
    assert_string_equal(err.text, "toaster devices have no list of system calls to be held to");
}

/* --- what is left ----------------------------------------------------------------------------- */

static int use_what_is_allowed(void)
{
    int event = syscall(SYS_eventfd2, 0, 0) < 0 ? -1 : 0;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return event == 0 && memory != MAP_FAILED && write(STDERR_FILENO, "", 0) == 0 ? CONFINED : 1;
}

static void devices_go_on(void **state)
{
    (void)state;
    assert_exits(confined("rng", use_what_is_allowed), CONFINED);
}

/* What libraries try and can do without. */
static int try_what_is_refused(void)
{
    int file = open("/etc/passwd", O_RDONLY), code = errno;

    if (file >= 0 || code != ENOENT)
        return 1;
    return socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EACCES ? CONFINED : 2;
}

static void files_and_sockets_are_refused(void **state)
{
    SKIP_UNFILTERED();
    (void)state;
    assert_exits(confined("net", try_what_is_refused), CONFINED);
}

static int do_execve(void)
{
    return execl("/bin/true", "true", NULL);
}

static int do_fork(void)
{
    return (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static int do_chroot(void)
{
    return chroot("/");
}

static int do_kill(void)
{
    return kill(1, 0);
}

static int do_signal_others(void)
{
    return (int)syscall(SYS_tgkill, 1, 1, 0);
}

static int do_ptrace(void)
{
    return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static int do_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ? 0 : 1;
}

static int do_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int do_lock(void)
{
    return fcntl(0, F_OFD_SETLK, &(struct flock){.l_type = F_RDLCK});
}

static int do_discard(void)
{
    return ioctl(0, BLKDISCARD, NULL) < 0 ? CONFINED : 1;
}

static void others_end_it(void **state)
{
    int (*const acts[])(void) = {do_execve, do_fork, do_chroot,   do_kill, do_signal_others,
                                 do_ptrace, do_code, do_dumpable, do_lock};

    SKIP_UNFILTERED();
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        assert_killed("blk", acts[i]);
}

/* Of an event device: what it is may be asked for, however long the answer... */
static int ask_for_keys(void)
{
    uint8_t keys[96], slots[20];

    ioctl(STDIN_FILENO, EVIOCGKEY(sizeof(keys)), keys);
    ioctl(STDIN_FILENO, EVIOCGMTSLOTS(sizeof(slots)), slots);
    return CONFINED;
}

/* ...and nothing be set. */
static int set_repeat(void)
{
    ioctl(STDIN_FILENO, EVIOCSREP, (unsigned[]){0, 0});
    return CONFINED;
}

/* Each type's own. */
static void lists_differ(void **state)
{
    SKIP_UNFILTERED();
    (void)state;
    assert_exits(confined("blk", do_discard), CONFINED);
    assert_killed("net", do_discard);
    assert_killed("rng", do_discard);
    assert_exits(confined("input", ask_for_keys), CONFINED);
    assert_killed("rng", ask_for_keys);
    assert_killed("input", set_repeat);
}

/* What libraries compile for it is run, and what they try besides is refused. */
static int compile_and_try(void)
{
    void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return code != MAP_FAILED && chroot("/") < 0 && errno == ENOSYS ? CONFINED : 1;
}

static void only_renderers_compile(void **state)
{
    SKIP_UNFILTERED();
    (void)state;
    assert_exits(
        confined(gpu_model.confined_as(&(struct gpu_options){.virgl = true}), compile_and_try),
        CONFINED);
    assert_killed(gpu_model.confined_as(&(struct gpu_options){0}), compile_and_try);
}

/* --- what is given up ------------------------------------------------------------------------- */

static int stray, kept;

static int look_at_descriptors(void)
{
    return fcntl(stray, F_GETFD) < 0 && fcntl(kept, F_GETFD) >= 0 ? CONFINED : 1;
}

static void strays_are_closed(void **state)
{
    (void)state;
    stray = open("/dev/null", O_RDONLY);
    kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(stray > STDERR_FILENO && kept > STDERR_FILENO);
    assert_exits(confined("rng", look_at_descriptors), CONFINED);
    close(stray);
    close(kept);
}

/* A line of the child's status. */
static void assert_status(pid_t pid, const char *wanted)
{
    char path[64], line[128];
    bool found = false;
    FILE *in;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    in = fopen(path, "re");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in))
        found = found || strcmp(line, wanted) == 0;
    fclose(in);
    if (!found)
        fail_msg("no line %s", wanted);
}

static bool shares(pid_t pid, const char *space)
{
    char theirs[64], a[64] = "", b[64] = "", ours[64];

    snprintf(theirs, sizeof(theirs), "/proc/%d/ns/%s", pid, space);
    snprintf(ours, sizeof(ours), "/proc/self/ns/%s", space);
    return readlink(theirs, a, sizeof(a) - 1) > 0 && readlink(ours, b, sizeof(b) - 1) > 0 &&
           strcmp(a, b) == 0;
}

static size_t files_in_root(pid_t pid)
{
    char path[64];
    size_t count = 0;
    DIR *root;

    snprintf(path, sizeof(path), "/proc/%d/root", pid);
    root = opendir(path);
    assert_non_null(root);
    while (readdir(root))
        count++;
    closedir(root);
    return count - 2; /* itself, and its parent */
}

/* May this process make them at all? */
static bool permitted(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 ? 0 : 1);
    waitpid(pid, &status, 0);
    return status == 0;
}

static void assert_nothing_left(pid_t pid)
{
    static const char *const spaces[] = {"user", "mnt", "net", "ipc", "uts"};

    assert_status(pid, "NoNewPrivs:\t1\n");
    assert_status(pid, "CapPrm:\t0000000000000000\n");
    assert_status(pid, "CapEff:\t0000000000000000\n");
    for (size_t i = 0; i < ARRAY_SIZE(spaces); i++)
        assert_false(shares(pid, spaces[i]));
    assert_int_equal(files_in_root(pid), 0);
}

static void name_spaces_and_privileges(void **state)
{
    int ready[2], done[2];
    char byte;
    pid_t pid;

    (void)state;
    if (!permitted() || geteuid() != 0)
        skip();
    assert_int_equal(pipe2(ready, O_CLOEXEC) | pipe2(done, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct isolate isolate;

        close(done[1]);
        if (isolate_prepare(&isolate, "rng", "test", NULL) || isolate_enter(&isolate, NULL) ||
            write(ready[1], "", 1) != 1)
            _exit(REFUSED);
        _exit(read(done[0], &byte, 1) == 0 ? CONFINED : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_nothing_left(pid);
    close(done[1]);
    assert_int_equal(waitpid(pid, &(int){0}, 0), pid);
    close(done[0]);
    close(ready[0]);
    close(ready[1]);
}

/* --- being born ------------------------------------------------------------------------------- */

static void born_alone(void **state)
{
    pid_t pid = isolate_clone("test", true);
    int status = 0, signal = 0;

    (void)state;
    if (pid == 0) {
        syscall(SYS_prctl, PR_GET_PDEATHSIG, &signal);
        _exit(signal == SIGKILL ? (int)syscall(SYS_getpid) & 0x7f : REFUSED);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (permitted())
        assert_exits(status, 1);
}

/* --- its monitor ------------------------------------------------------------------------------ */

/* Of a program that ends at once; in a child, for it keeps signals to itself. */
static void monitored(const char *path)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        char *arguments[] = {(char[]){"/bin/true"}, NULL};

        _exit(isolate_monitor("test", arguments, path, NULL));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_exits(status, 0);
}

/* What its process has left is removed; not what another serves at. */
static void names_of_sockets(void **state)
{
    char path[64];
    int listener;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/vireo-isolate-%d", getpid());
    listener = unix_socket_listen(path, NULL);
    assert_true(listener >= 0);
    monitored(path);
    assert_int_equal(access(path, F_OK), 0);
    close(listener);
    monitored(path);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_a_list),
        cmocka_unit_test(devices_go_on),
        cmocka_unit_test(files_and_sockets_are_refused),
        cmocka_unit_test(others_end_it),
        cmocka_unit_test(lists_differ),
        cmocka_unit_test(only_renderers_compile),
        cmocka_unit_test(strays_are_closed),
        cmocka_unit_test(name_spaces_and_privileges),
        cmocka_unit_test(born_alone),
        cmocka_unit_test(names_of_sockets),
    };

    build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
