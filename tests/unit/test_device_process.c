/*
 * Processes that serve devices: our own program, started and confined, and others.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "tests/driver/back_end_events.h"
#include "tests/driver/ring.h"
#include "tests/unit/build_directory.h"
#include "virtio/vhost_user.h"
#include "vmm/arguments.h"
#include "vmm/device_process.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY     (4 * MIB)
#define DATA_AT    (2 * MIB)
#define QUEUE_SIZE 16

static const char *build;
static char image[64]; /* of a MiB */
static struct error err;

struct fixture {
    struct guest_memory memory;
    struct loop *loop;
    struct device_process *process;
    struct vhost_user_process callbacks;
    struct virtio_backend *backend;
    struct ring ring;
    int kick;
    struct back_end_events events;
    uint32_t reconnect_s;
    unsigned hang_ms;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    err = (struct error)ERROR_INIT;
    log_configure("error");
    guest_memory_init(&f->memory);
    assert_int_equal(guest_memory_add(&f->memory, 0, MEMORY, GUEST_MEMORY_SHARED, NULL), 0);
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    f->kick = eventfd(0, EFD_NONBLOCK);
    f->events.fd = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->backend)
        f->backend->ops->destroy(f->backend);
    device_process_destroy(f->process);
    loop_join_thread(f->loop);
    ring_destroy(&f->ring);
    loop_destroy(f->loop);
    guest_memory_destroy(&f->memory);
    close(f->kick);
    back_end_events_destroy(&f->events);
    free(f);
    return 0;
}

/* A process, and the device it serves; 0 or what vhost_user_create says. */
static int serve(struct fixture *f, char **arguments, bool supervised, uint32_t config_size)
{
    struct vhost_user_options options = {.fd = -1,
                                         .process = &f->callbacks,
                                         .queue_count = 1,
                                         .config_size = config_size,
                                         .queue_size = QUEUE_SIZE,
                                         .reconnect_s = f->reconnect_s};
    int ret;

    assert_int_equal(
        device_process_create("test0", arguments, supervised, f->hang_ms, &f->process, &err), 0);
    f->callbacks = device_process_callbacks(f->process);
    ret = vhost_user_create(&options, &f->memory, f->loop, &f->backend, &err);
    if (ret) {
        device_process_explain(f->process, &err);
        return ret;
    }
    f->backend->name = "test0";
    back_end_events_init(&f->events, f->backend);
    return 0;
}

/* Our own program, with an option of the type. */
static int serve_ours(struct fixture *f, const char *type, const char *option)
{
    char **arguments = NULL;

    arguments_add(&arguments, NULL, "%s/vireo", build);
    arguments_add(&arguments, NULL, "device");
    arguments_add(&arguments, NULL, "%s", type);
    arguments_add(&arguments, NULL, "--confine");
    arguments_add(&arguments, NULL, "%s", option);
    return serve(f, arguments, true, strcmp(type, "blk") == 0 ? 60 : 0);
}

/* What a VMM does when its machine starts. */
static void start(struct fixture *f)
{
    assert_int_equal(loop_start_thread(f->loop, "front", NULL), 0);
    if (f->backend->ops->start(f->backend, &err))
        fail_msg("%s", err.text);
}

/* As a driver that has just reset the device. */
static void begin(struct fixture *f)
{
    struct virtio_features features = {0};
    struct virtqueue_setup queue;

    ring_destroy(&f->ring);
    ring_init(&f->ring, &f->memory, 0, QUEUE_SIZE, false);
    features_set(&features, VIRTIO_F_VERSION_1, true);
    assert_int_equal(f->backend->ops->set_features(f->backend, &features), 0);
    queue = (struct virtqueue_setup){0, QUEUE_SIZE, GPA(f->ring.desc), GPA(f->ring.avail),
                                     GPA(f->ring.used)};
    assert_int_equal(f->backend->ops->queue_start(f->backend, &queue,
                                                  (struct virtqueue_position){0, 0}, f->kick, NULL),
                     0);
}

