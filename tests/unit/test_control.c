/*
 * The control socket: commands, answers, and clients that misbehave.
 */
#include "base/bytes.h"
#include "base/unix_socket.h"
#include "tests/driver/fake_platform.h"
#include "vmm/control.h"
#include "vmm/layout_x86_64.h"
#include "vmm/machine.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[32], path[64], image[64];
    struct machine machine;
    struct pci_bus *bus;
    struct control *control;
};

static struct machine_device *plug(struct fixture *f)
{
    const struct pci_bus_config bus = {
        .platform = dry_run_platform(),
        .ecam = {LAYOUT_ECAM, LAYOUT_ECAM_SIZE},
        .mem32 = {LAYOUT_PCI32, LAYOUT_PCI32_SIZE},
        .io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
        .gsi_base = LAYOUT_GSI_PCI,
        .gsi_count = LAYOUT_GSI_PCI_COUNT,
        .ports = true,
    };
    struct device_site site = {.platform = dry_run_platform(),
                               .memory = &f->machine.memory,
                               .iothreads = &f->machine.iothreads,
                               .cpus = 1};
    struct device_config config = {.type = (char *)"blk"};
    struct machine_device *device;
    char text[80];

    assert_int_equal(pci_bus_create(&bus, &f->bus, NULL), 0);
    site.bus = f->bus;
    snprintf(text, sizeof(text), "path=%s", f->image);
    assert_int_equal(option_list_parse(&config.options, "--disk", text, NULL, NULL), 0);
    assert_int_equal(machine_device_create(&config, "blk0", &site, &device, NULL), 0);
    option_list_free(&config.options);
    return device;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    FILE *image;

    strcpy(f->dir, "/tmp/vireo-control-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
    snprintf(f->image, sizeof(f->image), "%s/image", f->dir);
    image = fopen(f->image, "w");
    assert_int_equal(ftruncate(fileno(image), MIB), 0);
    fclose(image);
    machine_lifecycle_init(&f->machine);
    guest_memory_init(&f->machine.memory);
    assert_int_equal(loop_create(&f->machine.main_loop, NULL), 0);
    f->machine.devices = calloc(1, sizeof(*f->machine.devices));
    f->machine.devices[f->machine.device_count++] = plug(f);
    assert_int_equal(control_create(f->path, &f->machine, &f->control, NULL), 0);
    assert_int_equal(control_start(f->control, NULL), 0);
    assert_int_equal(loop_start_thread(f->machine.main_loop, "main", NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct stat status;

    loop_join_thread(f->machine.main_loop);
    control_destroy(f->control);
    assert_int_equal(stat(f->path, &status), -1); /* nothing is left behind */
    machine_device_destroy(f->machine.devices[0]);
    free(f->machine.devices);
    pci_bus_destroy(f->bus);
    iothreads_free(&f->machine.iothreads);
    loop_destroy(f->machine.main_loop);
    guest_memory_destroy(&f->machine.memory);
    unlink(f->image);
    rmdir(f->dir);
    free(f);
    return 0;
}

static int client(struct fixture *f)
{
    int fd = unix_socket_connect(f->path, NULL);

    assert_true(fd >= 0);
    return fd;
}

/* Everything up to `end`; fails when the other end closes before. */
static void assert_answer(int fd, const char *expected)
{
    char text[4096];
    size_t length = 0;

    while (length < strlen(expected)) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&ready, 1, 5000), 1);
        got = read(fd, text + length, sizeof(text) - 1 - length);
        assert_true(got > 0);
        length += (size_t)got;
    }
    text[length] = '\0';
    assert_string_equal(text, expected);
}

