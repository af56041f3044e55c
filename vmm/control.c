#include "vmm/control.h"

#include "base/bytes.h"
#include "base/unix_socket.h"
#include "vmm/dirty.h"
#include "vmm/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX     8
#define LINE_MAX_LENGTH 1024
#define ANSWER_MAX      (16 * 1024)
#define RETRY_NS        UINT64_C(1000000000)

struct control_client {
    struct control *control;
    struct loop_fd fd; /* .fd is -1 when the place is free */
    char line[LINE_MAX_LENGTH];
    size_t length;
};

struct control {
    struct machine *machine;
    char *path;
    struct loop_fd listener;
    struct loop_timer retry; /* accepting failed for want of something that comes back */
    struct control_client clients[CLIENTS_MAX];
};

/* What a command has to say, before the "ok". */
struct answer {
    char text[ANSWER_MAX];
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void say(struct answer *answer, const char *format,
                                                      ...)
{
    size_t room = sizeof(answer->text) - answer->length;
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(answer->text + answer->length, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        answer->length += MIN((size_t)length, room - 1);
}

/* --- commands --------------------------------------------------------------------------------- */

static int list_devices(struct machine *machine, const char *argument, struct answer *answer,
                        struct error *err)
{
    (void)argument;
    (void)err;
    for (size_t i = 0; i < machine->device_count; i++) {
        const struct machine_device *device = machine->devices[i];

        say(answer, " %s %s %s\n", device->setup.common.id, device->setup.model->name,
            device->mmio ? "mmio" : "pci");
    }
    return 0;
}

static int press_power(struct machine *machine, const char *argument, struct answer *answer,
                       struct error *err)
{
    (void)argument;
    (void)answer;
    (void)err;
    power_button_press(machine->power);
    return 0;
}

static int quit(struct machine *machine, const char *argument, struct answer *answer,
                struct error *err)
{
    (void)argument;
    (void)answer;
    (void)err;
    machine_request(machine, REQUEST_QUIT);
    return 0;
}

static int log_dirty(struct machine *machine, const char *argument, struct answer *answer,
                     struct error *err)
{
    (void)answer;
    if (strcmp(argument, "on") == 0)
        return machine_dirty_start(machine, err);
    if (strcmp(argument, "off") != 0)
        return error_set(err, EINVAL, "'%s' is neither on nor off", argument);
    machine_dirty_stop(machine);
    return 0;
}

static void print_run(void *opaque, gpa_t start, uint64_t pages)
{
    fprintf(opaque, "0x%" PRIx64 " %" PRIu64 "\n", start.value, pages);
}

/* The list may be long: it goes to a file. */
static int list_dirty(struct machine *machine, const char *argument, struct answer *answer,
                      struct error *err)
{
    FILE *file = fopen(argument, "wxe");
    uint64_t pages = 0;
    int ret;

    if (!file)
        return error_errno(err, errno, "cannot create '%s'", argument);
    ret = machine_dirty_take(machine, print_run, file, &pages, err);
    if (fclose(file) == EOF && !ret)
        ret = error_errno(err, errno, "cannot write '%s'", argument);
    if (ret)
        unlink(argument);
    else
        say(answer, " %" PRIu64 "\n", pages);
    return ret;
}

static const struct machine_command {
    const char *name;
    const char *metavar; /* of its argument; NULL: it takes none */
    const char *help;
    int (*run)(struct machine *machine, const char *argument, struct answer *answer,
               struct error *err);
} machine_commands[] = {
    {"devices", NULL, "list the devices: id, type, transport", list_devices},
    {"power", NULL, "press the power button", press_power},
    {"quit", NULL, "end the machine at once", quit},
    {"dirty-log", "on|off", "log which pages of 4 KiB vCPUs and devices write to", log_dirty},
    {"dirty-pages", "FILE",
     "how many were written to since the last time; a new file says where (ADDRESS PAGES)",
     list_dirty},
};

static int run_device_command(struct machine *machine, const char *id, char *rest,
                              struct error *err)
{
    const char *command = strsep(&rest, " ");

    for (size_t i = 0; i < machine->device_count; i++)
        if (strcmp(machine->devices[i]->setup.common.id, id) == 0)
            return virtio_device_command(&machine->devices[i]->virtio, command, rest ? rest : "",
                                         err);
    return error_set(err, ENOENT, "no device '%s'; 'devices' lists them", id);
}

static int run_line(struct machine *machine, char *line, struct answer *answer, struct error *err)
{
    char *rest = line;
    const char *word = strsep(&rest, " ");

    for (size_t i = 0; i < ARRAY_SIZE(machine_commands); i++) {
        const struct machine_command *command = &machine_commands[i];

        if (strcmp(command->name, word) != 0)
            continue;
        if (!command->metavar == !rest)
            return command->run(machine, rest, answer, err);
        return rest ? error_set(err, EINVAL, "%s takes no argument", word)
                    : error_set(err, EINVAL, "%s needs its %s", word, command->metavar);
    }
    if (rest)
        return run_device_command(machine, word, rest, err);
    return error_set(err, EINVAL, "unknown command '%s'; 'vireo help control' lists them", word);
}

/* --- clients ---------------------------------------------------------------------------------- */

static void client_close(struct control_client *client)
{
    loop_fd_close(client->control->machine->main_loop, &client->fd);
    client->length = 0;
}

static void client_answer(struct control_client *client, char *line)
{
    struct answer answer = {.length = 0};
    struct error err = ERROR_INIT;

    if (run_line(client->control->machine, line, &answer, &err))
        say(&answer, "error: %s\n", err.text);
    else
        say(&answer, "ok\n");
    if (send(client->fd.fd, answer.text, answer.length, MSG_DONTWAIT | MSG_NOSIGNAL) !=
        (ssize_t)answer.length)
        client_close(client);
}

/* Answer every whole line; what is left of the next one moves to the front. */
static void client_take_lines(struct control_client *client)
{
    char *start = client->line, *end;

    while (client->fd.fd >= 0 &&
           (end = memchr(start, '\n', client->length - (size_t)(start - client->line)))) {
        *end = '\0';
        client_answer(client, start);
        start = end + 1;
    }
    client->length -= MIN(client->length, (size_t)(start - client->line));
    memmove(client->line, start, client->length);
}

static void client_ready(struct loop_fd *self, uint32_t events)
{
    struct control_client *client = container_of(self, struct control_client, fd);
    ssize_t got = recv(self->fd, client->line + client->length,
                       sizeof(client->line) - client->length, MSG_DONTWAIT);

    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        client_close(client);
        return;
    }
    client->length += (size_t)got;
    client_take_lines(client);
    if (client->length == sizeof(client->line)) /* a line without an end */
        client_close(client);
}

static struct control_client *client_place(struct control *control)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (control->clients[i].fd.fd < 0)
            return &control->clients[i];
    return NULL;
}