static void assert_random_bytes(struct fixture *f)
{
    const struct ring_element element = {DATA_AT, 64, true};
    struct ring_used used;

    assert_true(ring_add(&f->ring, &element, 1, RING_DIRECT) >= 0);
    ring_publish(&f->ring);
    eventfd_write(f->kick, 1);
    do { /* there may be one more than buffers after a new beginning */
        assert_true(back_end_events_wait(&f->events, 5000));
    } while (!ring_collect(&f->ring, &used));
    assert_int_equal(used.length, 64);
}

/* The only child of this process, whichever of its threads has made it; 0: there is none. */
static pid_t child(void)
{
    glob_t threads;
    int pid = 0;

    assert_int_equal(glob("/proc/self/task/*/children", 0, NULL, &threads), 0);
    for (size_t i = 0; i < threads.gl_pathc && !pid; i++) {
        FILE *in = fopen(threads.gl_pathv[i], "re");

        if (!in) /* a thread that has just ended */
            continue;
        if (fscanf(in, "%d", &pid) != 1)
            pid = 0;
        fclose(in);
    }
    globfree(&threads);
    return pid;
}

/* As drivers do now and then. To the sanitizer of threads it orders what the driver writes to a
 * ring and what the VMM looks up there when the process is lost. */
static void access_register(struct fixture *f)
{
    uint8_t byte;

    f->backend->ops->config_read(f->backend, 0, &byte, 1);
}