static void assert_closed(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char byte;

    assert_int_equal(poll(&ready, 1, 5000), 1);
    assert_true(read(fd, &byte, 1) <= 0);
    close(fd);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void commands(void **state)
{
    struct fixture *f = *state;
    int fd = client(f);

    say(fd, "devices\n");
    assert_answer(fd, " blk0 blk pci\nok\n");
    say(fd, "dev");
    usleep(10000);
    say(fd, "ices\nnonsense\n");
    assert_answer(fd, " blk0 blk pci\nok\n"
                      "error: unknown command 'nonsense'; 'vireo help control' lists them\n");
    say(fd, "nobody resize 1G\n");
    assert_answer(fd, "error: no device 'nobody'; 'devices' lists them\n");
    say(fd, "blk0 fly away\n");
    assert_answer(fd, "error: blk devices have no command 'fly'\n");
    close(fd);
}

/* What the commands for dirty pages refuse; no file is left, and none that was there is touched. */
static void dirty_pages_refused(void **state)
{
    struct fixture *f = *state;
    int fd = client(f);
    char line[128], answer[192], list[64];
    struct stat status;

    say(fd, "dirty-log\n");
    assert_answer(fd, "error: dirty-log needs its on|off\n");
    say(fd, "dirty-log maybe\n");
    assert_answer(fd, "error: 'maybe' is neither on nor off\n");
    say(fd, "dirty-log off\n"); /* as it is */
    assert_answer(fd, "ok\n");
    say(fd, "dirty-pages\n");
    assert_answer(fd, "error: dirty-pages needs its FILE\n");
    snprintf(list, sizeof(list), "%s/list", f->dir);
    snprintf(line, sizeof(line), "dirty-pages %s\n", list);
    say(fd, line);
    assert_answer(fd, "error: dirty pages are not being logged\n");
    assert_int_equal(stat(list, &status), -1);
    snprintf(line, sizeof(line), "dirty-pages %s/none/list\n", f->dir);
    snprintf(answer, sizeof(answer),
             "error: cannot create '%s/none/list': No such file or directory\n", f->dir);
    say(fd, line);
    assert_answer(fd, answer);
    snprintf(line, sizeof(line), "dirty-pages %s\n", f->image);
    snprintf(answer, sizeof(answer), "error: cannot create '%s': File exists\n", f->image);
    say(fd, line);
    assert_answer(fd, answer);
    assert_int_equal(stat(f->image, &status), 0);
    assert_int_equal(status.st_size, MIB);
    close(fd);
}

static void quitting(void **state)
{
    struct fixture *f = *state;
    int fd = client(f);

    say(fd, "quit\n");
    assert_answer(fd, "ok\n");
    assert_int_equal(atomic_load(&f->machine.request), REQUEST_QUIT);
    close(fd);
}

static void a_line_without_an_end(void **state)
{
    struct fixture *f = *state;
    char text[2000];
    int fd = client(f);

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
    assert_closed(fd);
    commands(state); /* others are served as before */
}

/* One more client is answered and not turned away. */
static bool has_place(struct fixture *f)
{
    struct pollfd ready = {.fd = client(f), .events = POLLIN};
    char byte;
    bool served;

    (void)!send(ready.fd, "devices\n", 8, MSG_NOSIGNAL);
    assert_int_equal(poll(&ready, 1, 5000), 1);
    served = read(ready.fd, &byte, 1) == 1;
    close(ready.fd);
    return served;
}

static void too_many_clients(void **state)
{
    struct fixture *f = *state;
    bool again = false;
    int fds[8];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = client(f);
        say(fds[i], "devices\n");
        assert_answer(fds[i], " blk0 blk pci\nok\n");
    }
    assert_closed(client(f));
    close(fds[3]);
    for (int i = 0; i < 5000 && !(again = has_place(f)); i++)
        usleep(1000); /* until it is noticed */
    assert_true(again);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (i != 3)
            close(fds[i]);
}

/* Two machines cannot have one socket; one that died does not keep its name. */
static void the_name(void **state)
{
    struct fixture *f = *state;
    struct control *second = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(control_create(f->path, &f->machine, &second, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, f->path));
    assert_null(second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static uint64_t cpu_ms(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* A guest may use up this program's descriptors (by connections through its network): a client then
 * waits, and the machine does not do nothing but try. */
static void client_waits_for_descriptors(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rlimit before, none;
    uint64_t used;

    strcpy(address.sun_path, f->path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    used = cpu_ms();
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    usleep(600 * 1000);
    used = cpu_ms() - used;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(used < 20);
    assert_int_equal(send(fd, "devices\n", 8, 0), 8);
    assert_answer(fd, " blk0 blk pci\nok\n");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands),
        TEST(dirty_pages_refused),
        TEST(quitting),
        TEST(a_line_without_an_end),
        TEST(too_many_clients),
        TEST(the_name),
        TEST(client_waits_for_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