static void retry_expired(struct loop_timer *timer)
{
    struct control *control = container_of(timer, struct control, retry);

    loop_fd_set_events(control->machine->main_loop, &control->listener, EPOLLIN);
}

/* There may be no descriptor: try again later, for the listener stays readable. */
static void accept_later(struct control *control)
{
    loop_fd_set_events(control->machine->main_loop, &control->listener, 0);
    loop_timer_set(control->machine->main_loop, &control->retry, RETRY_NS);
}

/* One too many is turned away. */
static void listener_ready(struct loop_fd *self, uint32_t events)
{
    struct control *control = container_of(self, struct control, listener);
    struct control_client *client = client_place(control);
    int fd = accept4(self->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            accept_later(control);
        return;
    }
    if (!client) {
        close(fd);
        return;
    }
    client->fd = (struct loop_fd){fd, EPOLLIN, client_ready};
    if (loop_fd_add(control->machine->main_loop, &client->fd, NULL)) {
        close(fd);
        client->fd.fd = -1;
    }
}

/* --- life ------------------------------------------------------------------------------------- */

int control_create(const char *path, struct machine *machine, struct control **out,
                   struct error *err)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control)
        return error_set(err, ENOMEM, "no memory for the control socket");
    control->machine = machine;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        control->clients[i] = (struct control_client){.control = control, .fd.fd = -1};
    control->path = strdup(path);
    control->listener = (struct loop_fd){-1, EPOLLIN, listener_ready};
    control->retry.expired = retry_expired;
    if (control->path)
        control->listener.fd = unix_socket_listen(path, err);
    if (control->listener.fd < 0) {
        int ret = control->path ? control->listener.fd : error_set(err, ENOMEM, "no memory");

        free(control->path);
        free(control);
        return ret;
    }
    *out = control;
    return 0;
}

int control_start(struct control *control, struct error *err)
{
    return loop_fd_add(control->machine->main_loop, &control->listener, err);
}

void control_destroy(struct control *control)
{
    if (!control)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        client_close(&control->clients[i]);
    loop_timer_cancel(control->machine->main_loop, &control->retry);
    loop_fd_close(control->machine->main_loop, &control->listener);
    unlink(control->path);
    free(control->path);
    free(control);
}

static void print_command(FILE *out, const char *before, const char *name, const char *metavar,
                          const char *type, const char *help)
{
    char words[80];

    snprintf(words, sizeof(words), "%s%s%s%s", before, name, metavar ? " " : "",
             metavar ? metavar : "");
    fprintf(out, "  %-24s %s%s%s\n", words, type, type[0] ? ": " : "", help);
}

void control_print_help(FILE *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(machine_commands); i++)
        print_command(out, "", machine_commands[i].name, machine_commands[i].metavar, "",
                      machine_commands[i].help);
    for (size_t i = 0; device_models[i]; i++)
        for (size_t j = 0; j < device_models[i]->command_count; j++) {
            const struct virtio_command *command = &device_models[i]->commands[j];

            print_command(out, "ID ", command->name, command->metavar, device_models[i]->name,
                          command->help);
        }
}