static void kill_child(struct fixture *f)
{
    pid_t pid = child();

    access_register(f);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

/* Of a process that is somebody else's child. */
static void assert_ends(pid_t pid)
{
    for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
        usleep(10000);
    assert_int_equal(kill(pid, 0), -1);
}

/* --- our own ---------------------------------------------------------------------------------- */

static void data_and_end(void **state)
{
    struct fixture *f = *state;
    pid_t pid;

    if (serve_ours(f, "rng", "source=getrandom"))
        fail_msg("%s", err.text);
    start(f);
    pid = child();
    begin(f);
    assert_random_bytes(f);
    f->backend->ops->queue_stop(f->backend, 0);
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
    device_process_destroy(f->process);
    f->process = NULL;
    assert_int_equal(kill(pid, 0), -1);
}

/* It dies: the device needs a reset, and with that there is a new one. */
static void started_anew(void **state)
{
    struct fixture *f = *state;

    if (serve_ours(f, "rng", "source=getrandom"))
        fail_msg("%s", err.text);
    start(f);
    for (int round = 1; round <= 3; round++) {
        begin(f);
        assert_random_bytes(f);
        kill_child(f);
        for (int i = 0; i < 500 && atomic_load(&f->events.needs_reset) < round; i++)
            usleep(10000);
        assert_int_equal(atomic_load(&f->events.needs_reset), round);
        f->backend->ops->queue_stop(f->backend, 0);
        f->backend->ops->reset(f->backend);
    }
    begin(f);
    assert_random_bytes(f);
}

/* In the place of one that was killed. */
static void wait_for_another(struct fixture *f, pid_t before)
{
    for (int i = 0; i < 500 && (child() == before || child() == 0); i++)
        usleep(10000);
    assert_true(child() != before && child() != 0);
    access_register(f);
}

/* The same with reconnect=: the driver need not hear of it. */
static void replaced(void **state)
{
    struct fixture *f = *state;

    f->reconnect_s = 1;
    if (serve_ours(f, "rng", "source=getrandom"))
        fail_msg("%s", err.text);
    start(f);
    begin(f);
    for (int round = 0; round < 5; round++) {
        pid_t before = child();

        assert_random_bytes(f);
        kill_child(f);
        wait_for_another(f, before);
        assert_random_bytes(f);
    }
    assert_int_equal(atomic_load(&f->events.needs_reset), 0);
}

/* One that hangs is killed, and replaced as one that was killed by others; one that has nothing to
 * do, or that answers, does not hang. */
static void hangs(void **state)
{
    struct fixture *f = *state;
    pid_t before;

    f->reconnect_s = 1;
    f->hang_ms = 100;
    if (serve_ours(f, "rng", "source=getrandom"))
        fail_msg("%s", err.text);
    start(f);
    begin(f);
    before = child();
    usleep(500000);
    assert_random_bytes(f);
    assert_int_equal(child(), before);
    assert_int_equal(kill(before, SIGSTOP), 0);
    wait_for_another(f, before);
    assert_random_bytes(f);
    assert_int_equal(atomic_load(&f->events.needs_reset), 0);
}

static void commands(void **state)
{
    struct fixture *f = *state;
    char option[128];
    uint8_t sectors[8];
    struct stat status;

    snprintf(option, sizeof(option), "path=%s", image);
    if (serve_ours(f, "blk", option))
        fail_msg("%s", err.text);
    start(f);
    assert_int_equal(f->backend->ops->command(f->backend, "resize", "2M", &err), 0);
    assert_int_equal(stat(image, &status), 0);
    assert_int_equal(status.st_size, 2 * MIB);
    f->backend->ops->config_read(f->backend, 0, sectors, sizeof(sectors));
    assert_int_equal(load_le64(sectors), 4096);
    assert_true(f->backend->ops->command(f->backend, "resize", "700", &err) < 0);
    assert_string_equal(err.text, "700 bytes are not a multiple of 512");
    assert_true(f->backend->ops->command(f->backend, "dance", "", &err) < 0);
    assert_int_equal(f->backend->ops->command(f->backend, "resize", "1M", &err), 0);
}

/* It says why, in its own words. */
static void refused(void **state)
{
    struct fixture *f = *state;

    assert_true(serve_ours(f, "blk", "path=/nonexistent") < 0);
    assert_string_equal(err.text, "cannot open '/nonexistent': No such file or directory");
}

/* One that has been taken over may say anything: it is ended, and the VMM goes on. */
static void nonsense(void **state)
{
    struct fixture *f = *state;
    char **arguments = NULL;

    arguments_add(&arguments, NULL, "/bin/bash");
    arguments_add(&arguments, NULL, "-c");
    arguments_add(&arguments, NULL, "fd=${@: -1}; printf '\\e]0;rude' >&${fd#*=}; exec sleep 100");
    arguments_add(&arguments, NULL, "program");
    assert_true(serve(f, arguments, true, 0) < 0);
    assert_string_equal(err.text, "the process that serves it talks nonsense");
}

/* Nothing outlives this process, however it ends. */
static void dies_with_its_maker(void **state)
{
    int ids[2];
    pid_t maker, process = 0;

    (void)state;
    assert_int_equal(pipe2(ids, O_CLOEXEC), 0);
    maker = fork();
    if (maker == 0) {
        void *inner = NULL;

        setup(&inner);
        if (serve_ours(inner, "rng", "source=getrandom"))
            _exit(1);
        process = child();
        if (write(ids[1], &process, sizeof(process)) != sizeof(process))
            _exit(1);
        pause();
    }
    assert_int_equal(read(ids[0], &process, sizeof(process)), sizeof(process));
    assert_int_equal(kill(process, 0), 0);
    assert_int_equal(kill(maker, SIGKILL), 0);
    assert_int_equal(waitpid(maker, &(int){0}, 0), maker);
    assert_ends(process);
    close(ids[0]);
    close(ids[1]);
}

/* --- others' ---------------------------------------------------------------------------------- */

static void conventions(void **state)
{
    struct fixture *f = *state;
    char **arguments = NULL;

    arguments_add(&arguments, NULL, "%s/vireo", build);
    arguments_add(&arguments, NULL, "device");
    arguments_add(&arguments, NULL, "blk");
    arguments_add(&arguments, NULL, "--blk-file=%s", image);
    arguments_add(&arguments, NULL, "--read-only");
    if (serve(f, arguments, false, 60))
        fail_msg("%s", err.text);
    start(f);
    assert_true(f->backend->ops->command(f->backend, "resize", "2M", &err) < 0);
    assert_string_equal(err.text, "test0 takes no commands");
}

static void explained(void **state)
{
    static const struct {
        const char *script, *reason;
    } cases[] = {{"exit 3", "'/bin/sh' ended with status 3: "},
                 {"kill -9 $$", "'/bin/sh' was ended by signal 9 (Killed): "}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture *f = *state;
        char **arguments = NULL;

        arguments_add(&arguments, NULL, "/bin/sh");
        arguments_add(&arguments, NULL, "-c");
        arguments_add(&arguments, NULL, "%s", cases[i].script);
        assert_true(serve(f, arguments, false, 0) < 0);
        if (strncmp(err.text, cases[i].reason, strlen(cases[i].reason)) != 0)
            fail_msg("%s: %s", cases[i].script, err.text);
        device_process_destroy(f->process);
        f->process = NULL;
    }
}

static void no_such_program(void **state)
{
    struct fixture *f = *state;
    char **arguments = NULL;

    arguments_add(&arguments, NULL, "/nonexistent");
    assert_true(serve(f, arguments, false, 0) < 0);
    assert_non_null(strstr(err.text, "'/nonexistent' ended with status 127"));
}

/* --- what is said of its end ------------------------------------------------------------------ */

/* Start a script, have it stopped when it says something; whether there is this in a warning. */
static bool is_warned_of(struct fixture *f, const char *script, const char *text)
{
    FILE *log = tmpfile();
    int before = dup(STDERR_FILENO), socket;
    char **arguments = NULL, line[256];
    bool found = false;

    arguments_add(&arguments, NULL, "/bin/bash");
    arguments_add(&arguments, NULL, "-c");
    arguments_add(&arguments, NULL, "fd=${@: -1}; %s", script);
    arguments_add(&arguments, NULL, "program");
    assert_int_equal(device_process_create("test0", arguments, false, 0, &f->process, &err), 0);
    assert_int_equal(log_configure("warn"), 0);
    dup2(fileno(log), STDERR_FILENO);
    socket = device_process_connect(f->process, &err);
    assert_true(socket >= 0);
    assert_int_equal(read(socket, line, 1), 1);
    device_process_destroy(f->process);
    f->process = NULL;
    dup2(before, STDERR_FILENO);
    close(before);
    close(socket);
    rewind(log);
    while (fgets(line, sizeof(line), log))
        found = found || strstr(line, text);
    fclose(log);
    return found;
}

/* One that is being stopped may be dying for another reason already; nobody else would say so. */
static void died_while_stopped(void **state)
{
    assert_true(is_warned_of(*state,
                             "trap 'kill -9 $$' TERM; printf 1 >&${fd#*=}; "
                             "while :; do sleep .01; done",
                             "was ended by signal 9"));
}

/* It is no news that one ends as it was told to. */
static void ended_as_told(void **state)
{
    assert_false(is_warned_of(*state, "printf 1 >&${fd#*=}; exec sleep 100", "its process"));
    assert_false(is_warned_of(*state,
                              "trap 'exit 1' TERM; printf 1 >&${fd#*=}; "
                              "while :; do sleep .01; done",
                              "its process"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(data_and_end, setup, teardown),
        cmocka_unit_test_setup_teardown(started_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(commands, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense, setup, teardown),
        cmocka_unit_test(dies_with_its_maker),
        cmocka_unit_test_setup_teardown(conventions, setup, teardown),
        cmocka_unit_test_setup_teardown(explained, setup, teardown),
        cmocka_unit_test_setup_teardown(no_such_program, setup, teardown),
        cmocka_unit_test_setup_teardown(died_while_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(ended_as_told, setup, teardown),
    };
    int ret;

    signal(SIGPIPE, SIG_IGN);
    build = build_directory();
    snprintf(image, sizeof(image), "/tmp/vireo-process-%d", getpid());
    close(open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (truncate(image, MIB) < 0)
        return 1;
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(image);
    return ret;
}
